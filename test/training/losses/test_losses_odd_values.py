"""The published losses on odd values, in half precision, and against the published numbers."""

import logging
from dataclasses import replace

import pytest
import torch
from loss_scenes import RELATIVE, STAGES, TERMS, gradients, leaves, noisy, scene

from dvlt_ros.errors import ConfigError, InputError
from dvlt_ros.geometry import matrix_from_quaternion, pose_matrix
from dvlt_ros.model import Prediction
from dvlt_ros.training.data.types import Views
from dvlt_ros.training.losses import LossConfig, Targets, compute_losses
from dvlt_ros.types import Cameras


@pytest.mark.parametrize("config", STAGES)
@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf, 1e30])
@pytest.mark.parametrize("name", ["depth", "depth_confidence", "rays", "pose_encoding"])
def test_values_that_are_not_finite_never_spread(name, bad, config, caplog):
    prediction, targets = scene()
    prediction = noisy(prediction)
    with torch.no_grad():
        getattr(prediction, name)[0, 1].view(-1)[:5] = bad
    with caplog.at_level(logging.WARNING):
        terms = compute_losses(prediction, targets, config)
    terms.total.backward()
    if not (name == "depth_confidence" and config.confidence is False):
        assert "losses:" in caplog.text
        assert terms.nonfinite + terms.clamped > 0
    for value in (*terms.named().values(), *gradients(prediction).values()):
        assert torch.isfinite(value).all()
    # The other sample does not notice.
    if name == "depth" and bad != 1e30:
        assert prediction.depth.grad[1].abs().sum() > 0


def test_an_error_that_is_not_finite_counts_as_zero():
    prediction, targets = scene(windows=1)
    clean = compute_losses(prediction, targets, LossConfig())
    assert int(clean.nonfinite) == int(clean.clamped) == 0
    with torch.no_grad():
        prediction.pose_encoding[0, 1, 3] = torch.nan
    terms = compute_losses(prediction, targets, LossConfig())
    assert int(terms.nonfinite) == 1
    assert terms.rotation.item() < 1e-6


def test_a_broken_ground_truth_pose_is_left_out(caplog):
    prediction, targets = scene(windows=1)
    poses = targets.cameras.world_from_cam.clone()
    poses[0, 1] = torch.nan
    broken = replace(targets, cameras=Cameras(poses, targets.cameras.intrinsics))
    terms = compute_losses(prediction, broken, LossConfig())
    assert "losses:" in caplog.text
    assert all(torch.isfinite(value) for value in terms.named().values())
    # The first view alone is still right, up to its share of the scale.
    assert terms.rotation.item() < 1e-5


def test_errors_are_clamped_at_a_hundred(caplog):
    prediction, targets = scene(windows=1)
    with torch.no_grad():
        prediction.pose_encoding[0, 0, 8] += 1000
    terms = compute_losses(prediction, targets, LossConfig())
    assert terms.field_of_view.item() == pytest.approx(100 / 4, rel=1e-5)
    assert int(terms.clamped) == 1
    assert "1 errors above 100" in caplog.text
    terms.total.backward()
    assert prediction.pose_encoding.grad[0, 0, 8] == 0


@pytest.mark.parametrize("config", STAGES)
def test_a_batch_without_valid_pixels_is_zero_and_differentiable(config):
    prediction, targets = scene()
    terms = compute_losses(prediction, replace(targets, valid=torch.zeros_like(targets.valid)), config)
    terms.total.backward()
    assert terms.total.item() == 0
    assert all((value == 0).all() for value in gradients(prediction).values())


@pytest.mark.parametrize("config", STAGES)
def test_autocast_and_half_precision_change_nothing_but_the_inputs(config):
    prediction, targets = scene()
    prediction = noisy(prediction)
    half = leaves(**{name: value.detach().bfloat16() for name, value in vars(prediction).items()})
    full = leaves(**{name: value.detach().float() for name, value in vars(half).items()})
    with torch.autocast("cpu", torch.bfloat16):
        found = compute_losses(half, targets, config)
    expected = compute_losses(full, targets, config)
    assert found.total.dtype == torch.float32
    assert torch.equal(found.total, expected.total)


