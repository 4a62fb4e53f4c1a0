"""Joining windows: properties of one registration, then the drift of 200."""

import math
from dataclasses import fields, replace

import numpy as np
import pytest
import registration_drift
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from registration_drift import Disturbance, Simulator, turned

from dvlt_ros.alignment import Sim3
from dvlt_ros.errors import AlignmentError, InputError
from dvlt_ros.geometry import rotation_angle
from dvlt_ros.mapping.data.views import Anchor
from dvlt_ros.mapping.submaps.config import RegistrationConfig
from dvlt_ros.mapping.submaps.placement import on_grid
from dvlt_ros.mapping.submaps.registration import MIN_POINTS, SharedPoints, register_points

NOTHING = Disturbance(noise=0.0, outliers=0.0)
MAX_RESIDUAL = RegistrationConfig().max_residual


def views(seed, disturbance=NOTHING):
    """Head and tail of two windows that meet, each in its gauge, and map_from_window between the gauges."""
    simulator = Simulator(seed)
    world_from_cam = simulator.path("walk", 13)
    rooms = [simulator.room(world_from_cam[start:][:3]) for start in (0, 5, 10)]
    before = simulator.window(world_from_cam[:8], torch.cat(rooms[:2]), disturbance)
    after = simulator.window(world_from_cam[5:], torch.cat(rooms[1:]), disturbance)
    return after.head, before.tail, before.window_from_world.compose(after.window_from_world.inverse)


def registration_points(seed, disturbance=NOTHING):
    window, known, truth = views(seed, disturbance)
    return registration_drift.shared_points(window, known), truth


def moved_sim3(seed):
    simulator = Simulator(10**7 + seed)
    return Sim3(simulator.normal().exp(), turned(simulator.normal(3)), 3 * simulator.normal(3))


def with_wrong_depth(views, wrong, factor):
    """Pixels (V, P) whose depth is ``factor`` times what it was, along their rays."""
    factor = torch.where(wrong, factor, 1.0)
    centre = views.window_from_cam[:, None, :3, 3]
    return replace(views, points=centre + factor[..., None] * (views.points - centre), depth=factor * views.depth)


def assert_same(found, expected, tolerance=1e-9):
    for name in ("scale", "rotation", "translation"):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name), atol=tolerance, rtol=tolerance)


def errors(found, truth, points):
    """Of scale (relative), rotation (radians) and position at the points (of the median depth)."""
    apart = (found.apply(points.in_window) - truth.apply(points.in_window)).norm(dim=-1)
    position = apart.median() / points.depth_in_map.median()
    return abs(float(found.scale / truth.scale - 1)), float(rotation_angle(found.rotation @ truth.rotation.T)), position


@given(st.integers(0, 10**6), st.integers(1, 3))
@settings(max_examples=15, deadline=None)
def test_without_disturbance_the_fit_is_exact_for_any_number_of_views(seed, count):
    points, truth = registration_points(seed)
    points = SharedPoints(*(getattr(points, field.name)[:count] for field in fields(points)))
    registration = register_points(points)
    assert_same(registration.map_from_window, truth)
    assert registration.residual < 1e-9


@given(st.integers(0, 10**6))
@settings(max_examples=15, deadline=None)
def test_the_reverse_fit_is_the_inverse(seed):
    window, known, _ = views(seed, Disturbance(warp=0.01, bend_deg=0.3))
    registration, reverse = (
        register_points(registration_drift.shared_points(*pair)) for pair in ((window, known), (known, window))
    )
    assert_same(reverse.map_from_window, registration.map_from_window.inverse)
    assert reverse.residual == pytest.approx(registration.residual)


