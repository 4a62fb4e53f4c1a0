"""The voxel map: a mean per voxel whatever the order, and bounded for ever."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from dvlt_ros.errors import ConfigError
from dvlt_ros.mapping.maps.voxel_map import HALF, KEPT_SHARE, MAX_WEIGHT, VoxelMap

ORIGIN = np.zeros(3)


@st.composite
def seen(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points that often share voxels, colours and weights; all voxels stay below MAX_WEIGHT."""
    count = draw(st.integers(1, 60))
    points = draw(npst.arrays(np.float32, (count, 3), elements=st.floats(-3, 3, width=32)))
    colors = draw(npst.arrays(np.uint8, (count, 3)))
    weights = draw(npst.arrays(np.float32, count, elements=st.floats(0.125, 16, width=32)))
    return points, colors, weights


def built(batches, voxel_size=1.0, max_points=1000, camera_position=ORIGIN) -> VoxelMap:
    voxels = VoxelMap(voxel_size, max_points)
    for batch in batches:
        voxels.add(*batch, camera_position=camera_position)
    return voxels


def by_voxel(cloud, voxel_size=1.0):
    """The cloud's rows in an order that does not depend on how it was made."""
    points, colors, weights = cloud
    order = np.lexsort(np.floor(points.astype(np.float64) / voxel_size).T)
    return points[order], colors[order].astype(int), weights[order]


def away_from_walls(points):
    """Rounding must not decide the voxel of a mean: the middle of each voxel, 0.1 to 0.9."""
    cells = np.floor(points)
    return (cells + 0.1 + 0.8 * (points - cells)).astype(np.float32)


def assert_same(one, other):
    for (a, b), tolerance in zip(zip(one, other, strict=True), (1e-5, 1, 1e-5), strict=True):
        np.testing.assert_allclose(a, b, rtol=0 if tolerance == 1 else tolerance, atol=tolerance)


@settings(max_examples=60, deadline=None)
@given(st.lists(seen(), min_size=1, max_size=3), st.sampled_from([0.05, 0.1, 0.3]))
def test_a_cloud_that_is_added_again_has_the_same_voxels(batches, voxel_size):
    """Points on the borders: rounding to single precision must not take a mean into the voxel beside it."""
    on_borders = [(voxel_size * np.rint(points.astype(np.float64) / voxel_size), *rest) for points, *rest in batches]
    cloud = built(on_borders, voxel_size).cloud()
    again = built([cloud], voxel_size).cloud()
    assert len(again.points) == len(cloud.points)
    assert_same(by_voxel(again, voxel_size), by_voxel(cloud, voxel_size))


@settings(max_examples=60, deadline=None)
@given(seen())
def test_every_voxel_holds_the_weighted_mean_of_what_fell_into_it(batch):
    points, colors, weights = batch
    voxels = built([batch])
    expected = {}
    for cell, *row in zip(map(tuple, np.floor(points.astype(np.float64))), points, colors, weights, strict=True):
        expected.setdefault(cell, []).append(row)
    assert len(voxels) == len(expected)
    found, found_colors, found_weights = voxels.cloud()
    total = np.array([[*np.average([r[0] for r in rows], axis=0, weights=[r[2] for r in rows]),
                       *np.average([r[1] for r in rows], axis=0, weights=[r[2] for r in rows]),
                       sum(r[2] for r in rows)] for rows in expected.values()])  # fmt: skip
    near = np.linalg.norm(found[:, None] - total[None, :, :3], axis=-1).argmin(axis=1)
    np.testing.assert_allclose(found, total[near, :3], atol=1e-5)
    np.testing.assert_allclose(np.sort(found_weights), np.sort(total[:, 6]), rtol=1e-5)
    if len(set(near)) == len(total):
        np.testing.assert_allclose(found_colors, total[near, 3:6], atol=0.51)


@settings(max_examples=60, deadline=None)
@given(seen(), st.randoms(use_true_random=False), st.integers(1, 5))
def test_the_order_and_the_batches_do_not_matter(batch, random, parts):
    points, colors, weights = away_from_walls(batch[0]), *batch[1:]
    order = random.sample(range(len(points)), len(points))
    shuffled = [(points[part], colors[part], weights[part]) for part in np.array_split(order, parts)]
    whole = by_voxel(built([(points, colors, weights)]).cloud())
    assert_same(by_voxel(built(shuffled).cloud()), whole)


