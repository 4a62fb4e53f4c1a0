"""The adjustment on exact observations: what it recovers, what outliers do, and whether its covariance is true."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dvlt_ros.refinement.adjusting.adjustment import Planes, adjust, evaluated, linearised, resected
from dvlt_ros.refinement.adjusting.cholesky import cholesky
from dvlt_ros.refinement.adjusting.problem import KnownPose, Problem, Solution
from dvlt_ros.refinement.adjusting.rotations import inverse, rotation_from_vector, turn_between, vector_from_rotation
from dvlt_ros.refinement.tracking.observations import KnownDepth, Observations

FOCAL = 500.0


def moved(poses, turn, shift):
    """Each pose (S, 4, 4) turned and shifted on the left by (S, 3) and (S, 3)."""
    result, rotation = poses.copy(), rotation_from_vector(turn)
    result[:, :3] = rotation @ poses[:, :3]
    result[:, :3, 3] += shift
    return result


def scene(frames=6, points=120, noise_px=0.0, seed=0, deviation_px=1.0):
    """A problem, its truth, and a start a few degrees and centimetres away."""
    rng = np.random.default_rng(seed)
    truth = np.stack([rng.uniform(-2, 2, points), rng.uniform(-1.5, 1.5, points), rng.uniform(3, 6, points)], axis=1)
    poses = np.tile(np.eye(4), (frames, 1, 1))
    poses = moved(poses, 0.03 * rng.normal(size=(frames, 3)), np.outer(np.arange(frames), [0.15, 0.02, 0.05]))
    poses = poses @ inverse(poses[0])
    local = np.einsum("sij,pj->psi", poses[:, :3, :3], truth) + poses[:, :3, 3]
    seen = local[..., :2] / local[..., 2:] + noise_px / FOCAL * rng.normal(size=(points, frames, 2))
    mask = rng.random((points, frames)) < 0.8
    mask[:, :2] = True
    depth_weight = np.zeros((points, frames))
    depth_weight[:, 0] = 3.0
    problem = Problem(seen, mask * FOCAL / deviation_px, np.log(local[..., 2]), depth_weight, 3.0)
    away = moved(poses, 0.02 * rng.normal(size=(frames, 3)), 0.05 * rng.normal(size=(frames, 3)))
    away[0] = poses[0]
    start = Solution(away, truth * np.exp(0.15 * rng.normal(size=(points, 1))))
    return problem, Solution(poses, truth), start


def distance(found, truth):
    turn = turn_between(found.cam_from_window[:, :3, :3], truth.cam_from_window[:, :3, :3]).max()
    return turn, np.abs(found.cam_from_window[:, :3, 3] - truth.cam_from_window[:, :3, 3]).max()


def equations(problem, at):
    planes = Planes.of(problem)
    return linearised(planes, evaluated(planes, at))


def test_exact_sights_give_exact_poses_and_points():
    problem, truth, start = scene()
    found = adjust(problem, start, 40)
    turn, shift = distance(found, truth)
    assert turn < 1e-5
    assert shift < 1e-4
    assert np.abs(found.points - truth.points).max() < 1e-3


@pytest.mark.parametrize("column", [7, 10, 23, -1])
def test_the_gradient_is_that_of_the_cost(column):
    problem, _, start = scene(frames=4)
    problem = replace(problem, focal_weight=2.0)
    step, costs = 1e-6, []
    for sign in (1, -1):
        change = np.zeros(25)
        change[column] = sign * step
        turn, shift = change[:-1].reshape(-1, 2, 3).transpose(1, 0, 2)
        there = Solution(moved(start.cam_from_window, turn, shift), start.points, change[-1])
        costs.append(evaluated(Planes.of(problem), there).at.cost)
    slope = (costs[0] - costs[1]) / (2 * step)
    assert 2 * equations(problem, start).camera_gradient[column] == pytest.approx(slope, rel=1e-5)


def test_the_matrix_is_made_of_jacobians():
    problem, _, start = scene(frames=3, points=20)
    linear = equations(replace(problem, limit=1e6), start)  # no outliers: the matrix is that of Gauss and Newton
    full = np.linalg.eigvalsh(linear.cameras)
    assert np.allclose(linear.cameras, linear.cameras.T)
    assert full[0] > -1e-6 * full[-1]
    assert np.allclose(linear.points, linear.points.transpose(1, 0, 2))


def test_one_sight_in_ten_is_wrong_and_nothing_moves():
    problem, truth, start = scene(points=200)
    rng = np.random.default_rng(1)
    wrong = rng.random(problem.weight.shape) < 0.1
    seen = problem.seen + np.where(wrong[..., None], 0.2 * rng.normal(size=problem.seen.shape), 0.0)
    robust, plain = (
        distance(adjust(replace(problem, seen=seen, limit=limit), start, 40), truth) for limit in (3.0, 1e6)
    )
    assert np.degrees(robust[0]) < 0.2
    assert robust[1] < 0.02
    assert plain[1] > 5 * robust[1]


def test_frames_are_resected_by_themselves_while_points_stay():
    problem, truth, start = scene()
    seen = problem.seen.copy()
    seen[:20] += 0.2  # wrong sights
    found = resected(replace(problem, seen=seen), replace(start, points=truth.points), (12.0, 6.0, 3.0, 3.0))
    assert found.points is truth.points
    turn, shift = distance(found, truth)
    assert np.degrees(turn) < 0.1
    assert shift < 0.01
    alone = replace(problem, seen=seen[:, 2:3], weight=problem.weight[:, 2:3], log_depth=problem.log_depth[:, 2:3],
                    depth_weight=problem.depth_weight[:, 2:3])  # fmt: skip
    one = resected(alone, Solution(start.cam_from_window[2:3], truth.points), (12.0, 6.0, 3.0, 3.0))
    assert np.allclose(one.cam_from_window[0], found.cam_from_window[2])


def test_a_free_focal_length_is_found():
    problem, truth, start = scene(frames=8, points=200)
    found = adjust(replace(problem, seen=1.2 * problem.seen, focal_weight=2.0), start, 60)
    assert np.exp(found.log_focal) == pytest.approx(1.2, rel=0.01)
    assert np.degrees(distance(found, truth)[0]) < 0.2


def test_the_covariance_is_the_spread_of_repeated_runs():
    errors, told = [], []
    for seed in range(12):
        problem, truth, _ = scene(noise_px=1.0, points=80)
        noise = np.random.default_rng(100 + seed).normal(size=problem.seen.shape) / FOCAL
        exact = scene(points=80)[0].seen
        found = adjust(replace(problem, seen=exact + noise, limit=1e3), truth, 15, with_information=True)
        free = found.information[6:-1, 6:-1]
        told.append(np.sqrt(np.diagonal(np.linalg.inv(free))))
        delta = found.cam_from_window @ inverse(truth.cam_from_window)
        vectors = np.concatenate([vector_from_rotation(delta[:, :3, :3]), delta[:, :3, 3]], axis=1)
        errors.append(vectors[1:].ravel())
    ratio = np.sqrt(np.mean(np.square(np.array(errors) / np.array(told))))
    assert 0.7 < ratio < 1.4


def test_a_known_pose_holds_what_the_sights_leave_open():
    problem, truth, start = scene(frames=2)
    longer = truth.cam_from_window[0] @ inverse(truth.cam_from_window[1])
    longer[:3, 3] *= 2.0
    known = KnownPose(0, 1, longer, np.diag([1e3] * 3 + [1e4] * 3))
    blind = replace(problem, depth_weight=np.zeros_like(problem.depth_weight), known=(known,))
    found = adjust(blind, start, 60)
    length = np.linalg.norm(found.cam_from_window[1, :3, 3]) / np.linalg.norm(truth.cam_from_window[1, :3, 3])
    assert length == pytest.approx(2.0, rel=0.01)
    assert np.median(found.points[:, 2] / truth.points[:, 2]) == pytest.approx(2.0, rel=0.02)


def test_chosen_tracks_keep_what_is_known_of_them():
    rng = np.random.default_rng(0)
    depth, known = rng.uniform(1, 5, (6, 3)), rng.uniform(1, 5, (6, 3))
    known[2:] = np.nan
    sights = Observations(
        np.zeros((6, 3, 2)), np.ones((6, 3), bool), np.zeros((6, 3, 2)), depth, 500.0, 0.5, np.arange(6),
        known_depth=KnownDepth(known, np.full((6, 3), 0.1)),
    )  # fmt: skip
    chosen = np.array([1, 3, 5])
    whole, part = sights.problem(0), sights.select(chosen).problem(0)
    np.testing.assert_allclose(part.log_depth, whole.log_depth[chosen])
    np.testing.assert_allclose(part.depth_weight, whole.depth_weight[chosen])
    np.testing.assert_allclose(part.log_depth[0], np.log(known[1]))


def test_points_without_parallax_spoil_no_factor():
    """Their information is singular but for rounding; one NaN would spoil the step of every camera."""
    rays = np.random.default_rng(0).normal(size=(3, 200)) * np.logspace(-3, 3, 200)
    root = cholesky(rays[:, None] * rays)
    assert np.isfinite(root).all()
    np.testing.assert_allclose(np.einsum("ijp,kjp->ikp", root, root), rays[:, None] * rays, rtol=1e-6, atol=1e-9)
