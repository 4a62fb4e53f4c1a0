import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dvlt_ros.errors import AlignmentError, ConfigError, InputError
from dvlt_ros.geometry import matrix_from_quaternion, pose_matrix
from dvlt_ros.training.evaluation.metrics import (
    THRESHOLDS_DEG,
    aggregate,
    area_under_curve,
    depth_metrics,
    pair_errors,
    point_metrics,
    pose_metrics,
    sparsification,
)

RELATIVE = 1e-4
RELATIVE_OF_SCALE = 1e-3  # the published scale alignment is not converged


def random_poses(seed, count=5):
    generator = torch.Generator().manual_seed(seed)
    draw = lambda n: torch.randn(count, n, dtype=torch.float64, generator=generator)  # noqa: E731
    return pose_matrix(matrix_from_quaternion(draw(4)), draw(3))


def similar(poses, seed, scale):
    moved = random_poses(seed, 1) @ poses
    moved[:, :3, 3] *= scale
    return moved


@given(st.integers(0, 10**6), st.floats(0.01, 100))
@settings(max_examples=20, deadline=None)
def test_poses_are_perfect_in_any_world_and_unit(seed, scale):
    truth = random_poses(seed)
    metrics = pose_metrics(similar(truth, seed + 1, scale), truth)
    assert metrics.rotation_error_deg < 1e-5
    assert metrics.translation_error_deg < 1e-5
    assert metrics.pairs == 10
    for group in (metrics.rotation_accuracy, metrics.translation_accuracy, metrics.auc):
        assert group == {limit: pytest.approx(1) for limit in THRESHOLDS_DEG}


def test_the_area_under_the_curve_by_hand():
    # Four bins of 3/4 degree: 0 is in the first, 3 in the last, 3.1 in none.
    errors = torch.tensor([0.0, 1.2, 1.4, 3.0, 3.1], dtype=torch.float64)
    assert area_under_curve(errors, 3) == pytest.approx((0.2 + 0.6 + 0.6 + 0.8) / 4)
    assert area_under_curve(torch.tensor([math.nan, 0.0]), 3) == pytest.approx(0.5)
    assert math.isnan(area_under_curve(torch.zeros(0), 3))


def turned(degrees, translation):
    half = math.radians(degrees) / 2
    quaternion = torch.tensor([0, 0, math.sin(half), math.cos(half)], dtype=torch.float64)
    return pose_matrix(matrix_from_quaternion(quaternion), torch.tensor(translation, dtype=torch.float64))


def test_errors_of_a_pair_by_hand():
    truth = torch.stack([turned(0, [0.0, 0, 0]), turned(0, [1.0, 0, 0])])
    found = torch.stack([turned(0, [0.0, 0, 0]), turned(12, [1.0, 1.0, 0])])
    rotation, translation, baseline = pair_errors(found, truth)
    # In the second camera's frame the direction to the first is at 45 - 12 degrees.
    torch.testing.assert_close(rotation, torch.tensor([12.0], dtype=torch.float64))
    torch.testing.assert_close(translation, torch.tensor([33.0], dtype=torch.float64))
    torch.testing.assert_close(baseline, torch.tensor([1.0], dtype=torch.float64))


def test_opposite_directions_are_folded_and_no_direction_is_ninety_degrees():
    truth = torch.stack([turned(0, [0.0, 0, 0]), turned(0, [1.0, 0, 0])])
    for translation, expected in (([-1.0, 0, 0], 0.0), ([0.0, 1, 0], 90.0), ([0.0, 0, 0], 90.0)):
        found = torch.stack([truth[0], turned(0, translation)])
        assert float(pair_errors(found, truth)[1]) == pytest.approx(expected)


def test_pairs_without_a_baseline_can_be_left_out():
    truth = torch.stack([turned(0, [0.0, 0, 0]), turned(0, [0.01, 0, 0]), turned(0, [1.0, 0, 0])])
    found = truth.clone()
    found[1, :3, 3] = torch.tensor([0.0, 0.01, 0])
    assert pose_metrics(found, truth).auc[3] == pytest.approx(2 / 3)
    far = pose_metrics(found, truth, min_baseline=0.05)
    assert (far.pairs, far.auc[3]) == (2, pytest.approx(1))
    none = pose_metrics(found, truth, min_baseline=5)
    assert none.pairs == 0
    assert all(math.isnan(value) for value in none.named().values())