@settings(max_examples=60, deadline=None)
@given(seen())
def test_the_map_added_to_itself_changes_nothing_but_the_confidence(batch):
    voxels = built([(away_from_walls(batch[0]), *batch[1:])])
    before = voxels.cloud()
    voxels.add(*before, camera_position=ORIGIN)
    points, colors, weights = voxels.cloud()
    assert_same(
        (points, colors.astype(int), weights), (before[0], before[1].astype(int), np.minimum(2 * before[2], MAX_WEIGHT))
    )


@settings(max_examples=60, deadline=None)
@given(seen(), st.sampled_from([0.01, 0.3, 1.7]), st.sampled_from([0.0, 12.0, -450.0]))
def test_a_mean_lies_inside_its_voxel(batch, voxel_size, away):
    points = batch[0] + np.float32(away)
    voxels = built([(points, *batch[1:])] * 3, voxel_size)
    found = voxels.cloud()[0].astype(np.float64)
    cells = np.unique(np.floor(points.astype(np.float64) / voxel_size), axis=0)
    middles = (cells + 0.5) * voxel_size
    distance = np.abs(found[:, None] - middles[None]).max(axis=-1).min(axis=1)
    assert (distance <= voxel_size / 2 + 1e-6 * (1 + abs(away))).all()
    assert len(found) == len(cells)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 200), st.integers(1, 8), st.integers(1, 300), st.integers(0, 2**32 - 1))
def test_there_are_never_more_points_than_allowed(max_points, batches, size, seed):
    rng = np.random.default_rng(seed)
    voxels = VoxelMap(0.1, max_points)
    for _ in range(batches):
        points = rng.uniform(-1, 1, (size, 3)).astype(np.float32)
        voxels.add(points, np.zeros((size, 3), np.uint8), np.ones(size, np.float32), rng.uniform(-1, 1, 3))
        assert len(voxels) <= max_points
        assert len(voxels.cloud()[0]) == len(voxels)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(20, 400), st.integers(1, 6))
def test_the_farthest_from_the_camera_leave_first(seed, max_points, batches):
    """Whatever came in between: the nearest of all that were ever seen are there."""
    rng = np.random.default_rng(seed)
    middles = rng.permutation(1000)[:600] + 0.5
    points = np.stack([middles, 0 * middles, 0 * middles], axis=-1).astype(np.float32)
    camera = np.array([rng.uniform(0, 1000), 0, 0])
    batch_of = [(part, np.zeros((len(part), 3), np.uint8), np.ones(len(part))) for part in np.split(points, batches)]
    kept = built(batch_of, max_points=max_points, camera_position=camera).cloud()[0][:, 0]
    distance = np.sort(np.abs(middles - camera[0]))
    sure = int(KEPT_SHARE * max_points)
    np.testing.assert_allclose(np.sort(np.abs(kept - camera[0]))[:sure], distance[:sure], atol=1e-3)
    assert len(kept) <= max_points


def test_what_is_no_position_or_has_no_weight_does_not_count():
    points = np.array([[0.5, 0.5, 0.5], [np.nan, 0, 0], [0, np.inf, 0], [3, 3, 3], [4, 4, 4], [5, 5, 5], [HALF, 0, 0]])
    points = np.vstack([points, [[3e38, 0, 0], [-HALF, 0, 0], [6, 6, 6]]]).astype(np.float32)
    weights = np.array([2, 1, 1, 0, -1, np.nan, 1, 1, 1, np.inf], np.float32)
    with np.errstate(all="raise"):
        found, _, confidence = built([(points, np.zeros((10, 3), np.uint8), weights)]).cloud()
    np.testing.assert_array_equal(found, [[0.5, 0.5, 0.5]])
    np.testing.assert_array_equal(confidence, [2])


def test_the_outermost_voxels_are_kept_apart():
    edge = HALF - 1.5
    points = np.array([[x, y, z] for x in (-edge, edge) for y in (-edge, edge) for z in (-edge, edge)])
    voxels = built([(points, np.zeros((8, 3), np.uint8), np.ones(8))] * 2)
    np.testing.assert_allclose(by_voxel(voxels.cloud())[0], by_voxel((points, points, points[:, 0]))[0])


