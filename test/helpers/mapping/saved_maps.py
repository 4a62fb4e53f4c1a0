"""Saved maps with a few submaps."""

from __future__ import annotations

import numpy as np
from room import FRAME_NS, INTRINSICS, picture, pose

from dvlt_ros.mapping.data.frames import Cloud, Frame, Picture
from dvlt_ros.mapping.data.views import Anchor, View
from dvlt_ros.mapping.maps.saved_map import SavedMap
from dvlt_ros.mapping.submaps.submap import StoredSubmap


def an_anchor(number, size=(100, 140), intrinsics=INTRINSICS):
    shown = Picture(picture(number, size).image, intrinsics)
    rng = np.random.default_rng(number)
    frame = Frame(number + 1, f"cam{number % 2}", 0, lambda: shown, camera=f"side{number % 2}")
    depth, confidence = rng.uniform(1, 5, (2, *size)).astype(np.float32)
    return Anchor(View(number, frame, shown), depth, confidence, INTRINSICS + number, pose(rng.normal(size=3), number))


def a_stored_submap(number, size=(100, 140), intrinsics=INTRINSICS):
    anchors = [an_anchor(4 * number + i, size, intrinsics) for i in range(4)]
    descriptor = np.random.default_rng(number).normal(size=(8, 16)).astype(np.float32)
    return StoredSubmap.of(number, anchors, 140, descriptor)


def a_saved_map(stored_submaps=(), checkpoint="abc", is_metric=False, num_points=500):
    rng = np.random.default_rng(0)
    points, colors = rng.uniform(-3, 3, (num_points, 3)), rng.integers(0, 255, (num_points, 3), np.uint8)
    cloud = Cloud(points.astype(np.float32), colors, rng.uniform(1, 9, num_points).astype(np.float32))
    poses = np.stack([pose(position) for position in rng.normal(size=(7, 3))])
    stored_submaps = stored_submaps or tuple(a_stored_submap(n) for n in range(3))
    return SavedMap(checkpoint, is_metric, cloud, 0.01, np.arange(7) * FRAME_NS, poses, tuple(stored_submaps))
