"""Metres per map unit: what one window tells, what is locked, and a simulated robot's drive."""

import math
from dataclasses import replace

import numpy as np
import pytest
import simulated_robot
from hypothesis import given, settings
from hypothesis import strategies as st
from simulation import building, network
from simulation.building import mount, planar_pose
from simulation.network import rotation_of

from dvlt_ros.alignment import Sim3
from dvlt_ros.errors import ConfigError, InputError
from dvlt_ros.mapping.scale.estimator import MetricScaleEstimator, ScaleConfig, rescale_about
from dvlt_ros.mapping.scale.observations import (
    MIN_PIXELS,
    NoObservation,
    ScaleObservation,
    scale_from_baseline,
    scale_from_depth,
    scale_from_odometry,
)
from dvlt_ros.mapping.scale.random_walk import present_value

SCALE = 0.37  # metres per map unit, unless said otherwise
SECOND_NS = 10**9


# One window ---------------------------------------------------------------------------------------------------------


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
    wheels = drive(count) @ mount()
    found = scale_from_odometry(as_map(wheels, scale, seed), wheels)
    assert found.log_scale == pytest.approx(math.log(scale), abs=1e-6)
    assert found.residual < 1e-6


def scale_errors(visual_m, wheels_m, windows=400):
    """Of windows along 1.4 m, with noise on every position; and the median spread that they claim."""
    rng, wheels = np.random.default_rng(0), drive() @ mount()
    found = [
        scale_from_odometry(as_map(noisy(wheels, visual_m, rng)), noisy(wheels, wheels_m, rng)) for _ in range(windows)
    ]
    return np.array([f.log_scale for f in found]) - math.log(SCALE), np.median([f.spread for f in found])


def test_noise_on_both_sides_shifts_nothing():
    """5 cm: a regression of one side on the other is 3 % off."""
    errors, spread = scale_errors(0.05, 0.05)
    assert abs(errors.mean()) < 0.008
    assert errors.std() < 1.5 * spread  # it knows how good it is


@pytest.mark.parametrize(("visual_m", "wheels_m"), [(0.03, 0.0), (0.0, 0.03)], ids=["map", "odometry"])
def test_noise_on_one_side_shifts_less_than_the_spread_says(visual_m, wheels_m):
    errors, spread = scale_errors(visual_m, wheels_m)
    assert abs(errors.mean()) < 0.7 * spread
    assert errors.std() < 1.5 * spread


@pytest.mark.parametrize("side", ["map", "odometry"])
def test_one_wrong_frame_of_eight_does_no_harm(side):
    for wrong in range(8):
        rng = np.random.default_rng(wrong)
        wheels = drive() @ mount()
        poses = {"map": as_map(noisy(wheels, 0.002, rng)), "odometry": wheels.copy()}
        poses[side][wrong, :3, 3] += rng.normal(size=3)
        found = scale_from_odometry(poses["map"], poses["odometry"])
        assert found.log_scale == pytest.approx(math.log(SCALE), abs=0.01)


def test_the_lever_arm_counts():
    """Turning about the base moves a camera 0.2 m before it; a camera above the axis stays where it is."""
    turning = drive(step_m=0.0, turn=0.2)
    before = turning @ mount(forward=0.2)
    assert scale_from_odometry(as_map(before), before).log_scale == pytest.approx(math.log(SCALE), abs=1e-6)
    above = turning @ mount(forward=0.0)
    assert scale_from_odometry(as_map(above), above) == NoObservation("odometry", "turning on the spot")


def test_standing_still_tells_nothing_and_says_so():
    rng, wheels = np.random.default_rng(0), drive(step_m=0.0, turn=0.0) @ mount()
    standing = NoObservation("odometry", "standing still")
    assert scale_from_odometry(noisy(as_map(wheels), 0.01, rng), noisy(wheels, 0.003, rng)) == standing
    moved = drive(step_m=0.0, turn=0.0) @ mount()
    moved[3, 0, 3] += 0.5  # one message that is wrong is no motion
    assert isinstance(scale_from_odometry(noisy(as_map(wheels), 0.001, rng), moved), NoObservation)