def test_the_models_prediction_and_a_batch_fit(make_model):
    generator = torch.Generator().manual_seed(0)
    lead, height, width = (2, 3), 28, 42
    poses = pose_matrix(
        matrix_from_quaternion(torch.randn(*lead, 4, generator=generator)),
        torch.randn(*lead, 3, generator=generator),
    )
    intrinsics = torch.tensor([[40.0, 0, 21], [0, 40, 14], [0, 0, 1]]).expand(*lead, 3, 3)
    depth = torch.rand(*lead, height, width, generator=generator)
    depth[0, 0, 0, 0] = torch.nan
    images = torch.rand(*lead, 3, height, width, generator=generator)
    views = Views(images, poses, intrinsics, depth, torch.ones_like(depth) > 0, torch.tensor([True, False]))
    targets = Targets.from_views(views)
    assert torch.equal(targets.cameras.world_from_cam[:, 0], torch.eye(4).expand(2, 4, 4))
    assert not targets.valid[0, 0, 0, 0]
    prediction = make_model()(images, num_steps=2)
    assert isinstance(prediction, Prediction)
    terms = compute_losses(prediction, targets, LossConfig())
    terms.total.backward()
    assert terms.total.item() > 0


def test_what_cannot_work_is_refused_by_name():
    prediction, targets = scene()
    with pytest.raises(ConfigError, match=r"loss stage must be 1 or 2, got 3"):
        LossConfig.for_stage(3)
    with pytest.raises(ConfigError, match=r"loss.ray must be at least 0, got -1"):
        LossConfig(ray=-1)
    with pytest.raises(ConfigError, match=r"loss.confidence_quantile"):
        LossConfig(confidence_quantile=0)
    with pytest.raises(ConfigError, match=r"max_error"):
        LossConfig(max_error=0)
    with pytest.raises(InputError, match=r"is_synthetic"):
        replace(targets, is_synthetic=torch.ones(2, 2, dtype=torch.bool))
    with pytest.raises(InputError, match=r"depth and valid"):
        replace(targets, valid=targets.valid[:, :1])
    with pytest.raises(InputError, match=r"depth must be \(2, 2, 14, 16\), got \(2, 2, 14, 16, 1\)"):
        compute_losses(replace(prediction, depth=prediction.depth.unsqueeze(-1)), targets, LossConfig())


@pytest.mark.parametrize(("stage", "name"), [(1, "stage1"), (2, "confidence")])
def test_values_and_gradients_agree_with_the_published_numbers(parity, stage, name):
    reference = parity("losses.npz")
    given = lambda key: torch.from_numpy(reference[f"in/{key}"])  # noqa: E731
    prediction = leaves(
        depth=given("depth").squeeze(-1),
        depth_confidence=given("depth_conf"),
        rays=given("rays"),
        pose_encoding=given("pose_enc"),
    )
    cameras = Cameras(given("extrinsics_c2w"), given("intrinsics"))
    targets = Targets(given("gt_depth"), given("mask"), cameras, given("is_synthetic")[:, 0])
    terms = compute_losses(prediction, targets, LossConfig.for_stage(stage))
    terms.total.backward()
    compared = 0
    for own, published in TERMS.items():
        if f"{name}/{published}" in reference:
            expected = float(reference[f"{name}/{published}"])
            assert getattr(terms, own).item() == pytest.approx(expected, rel=RELATIVE), own
            compared += 1
    assert compared == (12 if stage == 1 else 7)
    inputs = {"depth": "depth", "rays": "rays", "pose_encoding": "pose_enc", "depth_confidence": "depth_conf"}
    for own, published in inputs.items():
        gradient = getattr(prediction, own).grad
        norm = 0.0 if gradient is None else float(gradient.norm())
        assert norm == pytest.approx(float(reference[f"{name}/grad_norm/{published}"]), rel=RELATIVE), own
