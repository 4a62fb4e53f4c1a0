"""Submaps, anchors and a place recognizer for tests of loop closures."""

from __future__ import annotations

import numpy as np
from configs import config
from room import FRAME_NS, INTRINSICS, picture, pose
from simulation.network import PredictionNoise

from dvlt_ros.alignment import Sim3
from dvlt_ros.mapping.data.frames import Frame
from dvlt_ros.mapping.data.views import Anchor, View
from dvlt_ros.mapping.loops.config import LoopsConfig
from dvlt_ros.mapping.submaps.submap import Submap

PATH_M = 75.0  # it comes back to where it began


EAGER = config(LoopsConfig, loops_check_every=1, loops_rest=0)


NO_NOISE = PredictionNoise(noise=0.005, outliers=0.0, warp=0.0, bend_deg=0.05, features=0.3)


# Parts


def a_submap(number, num_registrations=1, x=None, forgotten=()):
    map_from_cam = pose((number if x is None else x, 0, 0))
    return Submap(number, 0, (number + 1) * FRAME_NS, "cam", map_from_cam, 3.0, num_registrations, forgotten)


def moved_by(x, scale=1.0):
    return Sim3.of(scale, np.eye(3), np.array([x, 0.0, 0.0]))


# Submaps


def an_anchor(number, size=(100, 140), shown=None):
    shown = shown or picture(number, size)
    depth = np.random.default_rng(number).uniform(1, 5, size).astype(np.float32)
    frame = Frame(number + 1, "cam", 0, lambda: shown)
    return Anchor(View(number, frame, shown), depth, np.full(size, 2.0, np.float32), INTRINSICS, np.eye(4))