@given(st.integers(0, 10**6))
@settings(max_examples=15, deadline=None)
def test_gauges_on_both_sides_change_nothing_but_themselves(seed):
    window, known, _ = views(seed, Disturbance(warp=0.01, bend_deg=0.3))
    left, right = moved_sim3(seed), moved_sim3(seed + 1)
    registration = register_points(registration_drift.shared_points(window, known))
    moved = register_points(registration_drift.shared_points(window.moved(right), known.moved(left)))
    assert_same(
        moved.map_from_window, left.compose(registration.map_from_window).compose(right.inverse), tolerance=1e-7
    )
    assert moved.residual == pytest.approx(registration.residual)


@pytest.mark.parametrize("factors", [(0.05, 0.2), (1.5, 1.5), (3.0, 30.0)], ids=["near", "all the same", "far"])
def test_thirty_percent_of_outliers_do_no_harm(factors):
    for seed in range(5):
        window, known, truth = views(seed, Disturbance(outliers=0.0))
        simulator = Simulator(seed)
        low, high = factors
        factor = low + (high - low) * simulator.uniform(*window.depth.shape)
        window = with_wrong_depth(window, simulator.uniform(*window.depth.shape) < 0.3, factor)
        points = registration_drift.shared_points(window, known)
        registration = register_points(points)
        scale, rotation, position = errors(registration.map_from_window, truth, points)
        assert scale < 0.003
        assert rotation < 1e-6
        assert position < 0.003
        assert registration.residual < 0.03


def test_one_wrong_camera_of_three_does_no_harm():
    window, known, truth = views(0, Disturbance(outliers=0.0))
    turn = turned(torch.tensor([0.1, 0.3, 0.0], dtype=torch.float64))
    centre = window.window_from_cam[0, :3, 3]
    points, poses = window.points.clone(), window.window_from_cam.clone()
    points[0] = (points[0] - centre) @ turn.T + centre
    poses[0, :3, :3] = turn @ poses[0, :3, :3]
    points = registration_drift.shared_points(replace(window, points=points, window_from_cam=poses), known)
    scale, rotation, position = errors(register_points(points).map_from_window, truth, points)
    assert scale < 0.003
    assert rotation < math.radians(0.5)
    assert position < 0.01


def test_confident_pixels_count_more():
    window, known, truth = views(0)
    first = torch.zeros_like(known.depth, dtype=torch.bool)
    first[:, ::2] = True
    points = registration_drift.shared_points(with_wrong_depth(window, first, torch.tensor(1.02)), known)
    weighted = replace(points, weights=torch.where(first, 1.0, 9.0))
    scales = [float(register_points(p).map_from_window.scale / truth.scale) for p in (points, weighted)]
    assert scales[0] == pytest.approx(1.02**-0.5, abs=1e-3)
    assert 1.02**-0.1 < scales[1] < 1  # the minority also looks like outliers


def test_pixels_with_unusable_numbers_do_not_count():
    points, _ = registration_points(0, Disturbance())
    kept = torch.arange(points.weights.shape[1]) % 5 > 0
    alone = SharedPoints(
        *(getattr(points, field.name)[:, kept] for field in fields(points)[:5]),
        points.window_from_cam, points.map_from_cam,
    )  # fmt: skip
    spoilt = {field.name: getattr(points, field.name).clone() for field in fields(points)}
    bad = (~kept).nonzero()[:, 0]
    spoilt["in_window"][:, bad[0::6]] = torch.nan
    spoilt["in_map"][:, bad[1::6]] = torch.inf
    spoilt["weights"][:, bad[2::6]] = 0.0
    spoilt["weights"][:, bad[3::6]] = torch.nan
    spoilt["depth_in_window"][:, bad[4::6]] = 0.0
    spoilt["depth_in_map"][:, bad[5::6]] = -1.0
    expected, found = register_points(alone), register_points(SharedPoints(**spoilt))
    assert_same(found.map_from_window, expected.map_from_window)
    assert found.residual == expected.residual


def test_a_view_whose_camera_is_not_known_does_not_count():
    points, truth = registration_points(0)
    for name in ("in_window", "window_from_cam"):
        getattr(points, name)[1] = torch.nan
    assert_same(register_points(points).map_from_window, truth)


