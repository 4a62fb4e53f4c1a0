"""`make demo`: a sequence through camera, DDS and node; a third process checks and draws the outputs.

    python -m dvlt_ros.ros.tools.demo --source photos/ --rate-hz 7.5 --output demo_output

Writes map.ply, trajectory.txt (TUM format), page.png, summary.txt and, of the bundled sequence, map_and_room.png: the
map beside the true room. Every message is checked (`inspection`). Where there is a screen the pictures are opened.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import rclpy
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.executors import SingleThreadedExecutor
from tqdm import tqdm

from ... import programs
from ...demo import DEMO_SEQUENCE
from ...demo.true_room import TrueRoom, write_picture
from ...errors import AlignmentError, DvltError, InputError
from ...export import write_page, write_ply, write_tum
from ...sources import open_source
from .observer import POINTS_STRIDE, Observer

START_LIMIT_S = 120.0  # until the node has loaded its weights
IDLE_LIMIT_S = 60.0  # without any progress
LOST_AFTER_S = 10.0  # what the node has published and has not come since then is lost
END_LIMIT_S = 10.0
CAREFUL, LOWEST_HZ = 0.7, 0.5  # of the rate that a machine has kept, for another try; and the lowest
# The camera runs with the middleware's defaults, as users' cameras do, whatever is set for the node.
PROFILE = Path(__file__).parents[3] / "config" / "fastdds.xml"  # for the node, whose messages are large
TRANSPORT = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_BUILTIN_TRANSPORTS")


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="A sequence through camera, DDS and node; pictures out.")
    parser.add_argument("--source", type=Path, default=DEMO_SEQUENCE, help="folder, video, bag (default: bundled)")
    parser.add_argument("--rate-hz", type=float, default=5.0, help="of the camera (default: 5)")
    parser.add_argument("--weights", default="", help="checkpoint (default: the embedded one)")
    parser.add_argument("--output", type=Path, default=Path("demo_output"))
    parser.add_argument("--parameter", action="append", default=[], metavar="NAME:=VALUE", help="of the node")
    parser.add_argument("--no-open", action="store_true", help="do not open the pictures")
    args = parser.parse_args(argv)
    try:
        run(args)
    except DvltError as error:
        sys.exit(f"dvlt_demo: {error}")


def run(args: argparse.Namespace) -> None:
    total = len(open_source(args.source, rate_hz=args.rate_hz))
    args.output.mkdir(parents=True, exist_ok=True)
    rclpy.init()
    is_bundled, rate_hz = args.source == DEMO_SEQUENCE, args.rate_hz
    observer = play(args, total, rate_hz)
    if is_bundled and (num_dropped := int(observer.status.get("dropped", 0))):
        rate_hz = max(LOWEST_HZ, CAREFUL * args.rate_hz * (1 - num_dropped / total))
        print(f"the node dropped {num_dropped} of {total} images: {args.rate_hz:g} a second may be too many for this "
              f"machine. Once more, with {rate_hz:.1f} a second", flush=True)  # fmt: skip
        observer.destroy_node()
        observer = play(args, total, rate_hz)
    print("3/3 drawing what came back", flush=True)
    pictures = write(observer, args.output)
    if is_bundled:
        pictures += write_beside(observer, args.output / "map_and_room.png", TrueRoom.load(), rate_hz)
    observer.destroy_node()
    rclpy.try_shutdown()
    if not args.no_open:
        show(pictures)


def play(args: argparse.Namespace, total: int, rate_hz: float) -> Observer:
    """Camera and node, in processes of their own, until all is done; what was observed."""
    print(f"1/3 starting the node, which loads its network; then a camera, which has {total} images of {args.source}",
          flush=True)  # fmt: skip
    observer = Observer()
    executor = SingleThreadedExecutor()
    executor.add_node(observer)
    parameters = [
        "output.publish_unscaled:=true",
        f"output.points_stride:={POINTS_STRIDE}",
        *([f"model.weights:={args.weights}"] if args.weights else []),
        *args.parameter,
    ]
    processes = [start("node", parameters)]
    try:
        for transition in (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE):
            change_state(observer, executor, processes[0], transition)
        print(f"2/3 {total} images over DDS, {rate_hz:.1f} a second; the map grows", flush=True)
        camera = [
            f"source:={args.source}",
            f"rate_hz:={rate_hz}",
            "frame_id:=camera_optical_frame",
            "use_source_stamps:=true",
        ]
        processes.append(start("tools.play_camera", camera, without=TRANSPORT))
        watch(observer, executor, processes, total)
    finally:
        for process in processes:
            end(process)
        executor.shutdown()
    return observer


def start(module: str, parameters: Sequence[str], without: Sequence[str] = ()) -> subprocess.Popen[bytes]:
    arguments = [word for parameter in parameters for word in ("-p", parameter)]
    environment = {name: value for name, value in os.environ.items() if name not in without}
    if not without and PROFILE.is_file() and not any(name in environment for name in TRANSPORT):
        environment |= dict.fromkeys(TRANSPORT[:2], str(PROFILE))
    return subprocess.Popen([sys.executable, "-m", f"dvlt_ros.ros.{module}", "--ros-args", *arguments], env=environment)


def end(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM first, then SIGKILL, since rclpy may miss a signal."""
    process.terminate()
    try:
        process.wait(END_LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def change_state(
    observer: Observer, executor: SingleThreadedExecutor, node: subprocess.Popen[bytes], transition: int
) -> None:
    client = observer.create_client(ChangeState, "dvlt/change_state")
    spin_until(executor, client.service_is_ready, [node], START_LIMIT_S, "the node does not start")
    request = ChangeState.Request()
    request.transition.id = transition
    future = client.call_async(request)
    spin_until(executor, future.done, [node], START_LIMIT_S, "the node does not answer")
    if not future.result().success:
        raise InputError("the node cannot be configured; its reason is above")


def watch(
    observer: Observer, executor: SingleThreadedExecutor, processes: Sequence[subprocess.Popen[bytes]], total: int
) -> None:
    """Runs until the camera has ended and the node has processed every frame, or no more of them come."""
    node, camera = processes
    count, progress_s = 0, time.monotonic()
    with tqdm(total=total, unit="frame", desc="reconstructed", disable=None) as bar:
        while camera.poll() is None or not observer.is_settled:
            executor.spin_once(timeout_sec=0.1)
            if observer.num_frames > count:
                bar.update(observer.num_frames - count)
                count, progress_s = observer.num_frames, time.monotonic()
            if observer.num_lost and camera.poll() == 0 and time.monotonic() - progress_s > LOST_AFTER_S:
                return
            if node.poll() is not None:
                raise InputError(f"the node ended with {node.returncode}; its reason is above")
            if camera.poll():
                raise InputError(f"the camera ended with {camera.returncode}; its reason is above")
            if time.monotonic() - progress_s > IDLE_LIMIT_S:
                raise InputError(f"no output for {IDLE_LIMIT_S:.0f} s; status of the node: {observer.status_text}")


def spin_until(
    executor: SingleThreadedExecutor, condition: Callable[[], bool], processes: Sequence[subprocess.Popen[bytes]],
    limit_s: float, complaint: str,
) -> None:  # fmt: skip
    deadline_s = time.monotonic() + limit_s
    while not condition():
        executor.spin_once(timeout_sec=0.1)
        if time.monotonic() > deadline_s or any(process.poll() is not None for process in processes):
            raise InputError(complaint)


def write(observer: Observer, output: Path) -> list[Path]:
    """All files of any sequence; returns those that are pictures.

    Raises:
        InputError: messages are lost or break the node's contract.
    """
    points, colors, confidence = observer.map_cloud
    write_ply(output / "map.ply", points, colors, confidence)
    stamps_ns, poses = observer.trajectory
    write_tum(output / "trajectory.txt", stamps_ns, poses)
    network = observer.status.get("checkpoint", "")
    caption = f"{observer.num_frames} frames over DDS; lengths up to one unknown factor; {network}"
    if observer.num_maps > 1:
        caption += f"; the last of {observer.num_maps} maps, with {len(poses)} of the frames"
    write_page(output / "page.png", observer.shown, points, colors, poses[:, :3, 3], caption)
    summary = observer.summary()
    (output / "summary.txt").write_text(summary)
    print(summary, end="")
    if observer.num_lost:
        raise InputError(
            f"{observer.num_lost} of {observer.status['published']} frames were lost between the node and here; with "
            "Fast DDS's defaults large messages are: see docs/how-to/robot/large-messages.md"
        )
    if observer.violations:
        raise InputError(f"{sum(observer.violations.values())} messages break the node's contract, see the summary")
    print(f"the map as points, for a 3D viewer: {output / 'map.ply'}\n"
          f"frames, depth and the map on one page: {output / 'page.png'}")  # fmt: skip
    return [output / "page.png"]


def write_beside(observer: Observer, path: Path, room: TrueRoom, rate_hz: float) -> list[Path]:
    """The picture of map and room, where enough of the path is known to lay one on the other."""
    points, colors, _ = observer.map_cloud
    stamps_ns, map_from_cam = observer.trajectory
    indices = (1e-9 * stamps_ns * rate_hz).round().astype(np.int64)  # the first image is at 0
    try:
        world_from_map = room.world_from_map(map_from_cam, indices)
    except AlignmentError as error:
        print(f"no picture of map and room: the map has {len(stamps_ns)} poses: {error}")
        return []
    write_picture(path, room.beside(world_from_map, points, colors, map_from_cam))
    off = 100 * room.error(world_from_map, map_from_cam, indices)
    print(f"the camera's path is off by {off:.1f} % of what it spans (RMS), laid on the truth with one scale\n"
          f"the map beside the true room, from above: {path}", flush=True)  # fmt: skip
    return [path]


def show(pictures: Sequence[Path]) -> None:
    """On the screen, if there is one."""
    opener = shutil.which("xdg-open")
    if opener is None or not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return
    for picture in pictures:
        nowhere = subprocess.DEVNULL
        subprocess.Popen([opener, picture], stdin=nowhere, stdout=nowhere, stderr=nowhere, start_new_session=True)


if __name__ == "__main__":
    programs.run(main)
