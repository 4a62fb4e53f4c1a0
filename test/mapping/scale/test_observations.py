"""Scale observations of one window: odometry, baseline, sparse depth."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulation.network import rotation_of
from simulation.robot import mount, planar_pose

from dvlt_ros.errors import InputError
from dvlt_ros.mapping.scale.estimator import ScaleConfig
from dvlt_ros.mapping.scale.observations import (
    MIN_PIXELS,
    NoObservation,
    scale_from_baseline,
    scale_from_depth,
    scale_from_odometry,
)

SCALE = 0.37  # metres per map unit, unless said otherwise


def drive(count=8, step_m=0.2, turn=0.1):
    """odom_from_base (S, 4, 4) of a robot that drives in an arc."""
    yaw = turn * np.arange(count)
    steps = step_m * np.stack([np.cos(yaw), np.sin(yaw)], axis=1)
    x, y = (np.cumsum(steps, axis=0) - steps).T
    return np.stack([planar_pose(*row) for row in zip(x, y, yaw, strict=True)])


def as_map(odom_from_cam, scale=SCALE, seed=0):
    """The same cameras in a map of another unit, place and direction."""
    rng = np.random.default_rng(seed)
    gauge = np.eye(4)
    gauge[:3, :3], gauge[:3, 3] = rotation_of(rng.normal(size=3)), rng.normal(size=3)
    found = gauge @ odom_from_cam
    found[:, :3, 3] /= scale
    return found


def noisy(poses, size, rng):
    moved = poses.copy()
    moved[:, :3, 3] += size * rng.normal(size=(len(poses), 3))
    return moved


@given(st.integers(0, 10**6), st.floats(0.01, 100), st.integers(3, 12))
@settings(deadline=None, max_examples=50)
def test_without_noise_odometry_tells_the_scale_exactly(seed, scale, count):
    """Whatever the map's gauge."""
    odom_from_cam = drive(count) @ mount()
    found = scale_from_odometry(as_map(odom_from_cam, scale, seed), odom_from_cam)
    assert found.log_scale == pytest.approx(math.log(scale), abs=1e-6)
    assert found.residual < 1e-6


def scale_errors(visual_m, odometry_m, windows=400):
    """Of windows along 1.4 m, with noise on every position; and the median spread that they claim."""
    rng, odom_from_cam = np.random.default_rng(0), drive() @ mount()
    found = [
        scale_from_odometry(as_map(noisy(odom_from_cam, visual_m, rng)), noisy(odom_from_cam, odometry_m, rng))
        for _ in range(windows)
    ]
    return np.array([f.log_scale for f in found]) - math.log(SCALE), np.median([f.spread for f in found])


def test_noise_on_both_sides_shifts_nothing():
    """5 cm: a regression of one side on the other is 3 % off."""
    errors, spread = scale_errors(0.05, 0.05)
    assert abs(errors.mean()) < 0.008
    assert errors.std() < 1.5 * spread  # it knows how good it is


@pytest.mark.parametrize(("visual_m", "odometry_m"), [(0.03, 0.0), (0.0, 0.03)], ids=["map", "odometry"])
def test_noise_on_one_side_shifts_less_than_the_spread_says(visual_m, odometry_m):
    errors, spread = scale_errors(visual_m, odometry_m)
    assert abs(errors.mean()) < 0.7 * spread
    assert errors.std() < 1.5 * spread


@pytest.mark.parametrize("side", ["map", "odometry"])
def test_one_wrong_frame_of_eight_does_no_harm(side):
    for wrong in range(8):
        rng = np.random.default_rng(wrong)
        odom_from_cam = drive() @ mount()
        poses = {"map": as_map(noisy(odom_from_cam, 0.002, rng)), "odometry": odom_from_cam.copy()}
        poses[side][wrong, :3, 3] += rng.normal(size=3)
        found = scale_from_odometry(poses["map"], poses["odometry"])
        assert found.log_scale == pytest.approx(math.log(SCALE), abs=0.01)


def test_steps_that_are_hardly_known_make_a_scale_uncertain():
    odometry = drive()
    sure, unknown, unsure = (
        scale_from_odometry(as_map(odometry), odometry, steps=steps)
        for steps in (None, np.full(8, np.nan), np.full(8, 0.1))
    )
    assert unknown == sure
    assert unsure.log_scale == sure.log_scale
    assert unsure.spread == pytest.approx(0.1 * np.sqrt(8) / (7 * 0.2 / SCALE), rel=0.25)


def test_the_lever_arm_counts():
    """Turning about the base moves a camera 0.2 m before it; a camera above the axis stays where it is."""
    turning = drive(step_m=0.0, turn=0.2)
    before = turning @ mount(forward=0.2)
    assert scale_from_odometry(as_map(before), before).log_scale == pytest.approx(math.log(SCALE), abs=1e-6)
    above = turning @ mount(forward=0.0)
    assert scale_from_odometry(as_map(above), above) == NoObservation("odometry", "turning on the spot")


def test_standing_still_tells_nothing_and_says_so():
    rng, odom_from_cam = np.random.default_rng(0), drive(step_m=0.0, turn=0.0) @ mount()
    standing = NoObservation("odometry", "standing still")
    assert scale_from_odometry(noisy(as_map(odom_from_cam), 0.01, rng), noisy(odom_from_cam, 0.003, rng)) == standing
    moved = drive(step_m=0.0, turn=0.0) @ mount()
    moved[3, 0, 3] += 0.5  # one message that is wrong is no motion
    assert isinstance(scale_from_odometry(noisy(as_map(odom_from_cam), 0.001, rng), moved), NoObservation)


