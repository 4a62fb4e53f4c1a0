"""The offline door has what the node has: several cameras, measured depth, gravity, and maps to come back to."""

from __future__ import annotations

import re

import cv2
import numpy as np
import pytest

pytest.importorskip("rosbags", reason="bags are read and written with rosbags; `make venv` brings it")

import bags
from driven_bag import BASE_FROM_CAM, LAP, ReturningPredictor, images, laps, mount, odometry, transform, write_bag
from room import FRAME_NS, INTRINSICS, SIZE, picture, pose, room_depth
from rosbags.highlevel import AnyReader
from sensor_records import cloud_record, depth_records, imu_record, info_record
from two_cameras import LATER_NS, MOUNTS, TwoCameras

from dvlt_ros import reconstruct_bag
from dvlt_ros.sources.poses import pose_from_quaternion

EXACT = ["--device", "cpu", "--model-image-size", "28", "--confidence-cut-share", "0", "--keyframes-min-change", "0"]
EXACT += ["--full-resolution", "--recording"]
PLACES = ["--window-size", "4", "--window-overlap", "2", "--loops-min-age-s", "1", "--loops-check-every", "1"]
PLACES += ["--loops-place-distance", "0.05", "--loops-mode", "always"]
COUNT = 30
PITCH = pose((0, 0, 0), 0.0, 0.4)  # the camera looks 23 degrees down or up
CAM_FROM_LASER = pose((0.2, -0.3, 0.05), 0.1, 0.1)


@pytest.fixture
def reconstruct(monkeypatch, capsys, tmp_path):
    """Runs the command with a network that knows the poses; gives the output folder and what was said."""

    def run(source, *options, predictor, output="out"):
        monkeypatch.setattr(reconstruct_bag, "load_predictor", lambda *_: predictor)
        monkeypatch.setattr("dvlt_ros.offline.results.write_page", lambda *_: None)  # it takes longer than the rest
        reconstruct_bag.main([str(source), "--output", str(tmp_path / output), *EXACT, *options])
        return tmp_path / output, capsys.readouterr().out

    return run


def trajectory(path):
    """Poses (4, 4) by stamp in ns."""
    found = {}
    for line in path.read_text().splitlines():
        if not line.startswith("#"):
            stamp, *values = line.split()
            numbers = list(map(float, values))
            found[int(stamp.replace(".", ""))] = pose_from_quaternion(numbers[:3], numbers[3:])
    return found


def depth_of(output, stamp_ns, camera=""):
    path = output / "depth" / f"{stamp_ns // 10**9}.{stamp_ns % 10**9:09d}{camera}.tiff"
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


def test_two_cameras_of_a_bag_give_metres_by_their_mounts(reconstruct, tmp_path):
    mounts = [transform("/tf_static", "base_link", f"/{name}", 1, pose) for name, pose in MOUNTS.items()]
    shown = [info_record(f"/{camera}/image_raw", FRAME_NS) for camera in ("left", "right")]
    for number in range(1, COUNT + 1):
        for camera, late_ns in (("right", LATER_NS), ("left", 0)):
            stamp_ns = number * FRAME_NS + late_ns
            pixels = picture(2 * number + (camera == "right")).image
            shown.append((f"/{camera}/image_raw", bags.image(stamp_ns, pixels, frame_id=f"{camera}_optical")))
    predictor = TwoCameras()
    bag = write_bag(tmp_path / "bag", *mounts, *shown)
    topics = ("--cameras", "/left/image_raw", "/right/image_raw")
    output, said = reconstruct(bag, *topics, "--window-size", "8", "--window-overlap", "4", predictor=predictor)
    assert "lengths in metres by the mounts of the cameras" in said
    assert f"{2 * COUNT} frames in" in said
    for number in range(1, COUNT + 1):
        for camera, late_ns in (("left", 0), ("right", LATER_NS)):
            stamp_ns = number * FRAME_NS + late_ns
            found = depth_of(output, stamp_ns, f"_{camera}")
            np.testing.assert_allclose(found, room_depth(predictor.poses[stamp_ns]), rtol=0.03)
    path = trajectory(output / "trajectory_0.txt")
    assert list(path) == [number * FRAME_NS for number in range(1, COUNT + 1)]  # of the first camera
    with AnyReader([output / "recording"]) as reader:
        counts = {connection.topic: connection.msgcount for connection in reader.connections}
    assert counts["/left/depth/image"] == counts["/right/points"] == counts["/pose"] == COUNT


