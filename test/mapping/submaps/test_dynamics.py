"""What moves, and sky, told by the views of a window."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
import walled
from walled import INTRINSICS, SIZE, depth_of, pose

from dvlt_ros.mapping.data.frames import Frame, Picture
from dvlt_ros.mapping.data.turn import PORTRAIT, UNTURNED
from dvlt_ros.mapping.data.views import Anchor, View
from dvlt_ros.mapping.submaps.config import MasksConfig
from dvlt_ros.mapping.submaps.dynamics import hidden_at, sky, without_dynamics
from dvlt_ros.model import PixelMapping
from dvlt_ros.refinement import Landmarks

BOTH = MasksConfig("both")
MOVING = MasksConfig("moving")
UNSCALED = PixelMapping(SIZE, SIZE, (1.0, 1.0), (0.0, 0.0))


def anchor(number, map_from_cam, depth, confidence=None, turn=UNTURNED):
    shown = Picture(np.zeros((*SIZE, 3), np.uint8), INTRINSICS)
    view = View(number, Frame(number + 1, "cam", 0, lambda: shown), shown, number, turn)
    confidence = np.full(depth.shape, 2.0, np.float32) if confidence is None else confidence
    return Anchor(view, depth, confidence, INTRINSICS, map_from_cam)


def box(y, x=1.5):
    return (x, y - 0.25, 0.0), (x + 0.3, y + 0.25, 1.2)


def walking(count=5, steps_m=0.5):
    """A camera that moves on, and a box that crosses before it; and where each view sees the box."""
    anchors, boxed = [], []
    for number in range(count):
        map_from_cam = pose(0.05 * number)
        shown, without = (depth_of(map_from_cam, boxes) for boxes in ([box(steps_m * number - 1.2)], []))
        anchors.append(anchor(number, map_from_cam, shown))
        boxed.append(shown < without - 1e-3)
    return anchors, boxed


def test_what_crosses_is_hidden_with_its_depth_and_the_rest_stays():
    anchors, boxed = walking()
    found = without_dynamics(anchors, 2, MOVING, UNSCALED)
    assert found[:2] == anchors[:2]  # those that were placed before
    for before, after, is_box in zip(anchors[2:], found[2:], boxed[2:], strict=True):
        assert is_box.any()
        is_hidden = np.isnan(after.depth)
        assert is_hidden[is_box].mean() > 0.85  # its edges may belong to the wall
        assert is_hidden[~is_box].mean() < 0.02
        np.testing.assert_array_equal(after.hidden[is_hidden], before.depth[is_hidden])
        assert np.isnan(after.hidden[~is_hidden]).all()


def walking_ahead(num_moving):
    """A view of somebody who walks ahead, with tracks on them, on the floor and on the wall; and where they are."""
    map_from_cam = pose()
    shown, without = (depth_of(map_from_cam, boxes) for boxes in ([box(0.0)], []))
    is_box = shown < without - 1e-3
    rng = np.random.default_rng(0)
    inner = cv2.erode(is_box.astype(np.uint8), np.ones((3, 3))) > 0
    moving, still = (
        rng.permutation(np.argwhere(where))[:count, ::-1] + 0.5 for where, count in ((inner, num_moving), (~is_box, 60))
    )
    seen = Landmarks(still, np.ones((len(still), 3)), np.full(len(still), 0.01), moving)
    return replace(anchor(0, map_from_cam, shown), landmarks=seen), is_box


def test_who_walks_ahead_is_hidden_by_the_tracks_on_them():
    ahead, is_box = walking_ahead(30)
    (found,) = without_dynamics([ahead], 0, MOVING, UNSCALED)
    is_hidden = np.isnan(found.depth)
    assert is_hidden[is_box].mean() > 0.8
    assert is_hidden[~is_box].mean() < 0.03
    halved = PixelMapping((2 * SIZE[0], 2 * SIZE[1]), SIZE, (0.5, 0.5), (0.0, 0.0))
    seen = ahead.landmarks
    doubled = replace(ahead, landmarks=replace(seen, pixels=2 * seen.pixels, moving=2 * seen.moving))
    (again,) = without_dynamics([doubled], 0, MOVING, halved)
    np.testing.assert_array_equal(np.isnan(again.depth), is_hidden)


def test_tracks_that_slipped_hide_nothing():
    ahead, _ = walking_ahead(2)
    assert without_dynamics([ahead], 0, MOVING, UNSCALED) == [ahead]
    ahead, _ = walking_ahead(30)
    assert without_dynamics([ahead], 0, MasksConfig("sky"), UNSCALED) == [ahead]


def test_a_scene_that_stands_still_keeps_everything():
    poses = [pose(0.1 * n, turned=0.05 * n) for n in range(6)]
    anchors = [anchor(n, map_from_cam, depth_of(map_from_cam, [box(0.4)])) for n, map_from_cam in enumerate(poses)]
    assert all(a is b for a, b in zip(anchors, without_dynamics(anchors, 0, MOVING, UNSCALED), strict=True))


def test_noise_of_the_depth_hides_next_to_nothing():
    rng, anchors = np.random.default_rng(0), []
    for number in range(6):
        map_from_cam = pose(0.1 * number)
        depth = depth_of(map_from_cam, [box(0.4)]) * rng.normal(1, 0.02, SIZE)
        anchors.append(anchor(number, map_from_cam, depth.astype(np.float32)))
    found = without_dynamics(anchors, 0, MOVING, UNSCALED)
    assert np.mean([np.isnan(one.depth).mean() for one in found]) < 0.01


def with_sky(turn=UNTURNED):
    depth = depth_of(pose())
    confidence = np.full(SIZE, 5.0, np.float32)
    depth[:10], confidence[:10] = 60.0, 1.1
    depth[20:23, 30:33], confidence[20:23, 30:33] = 60.0, 1.1  # far and unsure, and below the horizon
    return anchor(0, pose(), turn.image(depth), turn.image(confidence), turn)


@pytest.mark.parametrize("turn", [UNTURNED, PORTRAIT], ids=["landscape", "turned"])
def test_sky_reaches_down_from_the_upper_edge(turn):
    found = turn.restored(sky(with_sky(turn)))
    assert found[:10].all()
    assert not found[10:].any()


def test_a_room_has_no_sky():
    assert not sky(anchor(0, pose(), depth_of(pose()))).any()


def test_nothing_is_hidden_unless_it_is_asked_for():
    anchors, _ = walking()
    assert without_dynamics(anchors, 0, MasksConfig(), UNSCALED) == anchors
    assert np.isnan(without_dynamics([with_sky()], 0, BOTH, UNSCALED)[0].depth[:10]).all()


def test_what_a_mask_has_hidden_stays_hidden():
    is_masked = np.zeros(SIZE, bool)
    is_masked[:3] = True
    once = hidden_at(anchor(0, pose(), depth_of(pose())), is_masked)
    twice = hidden_at(once, ~is_masked)
    assert np.isfinite(twice.hidden).all()
    assert np.isnan(twice.depth).all()
    assert twice.depth.shape == walled.SIZE