def test_a_few_points_next_to_the_camera_do_not_decide():
    points, truth = registration_points(0, Disturbance(outliers=0.0))
    points.depth_in_window[:, :20] = 1e-6 * points.depth_in_window.median()
    points.depth_in_map[:, :20] = 1e-6 * points.depth_in_map.median()
    points.in_map[:, :20] = truth.apply(points.in_window[:, :20]) + 0.3 * points.depth_in_map.median()
    assert errors(register_points(points).map_from_window, truth, points)[2] < 0.005


def test_noise_has_a_small_residual():
    for seed in range(5):
        assert register_points(registration_points(seed, Disturbance())[0]).residual < 0.02


def test_windows_that_do_not_see_the_same_have_a_large_residual():
    """Two rooms may look alike, and a wall seen frontally is flat: nine of ten are beyond the default limit."""
    others, flats = [], []
    for seed in range(20):
        window, known, _ = views(seed)
        others.append(register_points(registration_drift.shared_points(views(seed + 100)[0], known)).residual)
        flat = with_wrong_depth(window, torch.ones_like(window.depth, dtype=torch.bool), 1 / window.depth)
        flats.append(register_points(registration_drift.shared_points(flat, known)).residual)
    for residuals in (others, flats):
        assert sorted(residuals)[2] > MAX_RESIDUAL
        assert min(residuals) > 0.03  # noise stays below 0.02


def test_a_registration_without_an_answer_is_refused_with_its_cause():
    points, _ = registration_points(0)
    weights = torch.zeros_like(points.weights)
    weights[0, : MIN_POINTS - 1] = 1.0
    with pytest.raises(AlignmentError, match=f"{MIN_POINTS - 1} of {weights.numel()} shared pixels can be used"):
        register_points(replace(points, weights=weights))
    around = turned(torch.tensor([[0, 0, 0], [0, math.tau / 3, 0], [0, -math.tau / 3, 0]], dtype=torch.float64))
    with pytest.raises(AlignmentError, match="cameras contradict each other"):
        register_points(replace(points, map_from_cam=around @ points.map_from_cam))
    with pytest.raises(InputError, match="in_map must be"):
        replace(points, in_map=points.in_map[:, :-1])


@pytest.mark.parametrize("kind", ["forward", "sideways", "loop", "rotation", "walk"])
def test_two_hundred_windows_drift_little(kind):
    """1 % noise and 10 % outliers; position in % of the path, or of the median depth where there is none."""
    drift = registration_drift.drift(kind, Disturbance(noise=0.01, outliers=0.1), num_windows=200, seed=7)
    assert drift.position < 1
    assert abs(drift.scale) < 2
    assert drift.rotation_deg < 0.1


@pytest.mark.parametrize("size", [(56, 84), (84, 112), (98, 140)])
def test_maps_of_another_resolution_are_seen_at_the_same_rays(size):
    """A tilted plane: its depth along a ray does not depend on the size of the maps."""

    def plane(height, width):
        intrinsics = np.array([[0.9 * width, 0, 0.5 * width], [0, 1.2 * height, 0.45 * height], [0, 0, 1]])
        rows, columns = np.mgrid[:height, :width] + 0.5
        rays = np.stack([columns, rows, np.ones((height, width))], axis=-1) @ np.linalg.inv(intrinsics).T
        return 2 + rays @ (0.5, -0.3, 0.1), intrinsics

    depth, intrinsics = plane(84, 112)
    expected, own = plane(*size)
    anchor = on_grid(Anchor(None, depth, 1 + depth, intrinsics, np.eye(4)), size, own)
    pixel = 0.5 * (0.5 / (0.9 * 112) + 0.3 / (1.2 * 84))  # what half a pixel of the coarser map may change
    np.testing.assert_allclose(anchor.depth, expected, atol=1.01 * pixel if size != (84, 112) else 1e-12)
    np.testing.assert_allclose(anchor.confidence, 1 + anchor.depth)
    assert anchor.intrinsics is own or size == (84, 112)