def measured(kind, poses):
    """As the robot stands still between image and measurement; the laser has a mount of its own."""
    records = [transform("/tf_static", "cam", "laser", 1, CAM_FROM_LASER)]
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    rays = np.stack([columns, rows, np.ones(SIZE)], axis=-1) @ np.linalg.inv(INTRINSICS).T
    for stamp_ns, world_from_cam in poses.items():
        depth_m = room_depth(world_from_cam)
        if kind == "cloud":
            points = (rays * depth_m[..., None]).reshape(-1, 3) - CAM_FROM_LASER[:3, 3]
            records.append(cloud_record("/measured/depth", stamp_ns, points @ CAM_FROM_LASER[:3, :3], "/laser"))
        else:
            records += depth_records("/measured/depth", stamp_ns, depth_m, kind)
    return records


@pytest.mark.parametrize("kind", ["16UC1", "32FC1", "cloud"])
def test_measured_depth_gives_metres(reconstruct, tmp_path, kind):
    poses = laps(COUNT)
    bag = write_bag(tmp_path / "bag", *measured(kind, poses), *images(poses))
    options = "--topic", "/camera/image_raw", "--measured-depth", "/measured/depth"
    output, said = reconstruct(bag, *options, predictor=ReturningPredictor(poses))
    assert "lengths in metres by /measured/depth" in said
    for stamp_ns, world_from_cam in poses.items():
        np.testing.assert_allclose(depth_of(output, stamp_ns), room_depth(world_from_cam), rtol=0.03)


@pytest.mark.parametrize("source", ["mount", "imu", "auto"])
def test_a_map_is_level_by_an_imu_or_a_mount(reconstruct, tmp_path, source):
    poses = {stamp_ns: world_from_cam @ PITCH for stamp_ns, world_from_cam in laps(COUNT).items()}
    seen = [stamp_ns for stamp_ns in poses if stamp_ns > 8 * FRAME_NS]  # when the IMU has settled
    up_cam = PITCH[:3, :3].T @ [0, -1, 0]
    up_imu = CAM_FROM_LASER[:3, :3].T @ up_cam
    edges = [transform("/tf_static", "base_link", "cam", 1, BASE_FROM_CAM @ PITCH)]
    edges.append(transform("/tf_static", "cam", "imu", 1, CAM_FROM_LASER))
    moved = [imu_record("/imu/data", stamp_ns, up_imu, "/imu") for stamp_ns in range(10**7, COUNT * FRAME_NS, 10**7)]
    bag = write_bag(tmp_path / "bag", *edges, *moved, *images(seen))
    options = "--gravity", source, "--loops-mode", "never"
    output, said = reconstruct(bag, *options, predictor=ReturningPredictor(poses))
    found = trajectory(output / "trajectory_0.txt")
    assert list(found) == seen
    up = np.stack([map_from_cam[:3, :3] @ up_cam for map_from_cam in found.values()])
    tilt_deg = np.degrees(np.arccos(np.clip(up[:, 2], -1, 1)))
    assert (tilt_deg < 1).all() if source != "auto" else (tilt_deg > 10).all()
    assert "not level" not in said


