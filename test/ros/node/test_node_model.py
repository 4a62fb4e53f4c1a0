"""The node with another model than ours, over real DDS: the same topics, stamps, status and budget."""

from __future__ import annotations

import re
import sys

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not here; `make venv` brings it, `make test` runs this")

import torch
from lifecycle_msgs.msg import Transition
from robot import HEIGHT, SETS, WIDTH, as_image
from upstreams import Scene, install

from dvlt_ros.geometry import pose_matrix


@pytest.fixture
def wall(monkeypatch, tmp_path):
    """VGGT's stand-in before a wall with a relief of the image's brightness, each camera beside the one before."""
    shown = []

    def see(images):
        count, _, height, width = images.shape
        shown.append(tuple(images.shape))
        intrinsics = torch.tensor([[width, 0, width / 2], [0, width, height / 2], [0, 0, 1.0]]).repeat(count, 1, 1)
        places = torch.stack([torch.tensor([0.1 * i, 0.0, 0.0]) for i in range(count)])
        poses = pose_matrix(torch.eye(3).repeat(count, 1, 1), places)
        return Scene(1 + images.mean(1), 2 + torch.rand_like(images[:, 0]), intrinsics, poses)

    checkpoint = install(monkeypatch, "vggt", see, tmp_path)
    return checkpoint, shown


def test_another_model_publishes_the_same_complete_sets(make_robot, wall):
    checkpoint, shown = wall
    robot = make_robot(checkpoint, model_name="vggt", budget_k_max=0, budget_latency_ms=60_000.0)
    robot.start()
    robot.show_and_wait(8)
    for topic in SETS:
        robot.until(lambda t=topic: len(robot.messages[t]) == 8, topic)
        assert robot.stamps(topic) == [1_100_000_000 + 100_000_000 * i for i in range(8)], topic
    depth = as_image(robot.messages["depth/image"][-1])
    assert depth.shape == (HEIGHT, WIDTH)
    # Up to the map's unit the wall is as the stand-in sees it, twice its weight: from 2 to 4.
    assert np.isfinite(depth).mean() > 0.2
    assert np.nanmin(depth) > 0
    assert np.nanmax(depth) <= 2.0 * np.nanmin(depth)
    assert all(size % 14 == 0 for shape in shown for size in shape[-2:])
    robot.until(lambda: robot.messages["map_points"] and robot.messages["path"], "map and path")
    status = robot.status()
    assert (status["accepted"], status["published"], status["dropped"], status["in_flight"]) == ("8", "8", "0", "0")
    assert (status["k_range"], status["latency_budget_ms"]) == ("1 to 1", "60000")


def test_a_model_that_is_not_installed_fails_to_configure_with_the_command(make_robot, monkeypatch):
    monkeypatch.setitem(sys.modules, "mapanything", None)
    robot = make_robot(model_name="mapanything", budget_k_max=0)
    said = []
    monkeypatch.setattr(robot.node.get_logger(), "error", said.append)
    assert not robot.change(Transition.TRANSITION_CONFIGURE)
    robot.until(lambda: said, "the reason")
    assert re.search(r"cannot configure: .*pip install git\+.*map-anything", said[0])


def test_models_and_steps_that_do_not_exist_are_refused_with_a_reason(make_robot, wall):
    checkpoint, _ = wall
    robot = make_robot(checkpoint, model_name="vggt", budget_k_max=2)
    (result,) = robot.set(model_name="vgtt")
    assert not result.successful
    assert "model must be one of dvlt, vggt" in result.reason
    assert not robot.change(Transition.TRANSITION_CONFIGURE)  # k_max 2, without a loop
    assert robot.set(budget_k_max=0)[0].successful
    assert robot.change(Transition.TRANSITION_CONFIGURE)
    (result,) = robot.set(model_name="dvlt")
    assert not result.successful
    assert "before the node is configured" in result.reason