def test_wheels_that_slip_while_the_camera_stands_tell_nothing():
    rng, odom_from_cam = np.random.default_rng(0), drive() @ mount()
    standing = np.repeat(odom_from_cam[:1], len(odom_from_cam), axis=0)
    found = scale_from_odometry(noisy(as_map(standing), 0.01, rng), odom_from_cam)
    assert isinstance(found, NoObservation)
    assert "move in different ways" in found.reason


def test_without_odometry_at_the_stamps_nothing_is_said():
    odom_from_cam = drive() @ mount()
    seen = as_map(odom_from_cam)
    odom_from_cam[2:] = np.nan
    found = scale_from_odometry(seen, odom_from_cam)
    assert found == NoObservation("odometry", "no odometry at the stamps: 2 of 8 frames have it")


def test_only_one_stretch_of_the_odometry_is_used():
    odom_from_cam = drive() @ mount()
    seen, epoch = as_map(odom_from_cam), np.array([0, 0, 0, 1, 1, 1, 1, 1])
    odom_from_cam[3:, :3, 3] += 5.0
    assert scale_from_odometry(seen, odom_from_cam, epoch).log_scale == pytest.approx(math.log(SCALE), abs=1e-6)


def test_a_wrong_mount_shows_in_the_residual():
    right, wrong = mount(), mount()
    wrong[:3, :3] = rotation_of(np.array([0, 0, math.radians(25)])) @ wrong[:3, :3]
    odom_from_cam, seen = drive() @ wrong, as_map(drive() @ right)
    assert scale_from_odometry(seen, drive() @ right).residual < 1e-6
    assert scale_from_odometry(seen, odom_from_cam).residual > ScaleConfig().max_residual


def test_a_known_baseline_tells_the_scale_and_noise_does_not_lengthen_it():
    left, right = mount(left=0.15), mount(left=-0.15)
    baseline, rng = np.linalg.inv(left) @ right, np.random.default_rng(0)
    first, second = as_map(drive() @ left), as_map(drive() @ right)
    assert scale_from_baseline(first, second, baseline).log_scale == pytest.approx(math.log(SCALE), abs=1e-9)
    noise = 0.05 / SCALE  # a sixth of the baseline: lengths alone would grow by 5 %
    errors = [
        scale_from_baseline(noisy(first, noise, rng), noisy(second, noise, rng), baseline).log_scale - math.log(SCALE)
        for _ in range(200)
    ]
    assert abs(np.mean(errors)) < 0.015


@pytest.mark.parametrize("wrong", [None, 1.15, 1.5, 3.0])
def test_few_moments_count_alike_but_for_one_that_is_wrong(wrong):
    baseline, first, rng = np.eye(4), np.tile(np.eye(4), (4, 1, 1)), np.random.default_rng(0)
    baseline[0, 3] = 0.3
    found, plain = [], []
    for _ in range(300):
        second = np.tile(baseline, (4, 1, 1))
        second[:, 0, 3] *= 1 + 0.02 * rng.normal(size=4)
        plain.append(-math.log(second[:, 0, 3].mean() / 0.3))
        second[1, 0, 3] *= wrong or 1.0
        found.append(scale_from_baseline(first, second, baseline).log_scale)
    assert abs(np.mean(found)) < 0.01
    assert np.std(found) < (1.1 if wrong is None else 1.4) * np.std(plain)


def test_a_baseline_without_pairs_or_the_wrong_way_round_is_refused():
    left, right = mount(left=0.15), mount(left=-0.15)
    baseline = np.linalg.inv(left) @ right
    first, second = as_map(drive() @ left), as_map(drive() @ right)
    assert "other way round" in scale_from_baseline(second, first, baseline).reason
    assert "no stamp" in scale_from_baseline(first, np.full_like(second, np.nan), baseline).reason
    with pytest.raises(InputError, match="must be apart"):
        scale_from_baseline(first, second, np.eye(4))


@pytest.mark.parametrize("factor", [0.3, 4.0], ids=["in front", "behind"])
def test_sparse_depth_tells_the_scale_despite_a_quarter_of_outliers(factor):
    rng = np.random.default_rng(0)
    true = rng.uniform(1, 8, size=400)
    measured = true * (1 + 0.03 * rng.normal(size=400)) * np.where(np.arange(400) % 4 == 0, factor, 1.0)
    predicted = true / SCALE * (1 + 0.03 * rng.normal(size=400))
    predicted[:5], measured[5:10], measured[10] = np.nan, 0.0, np.inf
    found = scale_from_depth(measured, predicted)
    assert found.log_scale == pytest.approx(math.log(SCALE), abs=0.015)
    reverse = scale_from_depth(predicted, measured)
    assert reverse.log_scale == pytest.approx(-found.log_scale, abs=1e-3)  # no side is favoured
    few = scale_from_depth(measured[20 : 19 + MIN_PIXELS], predicted[20 : 19 + MIN_PIXELS])
    assert "19 pixels have a measured depth" in few.reason
    with pytest.raises(InputError, match="alike"):
        scale_from_depth(measured, predicted[1:])
