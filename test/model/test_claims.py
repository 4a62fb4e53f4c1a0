"""A config.json cannot make a reader build more than its file has."""

from __future__ import annotations

import json

import pytest
import torch

from dvlt_ros.errors import WeightsError
from dvlt_ros.model.claims import MAX_STEPS, check_claims
from dvlt_ros.model.config import DvltConfig
from dvlt_ros.model.dvlt import Dvlt, empty_model

SMALL = {
    "embed_dim": 32, "num_heads": 2, "patch_embed": "vit14_reg", "encoder_depth": 2, "decoder_embed_dim": 32,
    "decoder_num_heads": 2, "decoder_depth": 2, "num_steps": 3, "min_steps": 2, "depth_head_channels": [32, 16, 16],
    "image_size": 56,
}  # fmt: skip
HUGE = 10**6


def config(**changes) -> DvltConfig:
    return DvltConfig.from_dict(SMALL | changes)


@pytest.fixture(scope="module")
def tensors():
    return dict(empty_model(config()).state_dict())


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("checkpoint")
    Dvlt(config()).save_pretrained(folder)
    return folder


CLAIMS = {
    "encoder_depth": {"encoder_depth": HUGE},
    "decoder_depth": {"decoder_depth": HUGE},
    "num_steps": {"num_steps": HUGE},
    "one too many": {"decoder_depth": 3},
    "embed_dim": {"embed_dim": 2**40, "num_heads": 2**38},
    "decoder_embed_dim": {"decoder_embed_dim": 2**40, "decoder_num_heads": 2**38},
    "decoupled": {"recurrence_mode": "none", "num_steps": HUGE, "min_steps": HUGE, "k_sampling": None},
    "depth_head_channels": {"depth_head_channels": [2**40, 16, 16]},
    "image_size": {"image_size": 14 * HUGE},
}


@pytest.mark.parametrize("name", CLAIMS)
def test_more_than_the_file_has_is_refused_before_anything_is_built(name, checkpoint, monkeypatch, tmp_path):
    """By name, and with what is there."""
    for path in checkpoint.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    written = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(written | SMALL | CLAIMS[name]))
    monkeypatch.setattr("dvlt_ros.model.dvlt.empty_model", lambda *_: pytest.fail("it was built"))
    field = next(iter(CLAIMS[name])) if name != "decoupled" else "num_steps"
    with pytest.raises(WeightsError, match=rf"does not fit the network; .*config\.json says {field} = ") as error:
        Dvlt.from_pretrained(tmp_path)
    assert "\n" not in str(error.value)


def test_what_is_true_is_no_claim_too_many(tensors, checkpoint, tmp_path):
    check_claims(tmp_path, config(), tensors)
    check_claims(tmp_path, config(num_steps=MAX_STEPS), tensors)
    assert Dvlt.from_pretrained(checkpoint).config == config()
