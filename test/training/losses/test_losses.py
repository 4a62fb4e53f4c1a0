import logging
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from dvlt_ros.cameras import pose_encoding_from_cameras, rays_from_cameras
from dvlt_ros.errors import ConfigError, InputError
from dvlt_ros.geometry import matrix_from_quaternion, pose_matrix
from dvlt_ros.model import Prediction
from dvlt_ros.training.data.types import Views
from dvlt_ros.training.losses.normalize import mean_distance
from dvlt_ros.training.losses.published import LossConfig, Targets, _quantile, compute_losses
from dvlt_ros.types import Cameras

RELATIVE = 1e-4
TERMS = {
    "total": "total",
    "point": "loss_pmap",
    "depth": "loss_depth",
    "ray": "loss_ray",
    "camera": "loss_cam",
    "point_error": "term/pmap_loss_reg",
    "depth_error": "term/depth_loss_reg",
    "depth_gradient": "term/depth_loss_grad",
    "log_confidence": "term/depth_loss_conf_regularizer",
    "translation": "term/cam_loss_T",
    "rotation": "term/cam_loss_R",
    "field_of_view": "term/cam_loss_fl",
}


@dataclass
class Leaves:
    """The network's outputs as leaves, so that each has a gradient."""

    depth: Tensor
    depth_confidence: Tensor
    rays: Tensor
    pose_encoding: Tensor

    @property
    def ray_directions(self):
        return self.rays[..., :3]

    @property
    def ray_origins(self):
        return self.rays[..., 3:]


def leaves(**values):
    return Leaves(**{name: value.clone().requires_grad_() for name, value in values.items()})


def scene(seed=0, views=2, height=14, width=16, windows=2):
    """Targets and a prediction that is exactly right."""
    generator = torch.Generator().manual_seed(seed)
    lead = (windows, views)
    quaternion = torch.tensor([0.0, 0, 0, 1]) + 0.2 * torch.randn(*lead, 4, generator=generator)
    poses = pose_matrix(matrix_from_quaternion(quaternion), torch.randn(*lead, 3, generator=generator))
    poses[:, 0] = torch.eye(4)
    intrinsics = torch.tensor([[15.0, 0, width / 2], [0, 14, height / 2], [0, 0, 1]]).expand(*lead, 3, 3)
    depth = 1 + torch.rand(*lead, height, width, generator=generator)
    cameras = Cameras(poses, intrinsics)
    valid = torch.rand(depth.shape, generator=generator) > 0.1
    targets = Targets(depth, valid, cameras, torch.ones(windows, dtype=torch.bool))
    prediction = leaves(
        depth=depth,
        depth_confidence=2 + torch.rand(depth.shape, generator=generator),
        rays=torch.cat(rays_from_cameras(cameras, height, width), dim=-1),
        pose_encoding=pose_encoding_from_cameras(cameras, height, width),
    )
    return prediction, targets


def noisy(prediction, amount=0.1, seed=1):
    generator = torch.Generator().manual_seed(seed)
    noise = {
        name: value.detach() + amount * torch.randn(value.shape, generator=generator)
        for name, value in vars(prediction).items()
    }
    return leaves(**noise | {"depth_confidence": prediction.depth_confidence.detach()})


def gradients(prediction):
    return {name: value.grad for name, value in vars(prediction).items() if value.grad is not None}


STAGES = [LossConfig.for_stage(1), LossConfig.for_stage(2)]


@pytest.mark.parametrize("config", STAGES)
def test_a_perfect_prediction_in_any_unit_has_no_error(config):
    prediction, targets = scene()
    scaled = leaves(
        depth=3 * prediction.depth.detach(),
        depth_confidence=prediction.depth_confidence.detach(),
        rays=prediction.rays.detach() * torch.tensor([1.0, 1, 1, 3, 3, 3]),
        pose_encoding=prediction.pose_encoding.detach() * torch.tensor([3.0] * 3 + [1.0] * 6),
    )
    terms = compute_losses(scaled, targets, config).named()
    for name in ("point", "ray", "camera", "point_error", "depth_error", "depth_gradient"):
        assert abs(float(terms[name])) < 1e-5, name


