"""Points that another sensor measures, as metres: projected, compared robustly, refused with the reason."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from configs import mapper_config
from room import FRAME_NS, INTRINSICS, SIZE, pose, room_depth

from dvlt_ros.errors import ConfigError
from dvlt_ros.mapping.front_end.front_end import FrontEnd
from dvlt_ros.mapping.maps.metric_map import MetricMap
from dvlt_ros.mapping.scale.estimator import ScaleConfig
from dvlt_ros.mapping.scale.observations import NoObservation, ScaleObservation, scale_from_depth
from dvlt_ros.mapping.sensors.odometry import CameraInOdom, inverse
from dvlt_ros.mapping.sensors.sparse_depth import (
    MAX_POINTS,
    MAX_WAITING,
    DepthError,
    LateDepthError,
    SparseDepth,
    SparseDepthConfig,
    points_of_image,
    project,
    unit_problem,
    usable,
)

COUNT = 30
CONFIG = SparseDepthConfig()
BESIDE = pose((0.3, -0.4, 0.1), 0.2, 0.1)  # cam_from_sensor of another sensor


@pytest.fixture
def make_windows(make_predictor, make_frame):
    """Windows of the front end along a walk, in units of their own, and the true poses."""

    def make(count=COUNT):
        predictor = make_predictor(count)
        front_end = FrontEnd(
            predictor, mapper_config(confidence_cut_share=0.0), clock_ns=itertools.count(0, 10**6).__next__
        )
        windows = []
        for number in range(1, count + 1):
            front_end.admit(make_frame(number))
            if front_end.is_full() and (window := front_end.run()) is not None:
                windows.append(window)
        return windows, predictor.poses

    return make


def seen_from(world_from_sensor, unit=1.0, stride=1):
    """Points (N, 3) of the room in the frame of a sensor."""
    points = points_of_image(unit * room_depth(world_from_sensor), INTRINSICS)
    return points[::stride]


def sensor(poses, cam_from_sensor=BESIDE, unit=1.0, stride=3):
    """Points in the camera at a stamp, as the sensor beside it sees them."""

    def look_up(stamp_ns, frame_id):
        points = seen_from(poses[stamp_ns] @ cam_from_sensor, unit, stride)
        return points @ cam_from_sensor[:3, :3].T + cam_from_sensor[:3, 3]

    return look_up


def test_what_is_unprojected_and_projected_comes_back():
    depth = np.random.default_rng(0).uniform(1, 5, SIZE)
    np.testing.assert_allclose(project(points_of_image(depth, INTRINSICS), INTRINSICS, SIZE), depth)
    depth[3, 4], depth[5, 6] = np.nan, 0.0
    back = project(points_of_image(depth, INTRINSICS), INTRINSICS, SIZE)
    assert np.isnan(back[3, 4])
    assert np.isnan(back[5, 6])


def test_of_points_at_one_pixel_the_nearest_is_seen_and_those_behind_the_camera_are_not():
    ray = np.linalg.inv(INTRINSICS) @ [10.5, 7.5, 1.0]
    depth = project(np.stack([3 * ray, 2 * ray, 4 * ray, -ray]), INTRINSICS, SIZE)
    assert depth[7, 10] == pytest.approx(2.0)
    assert np.isfinite(depth).sum() == 1


def test_a_large_depth_image_is_thinned_and_stays_where_it_is():
    camera = np.array([[600.0, 0, 320], [0, 600, 240], [0, 0, 1]])
    depth = np.full((480, 640), 2.0)
    points = points_of_image(depth, camera)
    assert MAX_POINTS / 4 < len(points) <= MAX_POINTS
    pixels = (points @ camera.T)[:, :2] / points[:, 2:]
    np.testing.assert_allclose(pixels % 1, 0.5, atol=1e-9)
    np.testing.assert_allclose(pixels.mean(axis=0), (320, 240), atol=2)


@pytest.mark.parametrize("share", [0.1, 0.4])
def test_what_lies_behind_an_edge_is_never_mistaken_for_the_scale(share):
    rng = np.random.default_rng(1)
    true = rng.uniform(1, 6, 600)
    hidden = np.arange(600) < share * 600
    measured = true * np.where(hidden, rng.uniform(1.2, 4, 600), 1 + 0.02 * rng.normal(size=600))
    found = scale_from_depth(measured, true / 2.5 * (1 + 0.03 * rng.normal(size=600)))
    assert isinstance(found, ScaleObservation)
    assert found.log_scale == pytest.approx(math.log(2.5), abs=0.02)
    assert found.spread < 0.05


def pillar_depth(world_from_cam):
    """(H, W) metres along the optical axis to the room and a pillar that stands in it."""
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    pixels = np.stack([columns, rows, np.ones(SIZE)], axis=-1)
    directions = pixels @ np.linalg.inv(INTRINSICS).T @ world_from_cam[:3, :3].T
    corners = np.array([[-0.3, -9, 1.5], [0.3, 9, 2.0]])
    hits = (corners[:, None, None] - world_from_cam[:3, 3]) / directions
    enter, leave = np.sort(hits, axis=0)
    inside = enter.max(axis=-1) < leave.min(axis=-1)
    return np.where(inside, np.minimum(enter.max(axis=-1), room_depth(world_from_cam)), room_depth(world_from_cam))


@pytest.mark.parametrize(("aside_m", "yaw", "hidden"), [(0.8, 0.3, 0.35), (1.5, 0.0, 0.4)])
def test_a_laser_beside_the_camera_sees_past_a_pillar_and_tells_the_scale_all_the_same(aside_m, yaw, hidden):
    beside = pose((aside_m, -0.3, 0), yaw)
    depth = pillar_depth(pose((0, 0, 0)))
    points = points_of_image(pillar_depth(beside), INTRINSICS) @ beside[:3, :3].T + beside[:3, 3]
    measured = project(points, INTRINSICS, SIZE)
    hit = np.isfinite(measured)
    assert (measured[hit] > 1.2 * depth[hit]).mean() > hidden
    found = scale_from_depth(measured[hit], depth[hit] / 2.0)
    assert found.log_scale == pytest.approx(math.log(2.0), abs=0.015)


def test_depth_of_another_place_is_refused_and_a_flat_wall_is_not():
    rng = np.random.default_rng(2)
    found = scale_from_depth(rng.uniform(1, 6, 500), rng.uniform(1, 6, 500))
    assert "nothing to do with each other" in found.reason
    wall = scale_from_depth(2 + 0.02 * rng.normal(size=500), 1 + 0.02 * rng.normal(size=500))
    assert wall.log_scale == pytest.approx(math.log(2), abs=0.01)


@pytest.mark.parametrize("stride", [1, 7], ids=["dense", "sparse"])
def test_a_walk_with_nothing_but_measured_depth_is_in_metres(make_windows, stride):
    windows, poses = make_windows()
    depth = SparseDepth(sensor(poses, stride=stride))
    metric = MetricMap(None, ScaleConfig(), depth)
    placed = [metric.place(window) for window in windows]
    assert (metric.status.state, metric.status.source) == ("locked", "depth")
    assert metric.status.residual < 0.03
    assert depth.problem == ""
    last = placed[-1].window.reconstructions
    assert placed[-1].is_metric
    for r in last:
        np.testing.assert_allclose(r.depth, room_depth(poses[r.stamp_ns]), rtol=0.02)
    moved = inverse(last[0].map_from_cam) @ last[-1].map_from_cam
    true = inverse(poses[last[0].stamp_ns]) @ poses[last[-1].stamp_ns]
    np.testing.assert_allclose(moved, true, atol=0.01)


def test_depth_and_odometry_agree_and_both_are_named(make_windows):
    windows, poses = make_windows(40)
    depth = SparseDepth(sensor(poses))
    metric = MetricMap(lambda stamp_ns, _: CameraInOdom(poses[stamp_ns], 0), ScaleConfig(), depth)
    placed = [metric.place(window) for window in windows]
    assert placed[-1].is_metric
    assert metric.status.source == "depth+odometry"


@pytest.mark.parametrize(("unit", "word"), [(1000.0, "much"), (0.001, "little")])
def test_depth_in_millimetres_contradicts_the_odometry_and_is_named(make_windows, unit, word):
    windows, poses = make_windows(40)
    depth = SparseDepth(sensor(poses, unit=unit, cam_from_sensor=np.eye(4)))
    metric = MetricMap(lambda stamp_ns, _: CameraInOdom(poses[stamp_ns], 0), ScaleConfig(), depth)
    placed = [metric.place(window) for window in windows]
    assert not any(window.is_metric for window in placed)
    assert "sources disagree" in metric.status.reason
    assert f"times as {word} as odometry: is its unit right?" in depth.problem


def test_a_factor_that_is_no_unit_is_left_to_the_sources():
    found = ScaleObservation("depth", math.log(3.0), 0.01, 0.01)
    assert unit_problem(found, [replace(found, source="odometry", log_scale=0.0)]) == ""
    assert unit_problem(found, []) == ""


def test_frames_without_depth_do_not_silence_those_with(make_windows):
    windows, poses = make_windows(16)
    every = sensor(poses)

    def look_up(stamp_ns, frame_id):
        if (stamp_ns // FRAME_NS) % 2:
            raise DepthError("nothing has arrived")
        return every(stamp_ns, frame_id)

    depth = SparseDepth(look_up)
    found = depth.compare(windows[0].reconstructions)
    assert isinstance(found, ScaleObservation)
    assert depth.problem == ""
    silent = depth.compare([r for r in windows[0].reconstructions if (r.stamp_ns // FRAME_NS) % 2])
    assert (silent.source, silent.reason) == ("depth", "nothing has arrived")
    assert depth.problem == "nothing has arrived"


def test_depth_that_comes_after_the_window_counts_with_the_next_one(make_windows):
    windows, poses = make_windows(20)
    every, arrived_ns, asked = sensor(poses), [0], []

    def look_up(stamp_ns, frame_id):
        asked.append(stamp_ns)
        if stamp_ns > arrived_ns[0]:
            raise LateDepthError("the nearest message is older")
        return every(stamp_ns, frame_id)

    depth = SparseDepth(look_up)
    first, second = (window.reconstructions for window in windows[:2])
    assert depth.compare(first).reason == "the nearest message is older"
    arrived_ns[0] = first[-1].stamp_ns
    late = depth.compare(second)
    assert late.log_scale == pytest.approx(SparseDepth(every).compare(first).log_scale, abs=1e-9)
    asked.clear()
    depth.compare([replace(second[0], map_id=5)])  # another map, whose unit is another
    assert asked == [second[0].stamp_ns]


def test_frames_do_not_wait_without_end(make_windows):
    windows, _ = make_windows(12)
    asked = []

    def look_up(stamp_ns, frame_id):
        asked.append(stamp_ns)
        raise LateDepthError("the nearest message is older")

    depth = SparseDepth(look_up)
    for _ in range(30):
        asked.clear()
        depth.compare(windows[0].reconstructions)
    assert len(asked) <= MAX_WAITING + len(windows[0].reconstructions)


def test_a_frame_with_the_depth_of_another_moment_is_outvoted(make_windows):
    windows, poses = make_windows(12)
    window = windows[0].reconstructions
    true, wrong = sensor(poses), window[1].stamp_ns

    def look_up(stamp_ns, frame_id):
        return 1.7 * true(stamp_ns, frame_id) if stamp_ns == wrong else true(stamp_ns, frame_id)

    alike, found = (SparseDepth(look).compare(window) for look in (true, look_up))
    assert len(window) >= 4
    assert found.log_scale == pytest.approx(alike.log_scale, abs=0.02)


def test_a_sensor_that_looks_elsewhere_says_so(make_windows):
    windows, _ = make_windows(12)
    away = seen_from(pose((0, 0, 0))) @ np.diag([1, 1, -1.0])
    found = SparseDepth(lambda *_: away).compare(windows[0].reconstructions)
    assert isinstance(found, NoObservation)
    assert f"none of {len(away)} measured points is in the camera's view" in found.reason


def test_points_that_cannot_be_used_are_named():
    points = seen_from(pose((0, 0, 0)))
    assert len(usable(points, CONFIG)) == len(points)
    assert len(usable(np.tile(points, (100, 1)), CONFIG)) <= MAX_POINTS
    with pytest.raises(DepthError, match="no valid point: all are NaN"):
        usable(np.full((10, 3), np.nan), CONFIG)
    with pytest.raises(DepthError, match="is their unit right"):
        usable(1000 * points, CONFIG)
    with pytest.raises(DepthError, match=r"0\.1 to 30 m away"):
        usable(0.001 * points, CONFIG)
    with pytest.raises(ConfigError, match=r"measured_depth\.max_m must be above"):
        SparseDepthConfig(min_m=5.0, max_m=5.0)
