"""The node shows in Rerun what it publishes, with the images' own stamps."""

from __future__ import annotations

import threading

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not here; `make venv` brings it, `make test` runs this")
pytest.importorskip("rerun", reason="the extra `rerun` is not installed; pip install '.[rerun]'")

from lifecycle_msgs.msg import Transition
from rerun.chunk import RrdReader


def test_a_running_node_writes_what_it_sees(make_robot, tmp_path):
    others = set(threading.enumerate())  # a test before may still be leaving a viewer that never answered
    robot = make_robot(output_rerun=str(tmp_path / "live.rrd"))
    robot.start()
    robot.show_and_wait(4)
    assert robot.change(Transition.TRANSITION_DEACTIVATE)
    assert robot.change(Transition.TRANSITION_CLEANUP)
    stamps = [
        stamp
        for chunk in RrdReader(tmp_path / "live.rrd").stream()
        if chunk.entity_path == "/map_0/camera/depth"
        for stamp in chunk.to_record_batch().column("stamp").to_numpy(zero_copy_only=False)
    ]
    assert stamps == [np.datetime64(stamp, "ns") for stamp in robot.stamps("points")]
    assert not [thread for thread in set(threading.enumerate()) - others if thread.name.startswith("dvlt live")]


def test_a_target_that_is_none_is_refused_with_what_would_be_one(make_robot):
    robot = make_robot()
    (result,) = robot.set(output_rerun="viewer")
    assert not result.successful
    assert "'spawn', host:port of a viewer or a file.rrd" in result.reason
