from pathlib import Path

import pytest
import torch
from checkpoint_files import rewrite
from safetensors.torch import load_file

from dvlt_ros.backends import model_card
from dvlt_ros.checkpoints import EMBEDDED_WEIGHTS, SHIPPED
from dvlt_ros.errors import WeightsError
from dvlt_ros.model import Dvlt, DvltConfig
from dvlt_ros.model.weights import locate_checkpoint

VITS = {"embed_dim": 384, "num_heads": 6, "patch_embed": "dinov2_vits14_reg"}


@pytest.mark.parametrize("suffix", ["", "model.safetensors"], ids=["directory", "file"])
def test_a_checkpoint_saved_and_loaded_gives_bit_equal_outputs(model, checkpoint, suffix):
    loaded = Dvlt.from_pretrained(checkpoint / suffix)
    assert loaded.config == model.config
    assert not loaded.training
    images = torch.rand(1, 2, 3, 28, 28)
    with torch.no_grad():
        expected, found = model(images), loaded(images)
    assert torch.equal(expected.depth, found.depth)
    assert torch.equal(expected.points, found.points)
    assert torch.equal(expected.pose_encoding, found.pose_encoding)


def test_without_an_argument_it_is_the_embedded_checkpoint():
    embedded, shipped = Dvlt.from_pretrained(), Dvlt.from_pretrained(EMBEDDED_WEIGHTS)
    assert embedded.config == shipped.config
    assert all(torch.equal(a, b) for a, b in zip(embedded.parameters(), shipped.parameters(), strict=True))


@pytest.mark.parametrize("name", SHIPPED)
def test_what_ships_has_a_name_a_card_with_its_licence_and_is_found_from_everywhere(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert locate_checkpoint(name) == SHIPPED[name] / "model.safetensors"
    assert "Apache-2.0" in (SHIPPED[name] / "README.md").read_text()
    assert next(card for card in model_card("dvlt").weights if card.source == name).allows_commercial_use
    Path(name).mkdir()
    with pytest.raises(WeightsError, match=r"no model\.safetensors in this directory"):
        locate_checkpoint(f"./{name}")


def test_a_loaded_model_is_whole_trainable_and_independent_of_its_file(model, checkpoint):
    random_state = torch.get_rng_state()
    loaded = Dvlt.from_pretrained(checkpoint)
    assert torch.equal(torch.get_rng_state(), random_state)  # nothing is initialised only to be overwritten
    (checkpoint / "model.safetensors").write_bytes(b"")
    expected, found = (dict([*m.named_parameters(), *m.named_buffers()]) for m in (model, loaded))
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert all(parameter.requires_grad for parameter in loaded.parameters())


def test_the_config_has_published_fields_and_our_own_only_where_they_differ(tmp_path):
    assert "encoder_depth" not in DvltConfig().to_dict()
    assert set(DvltConfig(image_size=224).to_dict()) - set(DvltConfig().to_dict()) == {"image_size"}
    assert DvltConfig.from_dict({}) == DvltConfig()
    assert DvltConfig.from_dict({"depth_head_channels": [32, 32, 16]}).depth_head_channels == (32, 32, 16)


def test_unknown_config_fields_are_named(caplog):
    assert DvltConfig.from_dict({"img_norm": "imagenet"}) == DvltConfig()
    assert "img_norm" in caplog.text


@pytest.mark.parametrize(
    "config",
    [
        DvltConfig(**VITS),
        DvltConfig(**VITS, depth_head_type="linear", recurrence_mode="no_sout"),
        DvltConfig(**VITS, depth_head_type="linear", recurrence_mode="no_depthscale"),
        DvltConfig(**VITS, depth_head_type="linear", time_conditioning="continuous"),
        DvltConfig(**VITS, recurrence_mode="none", k_sampling=None, num_steps=3, min_steps=3),
    ],
    ids=lambda config: f"{config.recurrence_mode}-{config.depth_head_type}",
)
def test_a_checkpoint_without_config_is_recognized_by_its_shapes(config, tmp_path):
    Dvlt(config).save_pretrained(tmp_path)
    (tmp_path / "config.json").unlink()
    assert Dvlt.from_pretrained(tmp_path).config == config


def test_a_small_network_without_config_is_recognized_but_for_what_shapes_cannot_tell(model, checkpoint):
    (checkpoint / "config.json").unlink()
    found = Dvlt.from_pretrained(checkpoint).config
    for name in ("embed_dim", "num_heads", "patch_embed", "encoder_depth", "decoder_depth", "depth_head_channels"):
        assert getattr(found, name) == getattr(model.config, name)


def test_half_precision_files_load_as_float32(model, tmp_path):
    model.save_pretrained(tmp_path, dtype=torch.float16)
    stored = load_file(tmp_path / "model.safetensors")
    assert stored["camera_token"].dtype == torch.float16
    assert {v.dtype for k, v in stored.items() if "depth_scale" in k} == {torch.float32}
    loaded = Dvlt.from_pretrained(tmp_path)
    assert {value.dtype for value in loaded.state_dict().values()} == {torch.float32}
    torch.testing.assert_close(loaded.camera_token, model.camera_token, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float8_e4m3fn], ids=str)
def test_other_floating_point_files_load_as_float32(model, checkpoint, dtype):
    rewrite(checkpoint, lambda tensors: tensors.update(camera_token=tensors["camera_token"].to(dtype)))
    loaded = Dvlt.from_pretrained(checkpoint).camera_token
    assert loaded.dtype == torch.float32
    torch.testing.assert_close(loaded, model.camera_token, rtol=0.1, atol=1e-2)


def test_saving_replaces_the_checkpoint_and_leaves_other_files(checkpoint, make_model):
    (checkpoint / "README.md").write_text("kept")
    other = make_model(depth_head_type="linear")
    other.save_pretrained(checkpoint)
    assert len({file.stat().st_mode for file in checkpoint.iterdir()}) == 1
    assert sorted(file.name for file in checkpoint.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    assert Dvlt.from_pretrained(checkpoint).config == other.config


def test_a_hub_without_network_is_an_error_that_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for name in ("somebody/model", "somebody/model.v1.5"):
        with pytest.raises(WeightsError, match=f"{name}: not in the local cache and not to be had"):
            Dvlt.from_pretrained(name)


def test_a_hub_download_loads_and_says_the_licence_of_the_published_weights(checkpoint, model, monkeypatch, caplog):
    asked = {}

    def snapshot_download(repo_id, revision, allow_patterns):
        asked.update(repo_id=repo_id, revision=revision, files=set(allow_patterns))
        return str(checkpoint)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    loaded = Dvlt.from_pretrained("nvidia/dvlt", revision="abc")
    assert loaded.config == model.config
    assert asked == {"repo_id": "nvidia/dvlt", "revision": "abc", "files": {"model.safetensors", "config.json"}}
    assert "non-commercial" in caplog.text
