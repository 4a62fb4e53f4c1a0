"""DINOv2's own files as the encoder of a new network: layouts, reference numbers, and what is refused."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from dvlt_ros.errors import ConfigError, WeightsError
from dvlt_ros.fast import FastDvlt
from dvlt_ros.model import Dvlt, DvltConfig
from dvlt_ros.model.encoder import Encoder
from dvlt_ros.model.encoder_weights import EMBEDDINGS, IN_A_LAYER, load_encoder

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "dinov2_small"
VITS = {"embed_dim": 384, "num_heads": 6, "patch_embed": "dinov2_vits14", "encoder_registers": 0}


@pytest.fixture
def encoder(make_model):
    return make_model(encoder_registers=0).patch_embed_encoder


def facebook(encoder: Encoder) -> dict[str, torch.Tensor]:
    width = encoder.cls_token.shape[-1]
    norm = {"norm.weight": torch.ones(width), "norm.bias": torch.zeros(width)}
    return {name: value.clone() for name, value in encoder.state_dict().items()} | norm


def hugging_face(encoder: Encoder) -> dict[str, torch.Tensor]:
    names = {ours: theirs for theirs, ours in EMBEDDINGS.items()}
    stems = {ours: theirs for theirs, ours in IN_A_LAYER.items()}
    found = {}
    for name, value in facebook(encoder).items():
        block = re.fullmatch(r"blocks\.(\d+)\.(.+)", name)
        if block is None:
            found[names[name]] = value
            continue
        layer, rest = f"encoder.layer.{block[1]}", block[2]
        stem, _, kind = rest.rpartition(".")
        if stem == "attn.qkv":
            for part, third in zip(("query", "key", "value"), value.chunk(3), strict=True):
                found[f"{layer}.attention.attention.{part}.{kind}"] = third.clone()
        else:
            found[f"{layer}.{stems[rest]}" if rest in stems else f"{layer}.{stems[stem]}.{kind}"] = value
    return found


LAYOUTS = {"facebook": facebook, "hugging face": hugging_face}


@pytest.mark.parametrize("registers", [0, 4])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("prefix", ["", "dinov2."])
def test_every_layout_gives_the_same_features(make_model, tmp_path, layout, registers, prefix):
    source = make_model(encoder_registers=registers).patch_embed_encoder
    tensors = LAYOUTS[layout](source)
    if layout == "hugging face":
        tensors = {prefix + name: value for name, value in tensors.items()}
    save_file(tensors, tmp_path / "model.safetensors")
    target = Dvlt(make_model(encoder_registers=registers).config).patch_embed_encoder
    load_encoder(target, tmp_path)
    images = torch.rand(1, 3, 28, 42)
    assert torch.equal(target(images), source(images))


def test_the_shared_file_holds_its_reference_numbers():
    if not SHARED.is_dir():
        pytest.skip("the encoder's file is not here; ../shared/data/dinov2_small beside the project runs this")
    encoder = Encoder(DvltConfig(**VITS, encoder_antialias=False))
    load_encoder(encoder, SHARED / "model.safetensors")
    reference = np.load(SHARED / "reference.npz")
    x = encoder.enter(torch.from_numpy(reference["pixels"]))
    with torch.no_grad():
        for block in encoder.blocks:
            x = block(x)
    tokens = torch.from_numpy(reference["tokens"])
    assert ((x - tokens).norm() / tokens.norm()).item() < 1e-3


def test_antialiasing_of_position_embeddings_is_a_choice(make_model):
    grids = [
        make_model(encoder_antialias=choice).patch_embed_encoder.position_embedding(28, 42) for choice in (True, False)
    ]
    assert not torch.allclose(*grids)
    whole = [
        make_model(encoder_antialias=choice).patch_embed_encoder.position_embedding(518, 518)
        for choice in (True, False)
    ]
    assert torch.equal(*whole)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("blocks.1.mlp.fc2.bias"), "missing tensors: blocks.1.mlp.fc2.bias"),
        (lambda t: t.pop("norm.weight"), "missing tensors: norm.weight"),
        (lambda t: t.update({"head.weight": torch.ones(3)}), "unexpected tensors: head.weight"),
        (lambda t: t.update({"pos_embed": torch.ones(1, 257, 32)}), "pos_embed is (1, 257, 32)"),
        (lambda t: t.update({"register_tokens": torch.ones(1, 4, 32)}), "has register tokens"),
        (lambda t: t.update({"cls_token": torch.ones(1, 1, 48)}), "48 wide, model.config.embed_dim is 32"),
        (lambda t: [t.pop(n) for n in list(t) if n.startswith("blocks.1.")], "has 1 blocks, the network 2"),
        (lambda t: t.pop("patch_embed.proj.weight"), "not the weights of a DINOv2"),
    ],
)
def test_what_does_not_fit_is_named_in_one_line(encoder, tmp_path, change, message):
    tensors = facebook(encoder)
    change(tensors)
    save_file(tensors, tmp_path / "dino.safetensors")
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    with pytest.raises(WeightsError, match=re.escape(message)) as caught:
        load_encoder(encoder, tmp_path / "dino.safetensors")
    assert "\n" not in str(caught.value)
    assert "dino.safetensors" in str(caught.value)
    assert all(torch.equal(before[name], value) for name, value in encoder.state_dict().items())


def test_a_layer_without_all_of_its_thirds_is_named(encoder, tmp_path):
    tensors = hugging_face(encoder)
    del tensors["encoder.layer.0.attention.attention.key.bias"]
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match=r"missing tensors: key of blocks\.0\.attn\.qkv\.bias"):
        load_encoder(encoder, tmp_path)


def test_a_hub_that_is_not_there_is_named(encoder, monkeypatch):
    def unreachable(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr("huggingface_hub.snapshot_download", unreachable)
    with pytest.raises(WeightsError, match="facebook/dinov2-small: not in the local cache"):
        load_encoder(encoder, "facebook/dinov2-small")


def test_the_licence_is_said(encoder, tmp_path, caplog):
    save_file(facebook(encoder), tmp_path / "model.safetensors")
    with caplog.at_level("INFO"):
        load_encoder(encoder, tmp_path)
    assert "Apache License 2.0" in caplog.text


def test_configurations_without_registers(tmp_path):
    config = DvltConfig(**VITS, encoder_antialias=False, depth_head_type="linear", encoder_depth=1)
    own = set(config.to_dict()) - set(DvltConfig().to_dict())
    assert own == {"encoder_registers", "encoder_antialias", "encoder_depth"}
    with pytest.raises(ConfigError, match="patch_embed dinov2_vits14 has encoder_registers 0, got 4"):
        DvltConfig(**VITS | {"encoder_registers": 4})
    with pytest.raises(ConfigError, match="encoder_registers must be one of"):
        DvltConfig(encoder_registers=2)


@pytest.mark.parametrize("changes", [{"encoder_registers": 0}, {"match_taps": (1, 2), "match_channels": 8}])
def test_a_checkpoint_keeps_such_an_encoder_and_the_fast_model_agrees(make_model, tmp_path, changes):
    model = make_model(**changes)
    model.save_pretrained(tmp_path)
    loaded = Dvlt.from_pretrained(tmp_path)
    assert loaded.config == model.config
    images, fast = torch.rand(1, 3, 3, 28, 42), FastDvlt(loaded)
    with torch.inference_mode():
        expected = model(images, num_steps=3)
        found = fast.decode(fast.run(fast.begin(fast.encode(images)), 3))
    torch.testing.assert_close(found.depth, expected.depth, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.ray_origins, expected.ray_origins, rtol=1e-4, atol=1e-4)


def test_an_encoder_without_registers_is_recognised_by_its_shapes(make_model, tmp_path):
    make_model(encoder_registers=0, encoder_antialias=False).save_pretrained(tmp_path)
    (tmp_path / "config.json").unlink()
    found = Dvlt.from_pretrained(tmp_path).config
    assert (found.encoder_registers, found.encoder_antialias) == (0, False)  # as DINOv2 without registers has it
