"""What tests of recorded bags share."""

from __future__ import annotations

import pytest


@pytest.fixture
def robot(box_scene):
    """A robot that drives through the box and records."""
    from bag_robot import Robot  # needs rosbags

    return Robot(box_scene)