def test_wheels_that_slip_while_the_camera_stands_tell_nothing():
    rng, wheels = np.random.default_rng(0), drive() @ mount()
    standing = np.repeat(wheels[:1], len(wheels), axis=0)
    found = scale_from_odometry(noisy(as_map(standing), 0.01, rng), wheels)
    assert isinstance(found, NoObservation)
    assert "move in different ways" in found.reason


def test_without_odometry_at_the_stamps_nothing_is_said():
    wheels = drive() @ mount()
    seen = as_map(wheels)
    wheels[2:] = np.nan
    found = scale_from_odometry(seen, wheels)
    assert found == NoObservation("odometry", "no odometry at the stamps: 2 of 8 frames have it")


def test_only_one_stretch_of_the_odometry_is_used():
    wheels = drive() @ mount()
    seen, epoch = as_map(wheels), np.array([0, 0, 0, 1, 1, 1, 1, 1])
    wheels[3:, :3, 3] += 5.0
    assert scale_from_odometry(seen, wheels, epoch).log_scale == pytest.approx(math.log(SCALE), abs=1e-6)


def test_a_wrong_mount_shows_in_the_residual():
    right, wrong = mount(), mount()
    wrong[:3, :3] = rotation_of(np.array([0, 0, math.radians(25)])) @ wrong[:3, :3]
    wheels, seen = drive() @ wrong, as_map(drive() @ right)
    assert scale_from_odometry(seen, drive() @ right).residual < 1e-6
    assert scale_from_odometry(seen, wheels).residual > ScaleConfig().max_residual


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


# Over windows -------------------------------------------------------------------------------------------------------


def observation(scale, source="odometry", spread=0.01, residual=0.03):
    return ScaleObservation(source, math.log(scale), spread, residual)


def locked_scale(value=2.0, windows=10, **changes):
    """A scale that ten windows, one second apart, have agreed on."""
    scale = MetricScaleEstimator(ScaleConfig(**changes))
    for window in range(windows):
        scale.observe(0, window * SECOND_NS, [observation(value)])
    assert scale.status.state == "locked"
    return scale


def test_the_scale_is_unknown_then_estimated_then_locked():
    scale, states = MetricScaleEstimator(ScaleConfig(min_windows=4)), []
    assert (scale.status.state, scale.status.metres_per_unit) == ("unknown", None)
    for window in range(6):
        findings = [NoObservation("odometry", "standing still")] if window == 0 else [observation(2.0)]
        status = scale.observe(0, window * SECOND_NS, findings)
        states.append(status.state)
        if window == 0:
            assert status.reason == "odometry: standing still"
            assert status.metres_per_unit is None
        elif status.state == "estimating":
            assert status.reason == f"{window} of 4 windows"
    assert states == ["unknown", "estimating", "estimating", "estimating", "locked", "locked"]
    assert scale.status.metres_per_unit == pytest.approx(2.0)
    assert (scale.status.source, scale.status.reason, scale.status.locks) == ("odometry", "", 1)


def test_observations_that_contradict_each_other_are_not_locked():
    rng, scale = np.random.default_rng(0), MetricScaleEstimator()
    for window in range(20):
        status = scale.observe(0, window * SECOND_NS, [observation(math.exp(0.6 * rng.normal()))])
        assert status.state == "estimating"
    assert "is above" in status.reason


@given(st.floats(0.0, 0.03), st.floats(0.0, 0.02), st.integers(0, 10**6))
@settings(deadline=None, max_examples=10)
def test_a_drifting_unit_is_followed_smoothly(noise, drift, seed):
    """With 10 % of windows that are wrong by half."""
    rng, scale, config = np.random.default_rng(seed), MetricScaleEstimator(), ScaleConfig()
    log_unit, errors, before = 0.0, [], None
    for window in range(80):
        log_unit += drift * rng.normal()
        wrong = 0.5 * rng.normal() if rng.uniform() < 0.1 else 0.0
        found = observation(math.exp(log_unit + noise * rng.normal() + wrong))
        status = scale.observe(0, window * SECOND_NS, [found])
        if before is not None and before.state == status.state == "locked":
            step = abs(math.log(status.metres_per_unit / before.metres_per_unit))
            assert step <= config.max_rate * 1.0 + 1e-9
        before = status
        if status.state == "locked" and window > 20:
            errors.append(math.log(status.metres_per_unit) - log_unit)
    assert len(errors) > 40
    assert np.sqrt(np.mean(np.square(errors))) < 0.003 + drift + 1.5 * math.sqrt(max(noise, 0.01) * max(drift, 0.003))


