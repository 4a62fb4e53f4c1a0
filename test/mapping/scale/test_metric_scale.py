"""The scale along simulated drives."""

from dataclasses import replace

import numpy as np
import pytest
import simulated_robot
from simulation import network
from simulation import robot as robots


def test_the_scale_along_a_drive_is_that_of_the_odometry():
    """40 m through corridors and rooms, front end and registrations included."""
    robot = robots.make_robot(5, 40.0)
    drive = simulated_robot.run(robot, network.PredictionNoise())
    assert drive.updates[8].is_metric
    found, true = (poses[:, :3, 3] for poses in drive.metric)
    assert abs(simulated_robot.scale_errors(found, true).mean()) < 0.01
    assert simulated_robot.TrajectoryError.of(found, true).se3_m < 0.01 * robot.length_m
    assert (drive.steps.max(axis=0) < (0.05, 0.5)).all()


def test_a_rig_tells_the_scale_by_its_baseline():
    rig = robots.make_robot(6, 30.0, robots.TWO_CAMERAS)
    errors = simulated_robot.baseline_scale_errors(rig, network.PredictionNoise())
    assert len(errors) == 2
    assert (np.abs(errors) < 0.03).all()


def test_a_simulated_robot_is_what_it_says():
    robot = robots.make_robot(7, 30.0)
    again = robots.make_robot(7, 30.0)
    np.testing.assert_array_equal(robot.odom_from_base, again.odom_from_base)
    assert robot.length_m == pytest.approx(30.0, abs=0.1)
    history = replace(robot, odom_from_base=robot.world_from_base_at_odometry).odometry
    for stamp_ns, world_from_base in zip(robot.stamps_ns.tolist(), robot.world_from_base, strict=True):
        np.testing.assert_allclose(history.at(stamp_ns).odom_from_base, world_from_base, atol=1e-6)
    depth = robot.building.depth(robot.truth["front", int(robot.stamps_ns[0])])
    assert np.isfinite(depth).all()
    assert depth.min() > 0.3
