"""Small inputs under the names that the documentation uses: twelve frames of the bundled room."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from PIL import Image

from .commands import ROOT

sys.path += [str(ROOT / "test" / "helpers" / name) for name in ("files", "mapping")]

import bags
from driven_bag import BASE_FROM_CAM, odometry, transform
from sensor_records import depth_records, imu_record
from videos import write_video

from dvlt_ros.checkpoints import EMBEDDED_WEIGHTS
from dvlt_ros.demo import DEMO_SEQUENCE
from dvlt_ros.export import write_ply, write_tum

COUNT = 12
PERIOD_NS = 100_000_000
ROOM_FRAMES = 84  # of kitchen.mcap: more than the 75 that are trained on, and a window
SMALL = (42, 56)


def pictures(count: int = COUNT, size: tuple[int, int] = (84, 112)) -> list[np.ndarray]:
    """RGB (H, W, 3), uint8."""
    paths = sorted(DEMO_SEQUENCE.glob("*.jpg"))
    read = [np.asarray(Image.open(path).convert("RGB")) for path in paths[:count]]
    return [cv2.resize(read[index % len(read)], size[::-1], interpolation=cv2.INTER_AREA) for index in range(count)]


def poses(count: int = COUNT) -> dict[int, np.ndarray]:
    """world_from_cam (4, 4) by stamp: sideways, 4 cm from frame to frame."""
    placed = {}
    for number in range(1, count + 1):
        placed[number * PERIOD_NS] = np.eye(4)
        placed[number * PERIOD_NS][0, 3] = 0.04 * number
    return placed


def camera(topic: str, count: int = COUNT, size: tuple[int, int] = (84, 112), frame_id: str = "cam") -> list[Any]:
    height, width = size
    k = np.array([width, 0, width / 2 - 0.5, 0, width, height / 2 - 0.5, 0, 0, 1.0])
    p = np.insert(k.reshape(3, 3), 3, 0, axis=1).ravel()
    records = []
    for stamp_ns, pixels in zip(poses(count), pictures(count, size), strict=True):
        records.append((f"{topic.rpartition('/')[0]}/camera_info", bags.camera_info(stamp_ns, size, k=k, p=p)))
        records.append((topic, bags.image(stamp_ns, pixels, frame_id=frame_id)))
    return records


def robot(count: int = COUNT) -> list[Any]:
    """Mount, odometry and an IMU that stands upright."""
    mounts = [transform("/tf_static", "base_link", child, 1, BASE_FROM_CAM) for child in ("cam", "imu", "laser")]
    up = BASE_FROM_CAM[:3, :3].T @ np.array([0, 0, 1.0])
    imu = [imu_record("/imu/data", stamp_ns, up, "imu") for stamp_ns in range(10**7, COUNT * PERIOD_NS, 10**7)]
    return [*mounts, *odometry(poses(count)), *imu]


def scan(stamp_ns: int) -> Any:
    count = 91
    return "/scan", bags.STORE.types["sensor_msgs/msg/LaserScan"](
        header=bags.header(stamp_ns, "laser"), angle_min=-0.8, angle_max=0.8, angle_increment=1.6 / (count - 1),
        time_increment=0.0, scan_time=0.1, range_min=0.1, range_max=20.0, ranges=np.full(count, 3.0, np.float32),
        intensities=np.zeros(0, np.float32),
    )  # fmt: skip


def write_recording(path: Path, command: str) -> None:
    """What the command needs of a bag, and nothing that would make another one ambiguous."""
    if "--cameras" in command:
        mounts = []
        for name, side in (("left", 0.1), ("right", -0.1)):
            mount = BASE_FROM_CAM.copy()
            mount[1, 3] = side
            mounts.append(transform("/tf_static", "base_link", f"{name}_optical", 1, mount))
        images = [camera(f"/{name}/image_raw", frame_id=f"{name}_optical") for name in ("left", "right")]
        return write_mcap(path, [*mounts, *(record for both in zip(*images, strict=True) for record in both)])
    is_kept = "--save-map" in command or "--load-map" in command  # without odometry, so without waiting for metres
    records = [*([] if is_kept else robot()), *camera("/camera/image_raw")]
    if "--measured-depth /camera/depth/image" in command:
        for stamp_ns in poses():
            records += depth_records("/camera/depth/image", stamp_ns, np.full((24, 32), 3.0, np.float32))
    if "/scan" in command:
        records += [scan(stamp_ns) for stamp_ns in poses()]
    return write_mcap(path, records)


def write_kitchen(path: Path, command: str) -> None:
    """Colour, depth of the same camera and odometry: many frames for training, few for a map."""
    count = COUNT if command.startswith(("dvlt_reconstruct_bag", "dvlt_demo")) else ROOM_FRAMES
    records = [*robot(count), *camera("/camera/color/image_raw", count, SMALL)]
    rows = np.linspace(2000, 4000, SMALL[0]).astype(np.uint16)
    depth = np.repeat(rows[:, None], SMALL[1], axis=1)
    records += [("/camera/depth/image_raw", bags.image(stamp_ns, depth, "16UC1")) for stamp_ns in poses(count)]
    write_mcap(path, records)


def write_mcap(path: Path, records: list[Any]) -> None:
    folder = bags.write(path.with_name(f"{path.name}.bag"), records)
    next(folder.glob("*.mcap")).rename(path)
    shutil.rmtree(folder)


def write_photos(path: Path, command: str) -> None:
    path.mkdir(parents=True)
    for index, pixels in enumerate(pictures()):
        cv2.imwrite(str(path / f"{index:03}.jpg"), cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))


def write_camera_info(path: Path, command: str) -> None:
    """Of `pictures`: the demo's camera at their size."""
    known = yaml.safe_load((DEMO_SEQUENCE / "camera_info.yaml").read_text())
    known["camera_matrix"]["data"] = [112.0, 0.0, 55.5, 0.0, 112.0, 41.5, 0.0, 0.0, 1.0]
    path.write_text(yaml.safe_dump(known | {"image_width": 112, "image_height": 84}))