def test_the_unit_of_the_prediction_changes_nothing_and_has_no_gradient():
    prediction, targets = scene()
    prediction = noisy(prediction)
    compute_losses(prediction, targets, LossConfig()).total.backward()
    # Along the direction that scales everything, the loss is flat: gradients flow through the scale.
    slope = (prediction.depth * prediction.depth.grad).sum()
    slope = slope + (prediction.rays * prediction.rays.grad)[..., 3:].sum()
    slope = slope + (prediction.pose_encoding * prediction.pose_encoding.grad)[..., :3].sum()
    assert prediction.depth.grad.abs().sum() > 0.01
    assert abs(slope.item()) < 1e-5


@pytest.mark.parametrize("unit", [0.2, 1.0, 5.0])
def test_the_gauge_holds_predictions_at_unit_size_and_is_off_by_default(unit):
    prediction, targets = scene()
    points = prediction.rays[..., 3:] + prediction.rays[..., :3] * prediction.depth.unsqueeze(-1)
    size = unit / mean_distance(points.detach(), targets.valid)[:, None, None]  # every sample's own becomes `unit`
    scaled = leaves(
        depth=size[..., None] * prediction.depth.detach(),
        depth_confidence=prediction.depth_confidence.detach(),
        rays=torch.cat([prediction.rays[..., :3], size[..., None, None] * prediction.rays[..., 3:]], dim=-1).detach(),
        pose_encoding=torch.cat(
            [size * prediction.pose_encoding[..., :3], prediction.pose_encoding[..., 3:]], -1
        ).detach(),
    )
    free, held = compute_losses(scaled, targets, LossConfig()), compute_losses(scaled, targets, LossConfig(gauge=0.1))
    torch.testing.assert_close(held.gauge, torch.tensor(unit).log().square(), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(held.total, free.total + 0.1 * held.gauge)
    held.total.backward()
    outwards = (scaled.depth * scaled.depth.grad).sum() + (scaled.rays * scaled.rays.grad)[..., 3:].sum()
    outwards = outwards + (scaled.pose_encoding * scaled.pose_encoding.grad)[..., :3].sum()
    assert outwards.item() == pytest.approx(0.2 * torch.tensor(unit).log().item(), abs=1e-3)  # 0 at unit size


def test_point_and_depth_losses_by_hand():
    prediction, targets = scene(windows=2)
    targets = replace(targets, valid=torch.zeros_like(targets.valid))
    targets.valid[0, 0, :, :2] = True
    targets.valid[1, 1, 3, 4] = True
    prediction = noisy(prediction)
    config = LossConfig(ray=0, camera=0)
    terms = compute_losses(prediction, targets, config)
    samples, depth_samples, gradient = [], [], 0.0
    for i in range(2):
        mask = targets.valid[i]
        found = prediction.ray_origins[i] + prediction.ray_directions[i] * prediction.depth[i].unsqueeze(-1)
        directions, origins = rays_from_cameras(targets.cameras[i], 14, 16)
        truth = origins + directions * targets.depth[i].unsqueeze(-1)
        scales = [x[mask].norm(dim=-1).sum() / (mask.sum() + 1e-3) for x in (found, truth)]
        samples.append((found / scales[0] - truth / scales[1])[mask].norm(dim=-1).mean())
        residual = prediction.depth[i] / scales[0] - targets.depth[i] / scales[1]
        depth_samples.append(residual[mask].abs().mean())
        for stride in (1, 2, 4, 8):
            for view in range(2):
                m, r = mask[view, ::stride, ::stride], residual[view, ::stride, ::stride]
                down = ((r[1:] - r[:-1]).abs() * (m[1:] & m[:-1])).sum()
                right = ((r[:, 1:] - r[:, :-1]).abs() * (m[:, 1:] & m[:, :-1])).sum()
                gradient += (down + right) / max(int(m.sum()), 1) / 4 / 4
    torch.testing.assert_close(terms.point, torch.stack(samples).mean())
    torch.testing.assert_close(terms.depth, torch.stack(depth_samples).mean() + gradient)
    torch.testing.assert_close(terms.total, terms.point + terms.depth)


def test_real_data_has_no_gradient_term_but_counts_in_its_mean():
    prediction, targets = scene()
    prediction = noisy(prediction)
    both = compute_losses(prediction, targets, LossConfig())
    none = compute_losses(prediction, replace(targets, is_synthetic=torch.zeros(2, dtype=torch.bool)), LossConfig())
    parts = [
        compute_losses(prediction, replace(targets, is_synthetic=torch.arange(2) == i), LossConfig()) for i in range(2)
    ]
    assert none.depth_gradient.item() == 0
    torch.testing.assert_close(parts[0].depth_gradient + parts[1].depth_gradient, both.depth_gradient)
    torch.testing.assert_close(none.depth, both.depth - both.depth_gradient)


def test_the_worst_two_percent_of_confident_errors_are_left_out():
    prediction, targets = scene(windows=1)
    prediction = noisy(prediction)
    targets = replace(targets, is_synthetic=torch.zeros(1, dtype=torch.bool))
    config = LossConfig.for_stage(2)
    terms = compute_losses(prediction, targets, config)
    plain = compute_losses(prediction, targets, LossConfig())
    directions, origins = rays_from_cameras(targets.cameras, 14, 16)
    truth = origins + directions * targets.depth.unsqueeze(-1)
    found = prediction.ray_origins + prediction.ray_directions * prediction.depth.unsqueeze(-1)
    count = targets.valid.sum() + 1e-3
    scales = [x[targets.valid].norm(dim=-1).sum() / count for x in (found, truth)]
    error = (prediction.depth / scales[0] - targets.depth / scales[1]).abs()[targets.valid]
    c = prediction.depth_confidence[targets.valid]
    value = c * error - 0.2 * c.log()
    kept = value <= torch.quantile(value, 0.98)
    assert 0 < int((~kept).sum()) <= 0.03 * len(value)
    torch.testing.assert_close(terms.depth, value[kept].mean())
    torch.testing.assert_close(terms.point, plain.point)
    terms.depth.backward()
    assert (prediction.depth_confidence.grad[targets.valid] == 0).eq(~kept).all()


@pytest.mark.parametrize("count", [1, 2, 3, 50, 51, 101, 1000])
def test_the_quantile_separates_as_the_interpolated_one(count):
    values = torch.randn(count, dtype=torch.float64, generator=torch.Generator().manual_seed(count))
    expected = values <= torch.quantile(values, 0.98)
    assert torch.equal(values <= _quantile(values, 0.98), expected)


@pytest.mark.parametrize("count", [100, 101])
def test_rays_and_cameras_need_more_than_a_hundred_valid_pixels(count):
    prediction, targets = scene(windows=1)
    valid = torch.zeros_like(targets.valid)
    valid.view(1, 2, -1)[0, 0, :count] = True  # the second view is never used by the ray loss
    terms = compute_losses(noisy(prediction), replace(targets, valid=valid), LossConfig())
    for name in ("ray", "camera", "translation", "rotation", "field_of_view"):
        assert (getattr(terms, name).item() > 0) == (count > 100), name


def test_the_ray_loss_looks_at_all_pixels_of_the_views_it_uses():
    prediction, targets = scene(windows=1)
    valid = torch.ones_like(targets.valid)
    valid[0, 0, 0, 0] = False
    valid[0, 1, 5:] = False  # 80 valid pixels
    targets = replace(targets, valid=valid)
    with torch.no_grad():
        prediction.rays[0, 0, 0, 0, :3] += 1.0
        prediction.rays[0, 1, 13, 13, :3] += 1.0
    terms = compute_losses(prediction, targets, LossConfig())
    assert terms.ray.item() == pytest.approx(3 / (14 * 16 * 6), rel=1e-4)


def test_the_camera_loss_neither_normalises_nor_aligns_quaternions():
    prediction, targets = scene(windows=1)
    with torch.no_grad():
        prediction.pose_encoding[..., 3:7] *= -2
    terms = compute_losses(prediction, targets, LossConfig())
    expected = 3 * pose_encoding_from_cameras(targets.cameras, 14, 16)[..., 3:7].abs().mean()
    torch.testing.assert_close(terms.rotation, expected)
    torch.testing.assert_close(terms.camera, terms.translation + terms.rotation + 0.5 * terms.field_of_view)


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
