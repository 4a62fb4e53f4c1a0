"""Descriptors that are matched with the first view's, and sub-grids of pixels."""

import numpy as np
import pytest
import torch

pytest.importorskip("accelerate", reason="needs the training extra: pip install '.[training]'")
pytest.importorskip("hydra", reason="needs the training extra: pip install '.[training]'")


from frozen_runs import DESCRIBED, SIZE

from dvlt_ros.cameras import rays_from_cameras
from dvlt_ros.errors import ConfigError
from dvlt_ros.model import Dvlt, Features, Prediction
from dvlt_ros.model.correlation import Correlation, summarise
from dvlt_ros.model.layers import Attention
from dvlt_ros.training.batches.kept import far_from
from dvlt_ros.training.data.types import Views
from dvlt_ros.training.losses import LossConfig, Targets, compute_losses
from dvlt_ros.training.losses.matching import correlation_error
from dvlt_ros.training.losses.subgrid import subgrid_of_prediction, subgrid_of_views
from dvlt_ros.training.optimisation.forward import (
    attends_by_products,
    multiplies_bf16,
    resolved_precision,
    use_two_products,
)
from dvlt_ros.training.synthetic import SyntheticConfig, sample_windows
from dvlt_ros.types import Cameras


@pytest.mark.parametrize(("row", "column"), [(0, 0), (1, 2)])
def test_cameras_of_a_sub_grid_see_along_the_same_rays(row, column):
    intrinsics = torch.tensor([[50.0, 0.3, 30.2], [0, 48, 20.7], [0, 0, 1]])[None, None]
    cameras = Cameras(torch.eye(4)[None, None], intrinsics)
    whole, _ = rays_from_cameras(cameras, *SIZE)
    depth = torch.rand(1, 1, *SIZE)
    views = Views(
        torch.empty(1, 1, 0, *SIZE), cameras.world_from_cam, intrinsics, depth, depth > 0.5, torch.tensor([True])
    )
    grid = subgrid_of_views(views, 7, row, column)
    rays, _ = rays_from_cameras(Cameras(grid.world_from_cam, grid.intrinsics), *grid.depth.shape[-2:])
    torch.testing.assert_close(rays, whole[..., row::7, column::7, :])
    assert torch.equal(grid.valid, views.valid[..., row::7, column::7])
    with pytest.raises(ConfigError, match=r"pixel_stride 4 does not divide images of 56 x 42"):
        subgrid_of_views(views, 4, 0, 0)


def test_a_perfect_prediction_has_no_error_on_a_sub_grid():
    views = sample_windows([5], SyntheticConfig(augment=None), views=2, size=SIZE)
    targets = Targets.from_views(views)
    from dvlt_ros.cameras import pose_encoding_from_cameras

    directions, origins = rays_from_cameras(targets.cameras, *SIZE)
    perfect = Prediction(
        targets.depth,
        torch.ones_like(targets.depth),
        directions,
        origins,
        pose_encoding_from_cameras(targets.cameras, *SIZE),
    )
    grid = subgrid_of_views(views, 2, 1, 0)
    terms = compute_losses(subgrid_of_prediction(perfect, 2, 1, 0), Targets.from_views(grid), LossConfig())
    assert terms.total.item() < 1e-4


def test_the_correlation_says_where_a_patch_went(make_model):
    correlation = Correlation(make_model(**DESCRIBED).config)
    descriptors = torch.nn.functional.normalize(
        torch.randn(1, 12, 64, generator=torch.Generator().manual_seed(0)), dim=-1
    )
    moved = descriptors.view(1, 3, 4, 64).roll(-1, dims=2).flatten(1, 2)  # what was one patch to the right
    with torch.no_grad():
        correlation.log_sharpness.fill_(5.0)
        share = correlation.log_share(torch.stack([descriptors, moved], dim=1), descriptors).exp()
    summary = summarise(share, (3, 4)).view(1, 2, 3, 4, -1)
    torch.testing.assert_close(summary[:, 0, ..., :2], torch.zeros(1, 3, 4, 2), atol=1e-2, rtol=0)
    torch.testing.assert_close(
        summary[:, 1, :, :3, 0], torch.ones(1, 3, 3), atol=1e-2, rtol=0
    )  # a quarter of the width
    assert (summary[..., 4] > 0.99).all()
    assert (summary[..., 5] < 0.01).all()


def test_a_new_correlation_changes_nothing(make_model):
    with_it, without = Dvlt(make_model(**DESCRIBED).config), Dvlt(make_model().config)
    known = {k: v for k, v in with_it.state_dict().items() if k in without.state_dict()}
    without.load_state_dict(known)
    images = torch.rand(1, 2, 3, 28, 28)
    with torch.no_grad():
        assert torch.equal(with_it.eval()(images, num_steps=2).depth, without.eval()(images, num_steps=2).depth)


def test_the_correlation_error_is_least_for_true_matches(network):
    views = sample_windows([5], SyntheticConfig(augment=None), views=2, size=SIZE)
    frozen = network.patch_embed_encoder.frozen(views.images.flatten(0, 1))[None]
    features = Features(network.patch_embed_encoder.readout(frozen), (3, 4))
    error = correlation_error(network.correlation, features, views)
    error.backward()
    assert error > 0
    assert network.patch_embed_encoder.descriptors.weight.grad.abs().sum() > 0


def test_wide_baselines_are_preferred():
    poses = torch.eye(4).repeat(1, 3, 1, 1)
    poses[0, 1, 0, 3], poses[0, 2, 0, 3] = 0.001, 1.0
    window = Views(torch.empty(0), poses, torch.empty(0), torch.empty(0), torch.empty(0), torch.empty(0))
    rng = np.random.default_rng(0)
    drawn = [far_from(window, 0, rng) for _ in range(100)]
    assert drawn.count(2) > 95
    assert 0 not in drawn


def test_attention_as_two_products_is_the_same_attention():
    attention = Attention(32, 2, qk_norm=True)
    x = torch.randn(2, 5, 32, requires_grad=True)
    fused = attention(x)
    use_two_products(attention, True)
    torch.testing.assert_close(attention(x), fused, atol=1e-5, rtol=1e-5)
    assert attention.two_products


def test_bfloat16_is_used_where_the_hardware_multiplies_in_it(monkeypatch):
    cpu = torch.device("cpu")
    for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: False, raising=False)
    assert not multiplies_bf16(cpu)
    assert resolved_precision("auto", cpu) == "no"
    assert not attends_by_products("auto", cpu)
    assert attends_by_products("products", cpu)
    assert resolved_precision("bf16", cpu) == "bf16"
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True, raising=False)
    assert resolved_precision("auto", cpu) == "bf16"
    assert attends_by_products("auto", cpu)
