"""A tiny network and a tiny window that probes are tried on."""

import pytest
import torch

from dvlt_ros.model import Dvlt, DvltConfig
from dvlt_ros.training.synthetic import SyntheticConfig, sample_windows

SCENES = SyntheticConfig(views=3, height=28, width=42, augment=None, shadows=False, occlusion=False)


@pytest.fixture(scope="module")
def windows():
    """Four windows of one scene each."""
    return [sample_windows([seed], SCENES) for seed in range(4)]


@pytest.fixture(scope="module")
def views(windows):
    return windows[0]


@pytest.fixture(scope="module")
def network(tiny_config):
    torch.manual_seed(0)
    return Dvlt(tiny_config).eval()


@pytest.fixture(scope="module")
def tiny_config():
    return DvltConfig(
        embed_dim=32, num_heads=2, patch_embed="vit14_reg", encoder_depth=1, decoder_embed_dim=32,
        decoder_num_heads=2, decoder_depth=1, depth_head_type="linear", num_steps=3, min_steps=2, image_size=42,
    )  # fmt: skip