def test_a_voxel_that_was_seen_for_long_still_changes():
    color, weights = np.full((1, 3), 200, np.uint8), np.full(1, 50.0)
    before, now = np.array([[0.1, 0.5, 0.5]]), np.array([[0.9, 0.5, 0.5]])
    voxels = built([(before, color // 2, weights)] * 500 + [(now, color, weights)] * 60)
    points, colors, confidence = voxels.cloud()
    assert points[0, 0] > 0.85
    assert colors[0, 0] > 190
    assert confidence[0] == MAX_WEIGHT
    at_once = built([(np.tile(now, (60, 1)), np.tile(color, (60, 1)), np.full(60, 50.0))])
    assert at_once.cloud()[2][0] == MAX_WEIGHT


def test_a_walk_without_end_needs_no_more_memory():
    rng = np.random.default_rng(0)
    voxels, peaks = VoxelMap(0.1, 3000), []
    tracemalloc.start()
    try:
        for part in range(4):
            tracemalloc.reset_peak()
            for step in range(150):
                camera = np.array([0.05 * (150 * part + step), 0, 0])
                points = (camera + rng.uniform(-2, 2, (500, 3))).astype(np.float32)
                voxels.add(points, np.zeros((500, 3), np.uint8), np.ones(500, np.float32), camera)
            peaks.append(tracemalloc.get_traced_memory()[1])
    finally:
        tracemalloc.stop()
    assert len(voxels) > 2500
    assert max(peaks[2:]) < 1.05 * peaks[1]


def test_it_begins_empty():
    voxels = built([])
    assert len(voxels) == 0
    points, colors, confidence = voxels.cloud()
    assert (points.shape, colors.shape, confidence.shape) == ((0, 3), (0, 3), (0,))
    assert (points.dtype, colors.dtype, confidence.dtype) == (np.float32, np.uint8, np.float32)


def test_a_cloud_that_was_handed_out_stays_as_it_is():
    voxels = built([(np.full((1, 3), 0.25), np.ones((1, 3), np.uint8), np.ones(1))])
    before = voxels.cloud()[0]
    voxels.add(np.full((1, 3), 0.75), np.ones((1, 3), np.uint8), np.ones(1), ORIGIN)
    np.testing.assert_array_equal(before, np.full((1, 3), 0.25))
    np.testing.assert_array_equal(voxels.cloud()[0], np.full((1, 3), 0.5))


@pytest.mark.parametrize(("voxel_size", "max_points"), [(0.0, 10), (-1.0, 10), (np.nan, 10), (np.inf, 10), (0.1, 0)])
def test_sizes_that_cannot_work_are_refused(voxel_size, max_points):
    with pytest.raises(ConfigError, match=r"voxel_size and max_points must be"):
        VoxelMap(voxel_size, max_points)


@given(batch=seen(), moving=st.integers(0, 2**60), shift=st.tuples(*[st.floats(-2, 2, width=32)] * 3))
def test_what_moves_is_as_if_it_had_been_there_and_what_stays_is_the_same_bit_by_bit(batch, moving, shift):
    voxels = built([batch])
    before = voxels.cloud()
    moves = np.array([moving >> i & 1 for i in range(len(voxels))], bool)
    to = before.points + np.float32(shift) * moves[:, None]
    voxels.move(np.flatnonzero(moves), to[moves], ORIGIN)
    found, expected = by_voxel(voxels.cloud()), by_voxel(built([(to, before.colors, before.confidence)]).cloud())
    np.testing.assert_allclose(found[0], expected[0], atol=1e-4)
    np.testing.assert_allclose(found[1], expected[1], atol=1)
    np.testing.assert_allclose(found[2], expected[2], rtol=1e-5)
    cells = {tuple(cell) for cell in np.floor(to[moves].astype(np.float64))}
    alone = [tuple(p) for p in before.points[~moves] if tuple(np.floor(p.astype(np.float64))) not in cells]
    assert set(alone) <= set(map(tuple, voxels.cloud().points))


def test_the_submap_that_was_there_keeps_a_voxel_that_others_move_to():
    voxels = VoxelMap(1.0, 100)
    points, grey = np.array([[0.5, 0.5, 0.5], [2.5, 0.5, 0.5]], np.float32), np.full((2, 3), 128, np.uint8)
    voxels.add(points, grey, np.ones(2, np.float32), ORIGIN, np.array([3, 4]))
    voxels.move(np.array([0]), np.array([[2.25, 0.5, 0.5]]), ORIGIN)
    assert voxels.submap_ids.tolist() == [4]
    np.testing.assert_allclose(voxels.cloud().points, [[2.375, 0.5, 0.5]])
