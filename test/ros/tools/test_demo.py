"""`make demo` from end to end, with a few images: camera, DDS and node in processes of their own."""

from __future__ import annotations

import shutil
import subprocess
import sys
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not here; `make venv` brings it, `make test` runs this")

from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Path
from rclpy.time import Time
from std_msgs.msg import Header

from dvlt_ros.demo import DEMO_SEQUENCE
from dvlt_ros.demo.true_room import TrueRoom
from dvlt_ros.errors import InputError
from dvlt_ros.ros.tools import demo
from dvlt_ros.ros.tools.observer import Observer

COUNT = 8


def test_the_demo_receives_every_frame_and_draws_its_page(tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for path in sorted(DEMO_SEQUENCE.glob("*.jpg"))[:COUNT]:
        shutil.copy(path, photos)
    small = ("model.image_size:=56", "budget.k_max:=2", "model.device:=cpu")
    options = [word for parameter in small for word in ("--parameter", parameter)]
    command = [
        sys.executable,
        "-m",
        "dvlt_ros.ros.tools.demo",
        "--source",
        photos,
        "--output",
        tmp_path / "out",
        "--no-open",
    ]
    run = subprocess.run([*command, *options], capture_output=True, text=True, timeout=240)
    assert run.returncode == 0, run.stderr
    assert f"frames received complete and checked  {COUNT}" in run.stdout
    assert (tmp_path / "out" / "page.png").stat().st_size > 10_000
    assert run.stdout.splitlines()[-1].endswith(str(tmp_path / "out" / "page.png"))


def test_frames_of_earlier_maps_are_not_in_the_trajectory_of_the_newest():
    path = Path(poses=[PoseStamped(header=Header(stamp=Time(seconds=3).to_msg()))])
    observer = SimpleNamespace(_path=path, _poses={second * 10**9: np.eye(4) * second for second in (1, 2, 3, 4)})
    stamps_ns, poses = Observer.trajectory.fget(observer)
    assert stamps_ns.tolist() == [3 * 10**9, 4 * 10**9]
    assert poses[:, 0, 0].tolist() == [3, 4]


@pytest.mark.parametrize("count", [30, 2])
def test_the_demo_draws_its_map_beside_the_true_room(tmp_path, capsys, count):
    room, indices = TrueRoom.load(), np.arange(10, 10 + count)
    poses = room.world_from_cam[indices].copy()
    poses[:, :3, 3] *= 0.5
    cloud = poses[:, :3, 3], np.zeros((count, 3), np.uint8), np.ones(count)
    observer = SimpleNamespace(map_cloud=cloud, trajectory=((indices * 200_000_000).astype(np.int64), poses))
    pictures = demo.write_beside(observer, tmp_path / "beside.png", room, rate_hz=5.0)
    said = capsys.readouterr().out
    if count < 3:
        assert not pictures
        assert "no picture of map and room: the map has 2 poses" in said
    else:
        assert cv2.imread(str(pictures[0])).shape == (420, 840, 3)
        assert "off by 0.0 % of what it spans" in said


class Ended:
    """A process: the camera has ended, the node has not."""

    def __init__(self, status):
        self.status = status

    def poll(self):
        return self.status


@pytest.mark.parametrize("in_flight", ["0", "3"])
def test_frames_that_do_not_come_are_not_waited_for_for_ever(monkeypatch, in_flight):
    """Also where no bar is drawn because nobody looks."""
    monkeypatch.setattr(demo, "LOST_AFTER_S", 0.0)
    monkeypatch.setattr(demo, "IDLE_LIMIT_S", 0.05)
    observer = SimpleNamespace(
        num_frames=5, num_lost=2 if in_flight == "0" else 0, is_settled=False, status_text="late"
    )
    executor = SimpleNamespace(spin_once=lambda timeout_sec: None)
    processes = [Ended(None), Ended(0)]
    if in_flight == "0":
        demo.watch(observer, executor, processes, total=7)
    else:
        with pytest.raises(InputError, match="no output for 0 s; status of the node: late"):
            demo.watch(observer, executor, processes, total=7)
