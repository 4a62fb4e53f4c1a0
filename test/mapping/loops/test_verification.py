"""Loops are believed where geometry says so, in rooms whose depth is known."""

from dataclasses import replace

import numpy as np
import pytest
import room
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from room import INTRINSICS, SIZE, pose

from dvlt_ros.alignment import Sim3
from dvlt_ros.errors import InputError
from dvlt_ros.geometry import rotation_angle
from dvlt_ros.mapping.data.frames import Frame
from dvlt_ros.mapping.data.views import Anchor, View
from dvlt_ros.mapping.inference.prediction import WindowPrediction
from dvlt_ros.mapping.loops.verification import UnverifiedLoop, _comparison, _Views, verify
from dvlt_ros.mapping.pose_graph.config import LoopClosure
from dvlt_ros.mapping.submaps.submap import SubmapViews
from dvlt_ros.model import PixelMapping

MAPPING = PixelMapping(SIZE, SIZE, (1.0, 1.0), (0.0, 0.0))
THERE = [pose((0.1 * i, 0.0, 0.05 * i), 0.3 + 0.05 * i) for i in range(3)]
AGAIN = [pose((0.5 - 0.1 * i, 0.1, 0.4), 0.45 - 0.05 * i, 0.03) for i in range(3)]
BEHIND = [pose((0.1 * i, 0.0, 0.0), 0.3 + np.pi) for i in range(3)]
LONGER = np.array([[-3.0, -1.5, -4.0], [3.0, 1.0, 9.0]])  # the same room but for its end
WIDER = np.array([[-3.0, -1.5, -4.0], [4.5, 1.0, 5.0]])  # ... but for one side
NARROW = np.array([[-1.5, -0.8, -4.0], [1.5, 2.0, 12.0]])


def depth_in(walls, world_from_cam):
    """(H, W) of a room with these walls."""
    before, room.WALLS = room.WALLS, walls
    try:
        return room.room_depth(world_from_cam)
    finally:
        room.WALLS = before


def gauge(rng):
    """window_from_world."""
    placed = pose(rng.normal(size=3), *rng.normal(size=2))
    return Sim3.of(rng.uniform(0.5, 2.0), placed[:3, :3], placed[:3, 3])


def seen(poses, window_from_world, rng, walls=room.WALLS, noise=0.0):
    """Depths (V, H, W) and cameras (V, 4, 4) as a window knows them."""
    depth = np.stack([depth_in(walls, p) for p in poses]) * float(window_from_world.scale)
    depth = depth * (1 + noise * rng.normal(size=depth.shape))
    return depth.astype(np.float32), window_from_world.apply_to_poses(np.stack(poses))


def stored_submap(submap, poses, window_from_world, rng, **options):
    depth, window_from_cam = seen(poses, window_from_world, rng, **options)
    shown = room.picture(0)
    views = [View(i, Frame(i + 1, "cam", 0, lambda: shown), shown) for i in range(len(poses))]
    confidence = np.full(SIZE, 2.0, np.float32)
    anchors = zip(views, depth, window_from_cam, strict=True)
    return SubmapViews(submap, tuple(Anchor(view, d, confidence, INTRINSICS, p) for view, d, p in anchors))


def joint(poses, rng, **options):
    depth, window_from_cam = seen(poses, gauge(rng), rng, **options)
    count = len(poses)
    return WindowPrediction(
        depth, np.full(depth.shape, 2.0, np.float32), window_from_cam, np.tile(INTRINSICS, (count, 1, 1)), MAPPING
    )


@given(st.integers(0, 10**6))
@settings(max_examples=15, deadline=None)
def test_a_true_loop_is_exact(seed):
    rng = np.random.default_rng(seed)
    gauges = gauge(rng), gauge(rng)
    first, second = stored_submap(3, THERE, gauges[0], rng), stored_submap(40, AGAIN, gauges[1], rng)
    truth = gauges[0].compose(gauges[1].inverse)
    loop = verify(joint(THERE + AGAIN, rng), first, second, expected_scale=float(truth.scale))
    assert isinstance(loop, LoopClosure)
    assert (loop.first, loop.second) == (3, 40)
    torch.testing.assert_close(loop.first_from_second.matrix, truth.matrix, atol=1e-5, rtol=1e-5)
    assert loop.residual < 1e-5