def test_a_lock_that_windows_contradict_for_long_is_lost():
    scale, states = locked_scale(patience_s=10.0), []
    for window in range(10, 40):
        states.append(scale.observe(0, window * SECOND_NS, [observation(3.0)]))
        if states[-1].state != "locked":
            break
        assert states[-1].metres_per_unit == pytest.approx(2.0, rel=0.11)
    assert 10 <= len(states) < 25
    assert "the lock is lost: the latest windows say 1." in states[-1].reason
    assert states[-1].metres_per_unit is None
    for again in range(40, 46):
        status = scale.observe(0, again * SECOND_NS, [observation(3.0)])
    assert (status.state, status.locks) == ("locked", 2)
    assert status.metres_per_unit == pytest.approx(3.0, rel=1e-3)


def test_a_lock_is_lost_when_windows_contradict_each_other():
    rng, scale = np.random.default_rng(0), locked_scale()
    for window in range(10, 60):
        status = scale.observe(0, window * SECOND_NS, [observation(2.0 * math.exp(rng.normal()))])
        if status.state != "locked":
            break
    assert status.reason.startswith("the lock is lost: ")


def test_a_few_wrong_windows_do_not_move_the_lock():
    scale = locked_scale()
    for window in range(10, 13):
        status = scale.observe(0, window * SECOND_NS, [observation(3.0)])
    status = scale.observe(0, 13 * SECOND_NS, [observation(2.0)])
    assert status.state == "locked"
    assert status.metres_per_unit == pytest.approx(2.0, rel=0.02)


def test_standing_still_keeps_the_lock_and_says_why_nothing_is_heard():
    scale = locked_scale()
    spread = scale.status.spread
    for window in range(10, 300):
        status = scale.observe(0, window * SECOND_NS, [NoObservation("odometry", "standing still")])
    assert (status.state, status.reason) == ("locked", "odometry: standing still")
    assert status.metres_per_unit == pytest.approx(2.0)
    assert status.spread > 3 * spread  # the unit may have drifted


def test_sources_that_disagree_are_a_status_and_sources_that_agree_lock():
    scale, agreeing = MetricScaleEstimator(), MetricScaleEstimator()
    for window in range(10):
        wheels = observation(2.0)
        status = scale.observe(0, window * SECOND_NS, [wheels, observation(2.3, "baseline")])
        both = agreeing.observe(0, window * SECOND_NS, [wheels, observation(2.02, "baseline")])
    assert status.state == "estimating"
    assert status.reason == "sources disagree: baseline gives 1.150 times the scale of odometry"
    assert (both.state, both.source) == ("locked", "odometry+baseline")
    assert both.metres_per_unit == pytest.approx(2.01, rel=2e-3)
    assert both.spread < locked_scale().status.spread


def test_a_source_that_does_not_fit_the_map_is_not_locked():
    scale = MetricScaleEstimator()
    for window in range(10):
        status = scale.observe(0, window * SECOND_NS, [observation(2.0, residual=0.5)])
    assert status.state == "estimating"
    assert "are the mounts right" in status.reason
    assert status.residual == pytest.approx(0.5)


def test_another_map_has_another_unit():
    scale = locked_scale()
    status = scale.observe(1, 11 * SECOND_NS, [NoObservation("odometry", "standing still")])
    assert (status.state, status.metres_per_unit, status.locks) == ("unknown", None, 1)


def test_its_memory_is_bounded():
    scale = locked_scale(windows=500)
    assert sum(len(track._observations) for track in scale._tracks.values()) <= 30