def test_a_recording_finds_itself_in_the_map_of_another_one(reconstruct, tmp_path):
    pytest.importorskip("gtsam", reason="GTSAM is not here; `pip install '.[loops]'` runs this")
    poses = laps(4 * LAP)
    first = [stamp_ns for stamp_ns in poses if stamp_ns <= 2 * LAP * FRAME_NS]
    second = [stamp_ns for stamp_ns in poses if stamp_ns > (2 * LAP + 10) * FRAME_NS]
    options = [*PLACES]
    maps = tmp_path / "maps"
    bag = write_bag(tmp_path / "first", *images(first))
    mapped, said = reconstruct(bag, *options, "--save-map", str(maps), predictor=ReturningPredictor(poses))
    (places,) = maps.glob("*.places.safetensors")
    assert f"saved: {places}" in said
    bag = write_bag(tmp_path / "second", *images(second))
    for number, load in enumerate(((maps,), (places, "--map-mode", "localization"))):
        asked = *options, "--load-map", *map(str, load)
        again, said = reconstruct(bag, *asked, predictor=ReturningPredictor(poses), output=f"again{number}")
        assert "relocalized in the loaded map: yes" in said
        before, found = trajectory(mapped / "trajectory_0.txt"), trajectory(again / "trajectory_loaded.txt")
        assert list(found) == second
        for stamp_ns, map_from_cam in found.items():
            then = before[((stamp_ns // FRAME_NS - 1) % LAP + 1) * FRAME_NS]
            np.testing.assert_allclose(map_from_cam, then, atol=0.05)
    reconstruct(bag, *options, predictor=ReturningPredictor(poses), output="again0")  # in the same folder
    assert not list((tmp_path / "again0").glob("*loaded*"))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--cameras", "/camera/image_raw"), "--cameras needs two image topics or more"),
        (("--cameras", "/camera/image_raw", "/right/image_raw"), "no messages on /right/image_raw"),
        (("--cameras", "/camera/image_raw", "/lost/image_raw"), "the mount of 'lost' is not known: no transform"),
        (("--cameras", "/camera/image_raw", "/second/image_raw"), "'camera' needs a camera_info: none is beside it"),
        (("--measured-depth", "/depth"), "no messages on /depth"),
        (("--measured-depth", "/imu"), "/imu is sensor_msgs/msg/Imu, measured depth is one of"),
        (("--measured-depth", "/lost/image_raw"), "--measured-depth /lost/image_raw: it has no camera_info"),
        (("--gravity", "mount", "--base-frame", "chassis"), "--gravity mount: no transform connects 'chassis'"),
        (("--gravity", "imu", "--imu", "/imu/data"), "no messages on /imu/data"),
        (("--imu", "/imu"), "--imu /imu needs --gravity imu, got --gravity auto"),
        (("--gravity", "imu"), "--gravity imu /imu: no transform connects 'cam' and 'nowhere'"),
        (("--gravity", "mount", "--odom", "/odom"), "--gravity must be auto beside odometry (/odom)"),
        (("--load-map", "nowhere"), "--load-map nowhere: "),
        (("--map-mode", "localization"), "--map-mode localization needs the map: --load-map PATH"),
        (("--initial-pose", "1", "2", "90"), "--initial-pose is a pose in a saved map: --load-map PATH"),
        (("--save-map", "maps", "--loops-mode", "never"), "--save-map maps: no loops are closed: loops.mode: never"),
    ],
)
def test_what_is_asked_for_and_not_there_is_named_in_one_line(reconstruct, tmp_path, options, reason):
    poses = laps(3)
    lost = [("/lost/image_raw", bags.image(stamp_ns, picture(1).image, frame_id="lost")) for stamp_ns in poses]
    lost += [("/second/image_raw", bags.image(stamp_ns, picture(2).image, frame_id="base_link")) for stamp_ns in poses]
    imu = imu_record("/imu", FRAME_NS, np.array([0.0, 0.0, 1.0]), "nowhere")
    bag = write_bag(tmp_path / "bag", mount(), *odometry(poses), *images(poses), *lost, imu)
    asked = [*options] if "--odom" in options else [*options, "--odom", "none"]
    asked += [] if "--cameras" in options else ["--topic", "/camera/image_raw"]
    with pytest.raises(SystemExit, match=re.escape(reason)) as ended:
        reconstruct(bag, *asked, predictor=ReturningPredictor(poses))
    assert "\n" not in str(ended.value)