@pytest.mark.parametrize("seed", range(5))
def test_a_true_loop_under_noise_is_accurate(seed):
    rng = np.random.default_rng(seed)
    gauges = gauge(rng), gauge(rng)
    first = stored_submap(3, THERE, gauges[0], rng, noise=0.02)
    second = stored_submap(40, AGAIN, gauges[1], rng, noise=0.02)
    prediction = joint(THERE + AGAIN, rng, noise=0.02)
    wrong = rng.random(prediction.depth.shape) < 0.1
    prediction.depth[wrong] *= rng.uniform(0.2, 5.0, wrong.sum()).astype(np.float32)
    loop = verify(prediction, first, second)
    assert isinstance(loop, LoopClosure), loop
    truth = gauges[0].compose(gauges[1].inverse)
    assert float(loop.first_from_second.scale / truth.scale) == pytest.approx(1, abs=0.01)
    assert float(rotation_angle(loop.first_from_second.rotation.T @ truth.rotation)) < 1e-6
    camera = torch.from_numpy(second.views[0].map_from_cam[:3, 3])
    apart = (loop.first_from_second.apply(camera) - truth.apply(camera)).norm() / gauges[0].scale
    assert float(apart) < 0.05  # metres, 3 m from the walls


def one_view(depth):
    return _Views(depth[None], INTRINSICS[None], np.eye(4)[None])


def refusal(first_poses, second_poses, *, imagined=None, walls=room.WALLS, config=None, expected_scale=None, seed=0):
    """Of a second submap to ``walls``, which the joint window takes for the place where the first one was."""
    rng = np.random.default_rng(seed)
    first, second = (
        stored_submap(3, first_poses, gauge(rng), rng),
        stored_submap(40, second_poses, gauge(rng), rng, walls=walls),
    )
    prediction = joint(first_poses + (imagined or second_poses), rng)
    found = verify(prediction, first, second, config, expected_scale)
    assert isinstance(found, UnverifiedLoop)
    assert (found.first, found.second) == (3, 40)
    return found.reason


def test_another_place_that_looks_the_same_is_refused():
    reason = refusal(THERE, AGAIN, walls=NARROW)
    assert "submap 40 does not fit the joint window: its residual" in reason


@pytest.mark.parametrize("walls", [LONGER, WIDER], ids=["longer", "wider"])
def test_another_place_is_refused_even_if_every_registration_fits(walls):
    """Most pixels are as in the first room, and registrations forgive the rest; what both saw on their own tells."""
    reason = refusal(THERE, AGAIN, walls=walls)
    assert "seen on their own, one submap looks through" in reason


def test_what_lies_beside_an_edge_is_not_seen_through():
    """A pillar: off by one pixel, as registrations allow, or not there."""
    depth = np.full(SIZE, 6.0)
    depth[:, 8:12] = 2.0
    for other, columns in ((np.roll(depth, 1, axis=1), 0), (np.full(SIZE, 6.0), 4)):
        first, second = (one_view(d) for d in (depth, other))
        same, through = _comparison(first, second, tolerance=0.1)
        assert through == pytest.approx(columns / SIZE[1])
        assert same == pytest.approx(1 - (columns or 2) / SIZE[1])


def test_visits_that_do_not_see_the_same_are_refused():
    assert "seen together, the submaps share 0% of their pixels" in refusal(THERE, BEHIND)


def test_a_joint_window_that_puts_cameras_together_which_were_not_is_refused():
    """Both look at what the network takes for one corner."""
    assert "submap 40 does not fit the joint window" in refusal(THERE, BEHIND, imagined=AGAIN)


def test_a_scale_that_nobody_expects_is_refused():
    assert "scale is off by a factor of" in refusal(THERE, AGAIN, expected_scale=100.0)


def test_cameras_that_nothing_explains_are_refused():
    rng = np.random.default_rng(0)
    first, second = stored_submap(3, THERE, gauge(rng), rng), stored_submap(40, AGAIN, gauge(rng), rng)
    prediction = joint(THERE + AGAIN, rng)
    prediction.window_from_cam[3:] = np.nan
    found = verify(prediction, first, second)
    assert isinstance(found, UnverifiedLoop)
    assert "submap 40 does not fit the joint window: 0 of" in found.reason
    prediction = joint(THERE + AGAIN, rng)
    prediction.window_from_cam[4] = np.nan  # one of three does no harm
    assert isinstance(verify(prediction, first, second), LoopClosure)


def test_another_resolution_is_refused():
    rng = np.random.default_rng(0)
    first, second = stored_submap(3, THERE, gauge(rng), rng), stored_submap(40, AGAIN, gauge(rng), rng)
    small = tuple(replace(anchor, depth=anchor.depth[::2, ::2]) for anchor in first.views)
    found = verify(joint(THERE + AGAIN, rng), SubmapViews(3, small), second)
    assert isinstance(found, UnverifiedLoop)
    assert "another size" in found.reason


def test_views_and_visits_must_match():
    rng = np.random.default_rng(0)
    first, second = stored_submap(3, THERE, gauge(rng), rng), stored_submap(40, AGAIN, gauge(rng), rng)
    with pytest.raises(InputError, match="5 views predicted for submaps of 3 and 3"):
        verify(joint(THERE + AGAIN[:2], rng), first, second)
    with pytest.raises(InputError, match="no views"):
        SubmapViews(3, ())
