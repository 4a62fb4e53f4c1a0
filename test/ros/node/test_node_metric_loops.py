"""A robot with odometry that loses its map and comes back to it, over real DDS, in metres."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not here; `make venv` brings it, `make test` runs this")
pytest.importorskip("gtsam", reason="GTSAM is not here; `pip install '.[loops]'` runs this")

from lap import EAGER, EXACT, LAP, RecognizingPredictor, lap_poses
from lifecycle_msgs.msg import Transition
from rclpy.time import Time
from robot_odometry import BASE_FROM_CAM, ODOM_FROM_WORLD, add_odometry, await_odometry, drive, number_of, start
from room import FRAME_NS
from std_srvs.srv import Trigger

from dvlt_ros.ros.messages import matrix_from_pose, matrix_from_transform

BEFORE = range(1, LAP)  # frames
AFTER = range(20 * LAP + 8, 22 * LAP)  # more than a minute later, elsewhere on the lap
STEP_M, STEP_DEG = 0.05, 0.5  # what map -> odom moves by without a loop, at most


@pytest.fixture
def robot(make_robot, monkeypatch, tmp_path):
    """It drives laps, and its odometry is exact until it restarts."""
    poses = lap_poses((*BEFORE, *AFTER))
    monkeypatch.setattr("dvlt_ros.ros.lifecycle.parts.load_predictor", lambda *_: RecognizingPredictor(poses))
    robot = make_robot(odometry_source="topic", maps_directory=str(tmp_path), **EAGER | EXACT)
    add_odometry(robot, poses)
    return robot


def start_wheels_anew(robot):
    """Their origin is where the robot stands now."""
    robot.odom_from_world = BASE_FROM_CAM @ np.linalg.inv(robot.poses[AFTER[0] * FRAME_NS])


def drive_until(robot, condition, what):
    """And a few frames more, for what follows; returns the last one."""
    numbers = iter(AFTER)
    for number in numbers:
        drive(robot, [number], alone=AFTER[0])
        if condition():
            break
    else:
        pytest.fail(f"{what} did not come in {len(AFTER)} frames: {robot.status()}")
    rest = list(itertools.islice(numbers, 4))
    drive(robot, rest)
    return rest[-1]


def told(robot, key):
    """What the status has said, each once where it was said again and again."""
    values = [{v.key: v.value for v in message.values}.get(key) for message in robot.messages["status"]]
    return [value for value, _ in itertools.groupby(values) if value is not None]


def transforms(robot):
    """map_from_odom (4, 4) of all that was sent."""
    assert {(t.header.frame_id, t.child_frame_id) for t in robot.messages["/tf"]} == {("map", "odom")}
    return [matrix_from_transform(message.transform) for message in robot.messages["/tf"]]


def steps(poses):
    """Those that are larger than what is allowed without a loop: metres and degrees."""
    found = []
    for before, after in itertools.pairwise(poses):
        metres = np.linalg.norm(after[:3, 3] - before[:3, 3])
        degrees = np.degrees(np.arccos(np.clip((np.trace(before[:3, :3].T @ after[:3, :3]) - 1) / 2, -1, 1)))
        if metres > STEP_M or degrees > STEP_DEG:
            found.append((metres, degrees))
    return found


def check_that_everything_is_in_the_first_map(robot, last):
    """Poses, path and the odometry's poses through TF are those of odometry that has never restarted."""
    robot.until(lambda: robot.messages["pose"] and number_of(robot.messages["pose"][-1]) == last, "the last pose")
    true = {number: ODOM_FROM_WORLD @ robot.poses[number * FRAME_NS] for number in (*BEFORE, *AFTER)}
    np.testing.assert_allclose(matrix_from_pose(robot.messages["pose"][-1].pose.pose), true[last], atol=0.05)
    map_from_old_odom_from_odom = ODOM_FROM_WORLD @ np.linalg.inv(robot.odom_from_world)
    robot.until(lambda: np.allclose(transforms(robot)[-1], map_from_old_odom_from_odom, atol=0.05), "map -> odom")
    robot.until(lambda: number_of(robot.messages["path"][-1].poses[-1]) == last, "the last path")
    path = {number_of(pose): matrix_from_pose(pose.pose) for pose in robot.messages["path"][-1].poses}
    assert path.keys() & set(BEFORE)
    assert path.keys() & set(AFTER)
    for number, pose in path.items():
        np.testing.assert_allclose(pose[:3, 3], true[number][:3, 3], atol=0.05, err_msg=str(number))


def test_a_robot_that_was_carried_comes_back_to_its_map_and_only_map_to_odom_moves(robot, capfd):
    start(robot)
    drive(robot, BEFORE)
    robot.until(lambda: robot.status()["scale_state"] == "locked", "the lock")
    assert steps(transforms(robot)) == []
    start_wheels_anew(robot)

    last = drive_until(robot, lambda: told(robot, "map_id") == ["0", "1", "0"], "the old map")
    check_that_everything_is_in_the_first_map(robot, last)
    assert len(steps(transforms(robot))) == 1
    assert "is joined to an older one" in capfd.readouterr().err
    assert any("no odometry for" in complaint for complaint in robot.complaints)  # it began anew


def test_a_robot_that_was_switched_off_comes_back_to_the_map_that_it_has_saved(robot):
    start(robot)
    drive(robot, BEFORE)
    robot.until(lambda: robot.status()["scale_state"] == "locked", "the lock")
    saved = robot.call(Trigger, "dvlt/save_map", Trigger.Request())
    assert saved.success, saved.message
    for transition in (Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_CLEANUP):
        assert robot.change(transition)
    start_wheels_anew(robot)
    assert robot.change(Transition.TRANSITION_CONFIGURE)
    loaded = robot.call(Trigger, "dvlt/load_map", Trigger.Request())
    assert loaded.success, loaded.message
    assert robot.change(Transition.TRANSITION_ACTIVATE)
    robot.meet()
    await_odometry(robot)
    last = drive_until(robot, lambda: told(robot, "relocalized")[-1] == "yes", "relocalization")
    assert told(robot, "map_id")[-1] == "-1"
    check_that_everything_is_in_the_first_map(robot, last)
    assert len(steps(transforms(robot))) == 1
    stamps = [Time.from_msg(message.header.stamp).nanoseconds for message in robot.messages["/tf"]]
    assert stamps == sorted(stamps)
