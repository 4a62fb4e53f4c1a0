"""Windows that are registered by the tracked points that they share with the map."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from room import INTRINSICS, SIZE, picture, pose, room_depth

from dvlt_ros.alignment import Sim3
from dvlt_ros.mapping.data.frames import Frame
from dvlt_ros.mapping.data.views import View
from dvlt_ros.mapping.inference.prediction import WindowPrediction
from dvlt_ros.mapping.submaps.placement import MapFrame, anchor_views
from dvlt_ros.mapping.submaps.shared_landmarks import MIN_LANDMARKS, shared_landmarks
from dvlt_ros.model import PixelMapping
from dvlt_ros.refinement import Landmarks

POSES = np.stack([pose((0.2 * i, 0, 0), 0.05 * i) for i in range(4)])
MAP_FROM_WINDOW = Sim3.of(2.5, pose((0, 0, 0), 0.4, 0.1)[:3, :3], np.array([1.0, -2.0, 0.5]))


def seen(world_from_cam, number, count, unit=1.0):
    """Landmarks of the frame with a number, each at a pixel of its own."""
    rng = np.random.default_rng(number)
    points = np.concatenate([rng.uniform(-1, 1, (count, 2)), rng.uniform(2, 4, (count, 1))], axis=1)
    return Landmarks(rng.uniform(0, 30, (count, 2)), unit * points, np.full(count, 0.01))


def window(poses, numbers, count, unit=1.0, wrong=1.0):
    """A refined window in its own unit; its depth maps are wrong by a factor."""
    depth = np.stack([np.float32(wrong * unit) * room_depth(p) for p in poses])
    moved = poses.copy()
    moved[:, :3, 3] *= unit
    landmarks = tuple(seen(p, n, count, unit) for p, n in zip(poses, numbers, strict=True))
    return WindowPrediction(
        depth, np.full_like(depth, 2.0), moved, np.tile(INTRINSICS, (len(poses), 1, 1)),
        PixelMapping(SIZE, SIZE, (1.0, 1.0), (0.0, 0.0)), landmarks,
    )  # fmt: skip


def anchors(count, wrong=1.0):
    views = [View(n, Frame(n + 1, "cam", 0, lambda: None), picture(n)) for n in range(2)]
    return anchor_views(views, window(POSES[:2], [0, 1], count, wrong=wrong), MAP_FROM_WINDOW)


def placed(prediction, shared):
    frame = MapFrame()
    frame.place(prediction, (), 0.1, lambda _: np.eye(3))  # a map begins
    return frame.place(prediction, shared, 0.1, lambda _: np.eye(3))


def test_landmarks_register_a_window_whose_depth_maps_contradict_the_map():
    prediction = window(POSES, range(4), 80, unit=0.5, wrong=1.3)
    found, report = placed(prediction, anchors(80))
    assert report.state == "joined"
    assert report.residual < 1e-6
    assert float(found.scale) == pytest.approx(5.0)
    np.testing.assert_allclose(found.rotation, MAP_FROM_WINDOW.rotation, atol=1e-9)
    np.testing.assert_allclose(found.translation, MAP_FROM_WINDOW.translation, atol=1e-9)
    assert float(placed(replace(prediction, landmarks=()), anchors(80))[0].scale) == pytest.approx(5 / 1.3, rel=1e-3)


def test_only_the_same_pixels_of_the_same_frame_are_the_same_point():
    prediction, known = window(POSES, range(4), 80), anchors(80)
    points = shared_landmarks(prediction, known)
    assert points.in_window.shape == (2, 80, 3)
    elsewhere = [replace(a, landmarks=replace(a.landmarks, pixels=a.landmarks.pixels + 0.25)) for a in known]
    assert shared_landmarks(prediction, elsewhere) is None


def test_pixels_register_a_window_with_few_landmarks_or_none():
    few = MIN_LANDMARKS // 2 - 1
    assert shared_landmarks(window(POSES, range(4), few), anchors(few)) is None
    assert shared_landmarks(replace(window(POSES, range(4), 80), landmarks=()), anchors(80)) is None
    found, report = placed(window(POSES, range(4), few, unit=0.5), anchors(few))
    assert report.state == "joined"
    assert float(found.scale) == pytest.approx(5.0, rel=1e-3)