def test_poses_that_are_not_finite_never_count_as_right():
    truth = random_poses(0)
    found = truth.clone()
    found[0] = math.nan
    metrics = pose_metrics(found, truth)
    assert metrics.auc[30] == pytest.approx(0.6)
    assert metrics.rotation_accuracy[30] == pytest.approx(0.6)


@pytest.mark.parametrize("align", ["none", "median", "median_scale", "scale"])
def test_depth_is_perfect_after_what_an_alignment_can_undo(align):
    truth = 1 + torch.rand(2, 6, 7, generator=torch.Generator().manual_seed(0))
    valid = torch.rand(truth.shape) > 0.2
    found = {"none": truth, "median": truth / 3, "median_scale": truth / 3, "scale": truth / 3}[align].clone()
    found[~valid] = math.nan
    metrics = depth_metrics(found, truth, valid, align)
    assert metrics.rmse < 1e-6
    assert (metrics.delta1, metrics.delta2, metrics.delta3) == (1, 1, 1)


def test_depth_metrics_by_hand():
    truth, found = torch.tensor([[[2.0, 4.0]]]), torch.tensor([[[2.5, 3.0]]])
    metrics = depth_metrics(found, truth, torch.ones(1, 1, 2, dtype=torch.bool), "none")
    assert metrics.abs_rel == pytest.approx((0.25 + 0.25) / 2)
    assert metrics.sq_rel == pytest.approx((0.25 / 2 + 1 / 4) / 2)
    assert metrics.mae == pytest.approx(0.75)
    assert metrics.rmse == pytest.approx(math.sqrt((0.25 + 1) / 2))
    assert (metrics.delta1, metrics.delta2) == (0, 1)  # ratios of exactly 1.25 and of 4/3


def test_the_median_is_the_lower_one_and_the_shift_comes_after_the_scale():
    truth, found = torch.tensor([[[1.0, 2, 4, 8]]]), torch.tensor([[[1.0, 1, 1, 1]]])
    # Scale 2 (not 3), then a shift of 0 (lower median of -1, 0, 2, 6).
    metrics = depth_metrics(found, truth, truth > 0, "median")
    assert metrics.mae == pytest.approx((1 + 0 + 2 + 6) / 4)


def test_depth_turned_negative_is_outside_every_delta():
    truth = torch.tensor([[[1.0, 1, 1, 1, 1]]])
    found = torch.tensor([[[-1.0, 1, 1, 1, 1]]])
    assert depth_metrics(found, truth, truth > 0, "none").delta3 == pytest.approx(0.8)


def test_no_valid_pixel_gives_nan_and_bad_arguments_are_refused():
    x = torch.ones(1, 2, 2)
    for align in ("none", "median", "scale"):
        assert all(math.isnan(value) for value in depth_metrics(x, x, x < 0, align).named().values())
    with pytest.raises(ConfigError, match="align must be one of"):
        depth_metrics(x, x, x > 0, "affine")
    with pytest.raises(InputError, match="one shape"):
        depth_metrics(x, x[0], x > 0)
    with pytest.raises(InputError, match=r"\(S, 4, 4\)"):
        pose_metrics(torch.eye(4), torch.eye(4))


