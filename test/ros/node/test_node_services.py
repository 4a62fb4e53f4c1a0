"""The services that write and read maps, over real DDS: the node goes on meanwhile, and the answer is true."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not here; `make venv` brings it, `make test` runs this")

from held import Held
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from std_srvs.srv import SetBool, Trigger

from dvlt_ros.export import write_ply

FRAMES = 3


@pytest.fixture
def robot(make_robot, tmp_path):
    """With a map of a few frames, and loops off, whose file would be one more."""
    robot = make_robot(maps_directory=str(tmp_path / "maps"), loops_mode="never")
    robot.start()
    robot.show_and_wait(FRAMES)
    robot.until(lambda: num_poses(robot) == FRAMES, "the map")
    robot.ticks = []
    robot.node.create_timer(0.01, lambda: robot.ticks.append(None))  # one that all timers and subscriptions share
    return robot


@pytest.fixture
def writer(monkeypatch):
    """Of the PLY, the first of a map's files."""
    held = Held(write_ply)
    monkeypatch.setattr("dvlt_ros.mapping.map_files.write_ply", held)
    return held


def num_poses(robot):
    return len(robot.parts.mapper.snapshot().stamps_ns)


def num_saved(answer):
    """Poses on disk."""
    return len(np.loadtxt(Path(answer.message).with_suffix(".txt"), ndmin=2))


def save(robot):
    return robot.ask(Trigger, "dvlt/save_map", Trigger.Request())


def test_while_a_map_is_written_the_node_goes_on_and_a_second_one_waits_its_turn(robot, writer):
    first = save(robot)
    robot.until(lambda: writer.calls == 1, "the writer")
    second, ticks = save(robot), len(robot.ticks)
    robot.until(lambda: len(robot.ticks) > ticks + 20, "the executor's timer")
    robot.show_and_wait(2)
    robot.until(lambda: num_poses(robot) == FRAMES + 2, "the frames that come meanwhile")
    assert robot.call(SetBool, "dvlt/pause", SetBool.Request(data=True)).success
    assert (first.done(), second.done(), writer.calls) == (False, False, 1)
    writer.let_go()
    robot.until(first.done, "the first answer")
    assert first.result().success, first.result().message
    assert num_saved(first.result()) == FRAMES  # the map as it was when it was asked for
    writer.let_go()
    robot.until(second.done, "the second answer")
    assert second.result().success, second.result().message
    assert num_saved(second.result()) == FRAMES + 2


@pytest.mark.parametrize(
    ("breaking", "error", "reason"),
    [
        (
            "dvlt_ros.export.atomic.os.fsync",
            OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
            "No space left on device",
        ),
        (
            "dvlt_ros.mapping.kept_maps.save_maps",
            ValueError("nobody has thought of this"),
            "ValueError: nobody has",
        ),
    ],
    ids=["a full disk", "a bug"],
)
def test_a_map_that_could_not_be_written_is_answered_with_the_reason(
    robot, monkeypatch, tmp_path, breaking, error, reason
):
    def fail(*_):
        raise error

    with monkeypatch.context() as broken:
        broken.setattr(breaking, fail)
        answer = robot.call(Trigger, "dvlt/save_map", Trigger.Request())
    assert not answer.success
    assert answer.message.startswith("not saved: ")
    assert reason in answer.message
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    robot.show_and_wait(1)
    assert robot.call(Trigger, "dvlt/save_map", Trigger.Request()).success


def test_a_map_is_whole_though_the_node_is_cleaned_up_meanwhile(robot, writer):
    saving = save(robot)
    robot.until(lambda: writer.calls == 1, "the writer")
    for transition in (Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_CLEANUP):
        assert robot.change(transition)
    assert not saving.done()
    writer.let_go()
    robot.until(saving.done, "the answer")
    assert saving.result().success, saving.result().message
    assert num_saved(saving.result()) == FRAMES


def test_a_region_is_deleted_and_what_cannot_be_is_said(robot):
    def delete(region):
        if not (found := robot.set(maps_region=region)[0]).successful:
            return found.reason
        return robot.call(Trigger, "dvlt/delete_region", Trigger.Request()).message

    before = robot.parts.mapper.snapshot().cloud.points
    middle = np.median(before, axis=0)
    assert delete("") == "nothing deleted: maps.region must be 'x_min y_min x_max y_max', got ''"
    assert delete("3 0 1 2") == "maps.region: x_min and y_min must be below x_max and y_max, got '3 0 1 2'"
    assert "has nothing in" in delete("900 900 901 901")
    inside = (before[:, 0] >= middle[0]).sum()
    assert delete(f"{middle[0]} -1e6 1e6 1e6") == f"deleted {inside} points and 0 places"
    after = robot.parts.mapper.snapshot().cloud.points
    assert len(after) == len(before) - inside
    assert after[:, 0].max() < middle[0]
    robot.show_and_wait(1)
    robot.until(lambda: len(robot.parts.mapper.snapshot().cloud.points) > len(after), "what is seen there anew")


def test_a_node_that_is_shut_down_finishes_the_map_first(robot, writer, tmp_path):
    saving = save(robot)
    robot.until(lambda: writer.calls == 1, "the writer")
    request = ChangeState.Request()
    request.transition.id = Transition.TRANSITION_ACTIVE_SHUTDOWN
    ending = robot.ask(ChangeState, "dvlt/change_state", request)
    robot.until(lambda: robot.node._stream is None, "the end of the stream")
    writer.let_go()
    robot.until(ending.done, "the end of the node")
    assert ending.result().success
    assert {path.suffix for path in (tmp_path / "maps").iterdir()} == {".ply", ".pcd", ".txt"}
    robot.until(saving.done, "the answer")
    assert saving.result().success, saving.result().message
    refused = robot.call(Trigger, "dvlt/save_map", Trigger.Request())
    assert refused.message == "not saved: the node is finalized"