def write_walk(path: Path, command: str) -> None:
    write_video(path, pictures())


def write_poses(path: Path, command: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    known = poses()
    bend = np.linspace(0, 0.2, len(known)) ** 2  # a straight path leaves the rotation about itself open
    bent = np.stack(list(known.values()))
    bent[:, 1, 3] += bend
    write_tum(path, np.array(list(known)), bent)


def write_cloud(path: Path, command: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    points = np.random.default_rng(0).uniform(-1, 1, (500, 3)).astype(np.float32)
    write_ply(path, points, np.zeros((500, 3), np.uint8))


def copy_checkpoint(path: Path, command: str) -> None:
    shutil.copytree(EMBEDDED_WEIGHTS, path)


def convert_kitchen(path: Path, command: str) -> None:
    from dvlt_ros.training.bag_to_dataset import convert

    bag = path.parent / "kitchen_source.mcap"
    bag.parent.mkdir(parents=True, exist_ok=True)
    write_kitchen(bag, command)
    convert(bag, path)


MAKERS: dict[str, Callable[[Path, str], None]] = {
    "recording.mcap": write_recording,
    "tomorrow.mcap": write_recording,
    "drive.mcap": write_recording,
    "kitchen.mcap": write_kitchen,
    "photos": write_photos,
    "room": write_photos,
    "walk.mp4": write_walk,
    "camera_info.yaml": write_camera_info,
    "camera_poses.txt": write_poses,
    "truth.txt": write_poses,
    "out/trajectory_0.txt": write_poses,
    "out/map_0.ply": write_cloud,
    "room.ply": write_cloud,
    "recordings/kitchen": convert_kitchen,
    "outputs/mine/last": copy_checkpoint,
    "outputs/nano/last": copy_checkpoint,
    "outputs/nano_finetune/last": copy_checkpoint,
}
OF_THE_COMMAND = ("recording.mcap", "kitchen.mcap")  # made anew for each


def named_inputs(words: list[str]) -> Iterator[str]:
    """Inputs that a command names, in any of its words."""
    for name in MAKERS:
        if any(word.rstrip("/") == name or f"path: {name}," in word or f"path: {name}}}" in word for word in words):
            yield name


def make_inputs(folder: Path, command: str, words: list[str]) -> None:
    """What a command reads and no command before it has made."""
    outputs = {after for before, after in pairwise(words) if before in ("--output", "--output-root")}
    is_conversion = words[0] == "dvlt_bag_to_dataset"
    for name in named_inputs(words[:2] if is_conversion else words):
        path = folder / name
        if name in outputs or (path.exists() and name not in OF_THE_COMMAND):
            continue
        path.unlink(missing_ok=True)
        MAKERS[name](path, command)
