"""The published losses: what they measure, by hand."""

from dataclasses import replace

import pytest
import torch
from loss_scenes import STAGES, leaves, noisy, scene

from dvlt_ros.cameras import pose_encoding_from_cameras, rays_from_cameras
from dvlt_ros.training.losses import LossConfig, compute_losses
from dvlt_ros.training.losses.normalize import mean_distance
from dvlt_ros.training.losses.published import _quantile


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
