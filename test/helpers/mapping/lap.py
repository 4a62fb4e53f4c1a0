"""A robot that goes round and round in the room, and a network that knows each place of the lap again."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from room import FRAME_NS, FakePredictor, pose

LAP = 36  # frames
EAGER = {"loops_mode": "always", "loops_min_age_s": 1.0, "loops_check_every": 1, "loops_place_distance": 0.05}
EXACT = {"model_image_size": 28, "confidence_cut_share": 0.0, "registration_max_residual": 0.1}  # as the predictor is


def on_the_lap(number):
    angle = 2 * np.pi * number / LAP
    return pose((np.sin(angle), 0, 1 - np.cos(angle)), 3 * angle)


def lap_poses(numbers):
    """world_from_cam (4, 4) by the stamp of a frame, and of what the node shows the network when it warms up."""
    return {number * FRAME_NS: on_the_lap(number) for number in numbers} | {1: on_the_lap(0)}


@dataclass
class RecognizingPredictor(FakePredictor):
    """Knows each place of the lap when it sees it again."""

    joint_windows: int = 0

    checkpoint = "abc"

    def describe(self, view, image_size):
        return np.random.default_rng(view.frame.stamp_ns // FRAME_NS % LAP).normal(size=(8, 24)).astype(np.float32)

    def predict_apart(self, views, num_steps, image_size):
        self.joint_windows += 1
        return self.predict(views, num_steps, image_size, range(len(views)))