def test_the_present_of_a_random_walk_is_known_as_well_as_it_says():
    rng, age, spread = np.random.default_rng(0), np.arange(29.0, -1, -1), np.full(30, 0.01)
    errors, said = [], []
    for _ in range(200):
        walk = 0.01 * np.cumsum(rng.normal(size=30))
        found = present_value(age, walk + 0.01 * rng.normal(size=30), spread)
        errors.append(found.value - walk[-1])
        said.append(found.spread)
    assert np.std(errors) == pytest.approx(np.mean(said), rel=0.25)
    assert np.std(errors) < 0.009  # the last observation alone: 0.01


def test_a_walk_that_sets_out_after_a_long_rest_is_not_taken_for_noise():
    rng, age, spread = np.random.default_rng(0), np.arange(29.0, -1, -1), np.full(30, 0.01)
    walk = 0.01 * np.maximum(0, np.arange(30) - 23)
    behind = [walk[-1] - present_value(age, walk + 0.01 * rng.normal(size=30), spread).value for _ in range(200)]
    assert np.mean(behind) < 0.01  # it has gone 0.06
    assert np.quantile(behind, 0.95) < 0.02


@given(st.integers(0, 10**6), st.floats(0.5, 2.0))
@settings(deadline=None, max_examples=20)
def test_a_change_of_scale_leaves_the_camera_where_it_is(seed, factor):
    rng = np.random.default_rng(seed)
    position, points = 300 * rng.normal(size=3), rng.normal(size=(5, 3))
    change = rescale_about(position, factor)
    np.testing.assert_allclose(change.apply(position), position, rtol=1e-12)
    before, after = (np.linalg.norm(found - position, axis=-1) for found in (points, change.apply(points)))
    np.testing.assert_allclose(after, factor * before, rtol=1e-12)
    window = Sim3.of(1.5, np.eye(3), position)
    assert float(change.compose(window).scale) == pytest.approx(1.5 * factor)


def test_impossible_values_are_refused():
    with pytest.raises(ConfigError, match=r"scale\.min_windows must be at least 2"):
        ScaleConfig(min_windows=1)
    with pytest.raises(InputError, match="above 0"):
        rescale_about(np.zeros(3), -1.0)
    with pytest.raises(InputError, match=r"must both be \(S, 4, 4\)"):
        scale_from_odometry(np.eye(4), np.eye(4))


# A robot ------------------------------------------------------------------------------------------------------------


def test_the_scale_along_a_drive_is_that_of_the_odometry():
    """40 m through corridors and rooms, engine and registrations included."""
    robot = building.make_robot(5, 40.0)
    drive = simulated_robot.run(robot, network.PredictionNoise())
    assert drive.updates[8].is_metric
    found, true = (poses[:, :3, 3] for poses in drive.metric)
    assert abs(simulated_robot.scale_errors(found, true).mean()) < 0.01
    assert simulated_robot.TrajectoryError.of(found, true).se3_m < 0.01 * robot.length_m
    assert (drive.steps.max(axis=0) < (0.05, 0.5)).all()


def test_a_rig_tells_the_scale_by_its_baseline():
    rig = building.make_robot(6, 30.0, building.TWO_CAMERAS)
    errors = simulated_robot.baseline_scale_errors(rig, network.PredictionNoise())
    assert len(errors) == 2
    assert (np.abs(errors) < 0.03).all()


def test_a_simulated_robot_is_what_it_says():
    robot = building.make_robot(7, 30.0)
    again = building.make_robot(7, 30.0)
    np.testing.assert_array_equal(robot.odom_from_base, again.odom_from_base)
    assert robot.length_m == pytest.approx(30.0, abs=0.1)
    history = replace(robot, odom_from_base=robot.world_from_base_at_odometry).odometry
    for stamp_ns, world_from_base in zip(robot.stamps_ns.tolist(), robot.world_from_base, strict=True):
        np.testing.assert_allclose(history.at(stamp_ns).odom_from_base, world_from_base, atol=1e-6)
    depth = robot.building.depth(robot.truth["front", int(robot.stamps_ns[0])])
    assert np.isfinite(depth).all()
    assert depth.min() > 0.3