@given(st.integers(0, 10**6))
@settings(max_examples=10, deadline=None)
def test_points_are_perfect_up_to_a_similarity(seed):
    truth = torch.randn(3, 5, 4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    pose = random_poses(seed, 1)[0]
    found = 5 * truth @ pose[:3, :3].T + pose[:3, 3]
    valid = torch.ones(truth.shape[:-1], dtype=torch.bool)
    found[0, 0, 0], valid[0, 0, 0] = 100.0, False
    metrics = point_metrics(found, truth, valid)
    assert metrics.rel_l2 < 1e-9
    assert metrics.inlier_ratio == 1
    assert float(metrics.alignment.scale) == pytest.approx(0.2)


def test_points_at_the_origin_have_no_relative_error_and_too_few_have_no_answer():
    truth = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    truth[0] = 0
    assert math.isfinite(point_metrics(truth, truth, torch.ones(40, dtype=torch.bool)).rel_l2)
    with pytest.raises(AlignmentError):
        point_metrics(truth, truth, torch.arange(40) < 2)


def test_sparsification_of_perfect_useless_and_inverted_confidence():
    generator = torch.Generator().manual_seed(0)
    error = torch.rand(4000, generator=generator)
    valid = torch.rand(4000, generator=generator) > 0.1
    perfect = sparsification(error, 1 / (1 + error), valid)
    assert perfect.ause == pytest.approx(0, abs=1e-9)
    assert (perfect.bin_error.diff() < 0).all()
    assert (perfect.by_confidence.diff() < 0).all()
    useless = sparsification(error, torch.rand(4000, generator=generator), valid)
    assert useless.ause == pytest.approx(useless.random_ause, rel=0.1)
    inverted = sparsification(error, error, valid)
    assert inverted.ause > 1.8 * inverted.random_ause
    assert float(perfect.removed[0]) == 0
    assert float(perfect.by_confidence[0]) == pytest.approx(float(error[valid].mean()))
    assert float(perfect.oracle[10]) == pytest.approx(
        float(error[valid].sort().values[: valid.sum() // 2].mean()), rel=1e-2
    )
    with pytest.raises(InputError, match="finite"):
        sparsification(error * math.nan, error, valid)
    with pytest.raises(InputError, match="got 5"):
        sparsification(error, error, torch.arange(4000) < 5)


def test_aggregation_skips_nan_and_says_so():
    result = aggregate([{"a": 1.0, "b": math.nan}, {"a": 3.0, "b": math.nan}, {"a": math.nan, "b": math.nan, "c": 2.0}])
    assert (result["a"].mean, result["a"].std, result["a"].sequences, result["a"].skipped) == (2, 1, 2, 1)
    assert math.isnan(result["b"].mean)
    assert (result["b"].sequences, result["c"].mean, result["c"].skipped) == (0, 2, 2)
    assert aggregate([]) == {}


def test_poses_agree_with_the_published_numbers(parity):
    reference = parity("metrics.npz")
    metrics = pose_metrics(*(torch.from_numpy(reference[f"pose/{name}"]) for name in ("pred", "gt")))
    expected = {"rotation_error_deg": "R_error", "translation_error_deg": "T_error"}
    for limit in THRESHOLDS_DEG:
        expected |= {
            f"racc@{limit}": f"Racc_{limit}",
            f"tacc@{limit}": f"Tacc_{limit}",
            f"auc@{limit}": f"Auc_{limit}",
        }
    for own, published in expected.items():
        assert metrics.named()[own] == pytest.approx(float(reference[f"pose/metric/{published}"]), rel=RELATIVE), own


@pytest.mark.parametrize(
    ("align", "relative"), [("none", RELATIVE), ("median", RELATIVE), ("scale", RELATIVE_OF_SCALE)]
)
def test_depth_agrees_with_the_published_numbers(parity, align, relative):
    reference = parity("metrics.npz")
    metrics = depth_metrics(*(torch.from_numpy(reference[f"depth/{name}"]) for name in ("pred", "gt", "mask")), align)
    published = ("AbsRel", "SqRel", "RMSE", "MAE", "Delta1", "Delta2", "Delta3")
    for (own, value), name in zip(metrics.named().items(), published, strict=True):
        assert value == pytest.approx(float(reference[f"depth/{align}/{name}"]), rel=relative), own


def test_points_agree_with_the_published_numbers(parity):
    reference = parity("metrics.npz")
    metrics = point_metrics(*(torch.from_numpy(reference[f"pointmap/{name}"]) for name in ("pred", "gt", "mask")))
    assert metrics.rel_l2 == pytest.approx(float(reference["pointmap/rel_l2"]), rel=RELATIVE)
    assert metrics.inlier_ratio == pytest.approx(float(reference["pointmap/inlier_ratio_3pct"]), rel=RELATIVE)
