"""Robots around nodes."""

from __future__ import annotations

import pytest


@pytest.fixture
def make_robot(ros):
    """Robots with the embedded checkpoint, at a size at which it is quick."""
    from robot import Robot  # needs ROS, without which tests of this folder are skipped

    robots = []

    def make(weights="", **options):
        robots.append(Robot(ros, str(weights), **options))
        return robots[-1]

    yield make
    for robot in robots:
        robot.close()
