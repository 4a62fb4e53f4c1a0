import json
import pickle

import pytest
import torch
from safetensors.torch import load_file, save_file

from dvlt_ros.errors import WeightsError
from dvlt_ros.model import Dvlt, DvltConfig

VITS = {"embed_dim": 384, "num_heads": 6, "patch_embed": "dinov2_vits14_reg"}


@pytest.fixture
def model(make_model):
    return make_model()


@pytest.fixture
def checkpoint(model, tmp_path):
    model.save_pretrained(tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


def rewrite(checkpoint, change):
    tensors = load_file(checkpoint / "model.safetensors")
    change(tensors)
    save_file(tensors, checkpoint / "model.safetensors")


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
def test_a_checkpoint_without_config_is_recognised_by_its_shapes(config, tmp_path):
    Dvlt(config).save_pretrained(tmp_path)
    (tmp_path / "config.json").unlink()
    assert Dvlt.from_pretrained(tmp_path).config == config


def test_a_small_network_without_config_is_recognised_but_for_what_shapes_cannot_tell(model, checkpoint):
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


def test_saving_replaces_the_checkpoint_and_leaves_other_files(checkpoint, make_model):
    (checkpoint / "README.md").write_text("kept")
    other = make_model(depth_head_type="linear")
    other.save_pretrained(checkpoint)
    assert len({file.stat().st_mode for file in checkpoint.iterdir()}) == 1
    assert sorted(file.name for file in checkpoint.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    assert Dvlt.from_pretrained(checkpoint).config == other.config


def test_missing_extra_and_misshaped_tensors_are_listed(checkpoint):
    def damage(tensors):
        del tensors["camera_token"]
        tensors["surplus"] = torch.zeros(1)
        tensors["register_token"] = torch.zeros(1, 1, 4, 7)

    rewrite(checkpoint, damage)
    with pytest.raises(WeightsError) as error:
        Dvlt.from_pretrained(checkpoint)
    assert "missing tensors: camera_token" in str(error.value)
    assert "unexpected tensors: surplus" in str(error.value)
    assert "misshaped tensors: register_token is (1, 1, 4, 7) instead of (1, 1, 4, 32)" in str(error.value)
    assert str(checkpoint / "model.safetensors") in str(error.value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (torch.full((1, 1, 4, 32), torch.nan), "register_token has NaN or infinite"),
        (torch.zeros(1, 1, 4, 32, dtype=torch.int64), "register_token is torch.int64, expected floating point"),
    ],
)
def test_unusable_values_are_refused(checkpoint, value, message):
    rewrite(checkpoint, lambda tensors: tensors.update(register_token=value))
    with pytest.raises(WeightsError, match=message):
        Dvlt.from_pretrained(checkpoint)


@pytest.mark.parametrize("kept", [0, 5, 1000, -1])
def test_a_truncated_file_is_refused(checkpoint, kept):
    path = checkpoint / "model.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(WeightsError, match=r"model\.safetensors: truncated or not a safetensors file"):
        Dvlt.from_pretrained(checkpoint)


def test_pickles_are_refused_whatever_they_are_called(checkpoint, tmp_path):
    bomb = pickle.dumps({"weights": [1.0]})
    (checkpoint / "model.safetensors").write_bytes(bomb)
    with pytest.raises(WeightsError, match="not a safetensors file"):
        Dvlt.from_pretrained(checkpoint)
    torch.save({}, tmp_path / "model.pt")
    with pytest.raises(WeightsError, match="never read"):
        Dvlt.from_pretrained(tmp_path / "model.pt")
    with pytest.raises(WeightsError, match=r"no model\.safetensors in this directory \(model\.pt: pickled"):
        Dvlt.from_pretrained(tmp_path)


@pytest.mark.parametrize("source", ["no/such/directory", "missing.safetensors", "weights.txt"])
def test_sources_that_are_nothing_are_refused(source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights.txt").write_text("text")
    with pytest.raises(WeightsError, match=source):
        Dvlt.from_pretrained(source)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not a readable JSON file"),
        ("[]", "expected a JSON object, got list"),
        (json.dumps({"recurrence_mode": "x"}), "recurrence_mode must be one of"),
        (json.dumps({"embed_dim": "wide"}), "embed_dim must be an integer"),
    ],
)
def test_a_bad_config_file_is_named(checkpoint, content, message):
    (checkpoint / "config.json").write_text(content)
    with pytest.raises(WeightsError, match=rf"config\.json: .*{message}"):
        Dvlt.from_pretrained(checkpoint)


def test_a_config_that_claims_a_giant_is_refused_before_it_is_built(checkpoint):
    giant = {"embed_dim": 400_000, "num_heads": 2, "patch_embed": "vit14_reg", "encoder_depth": 2}
    (checkpoint / "config.json").write_text(json.dumps(giant))
    with pytest.raises(WeightsError, match="does not fit the network"):
        Dvlt.from_pretrained(checkpoint)


def test_a_file_of_another_network_is_not_guessed(tmp_path):
    save_file({"layer.weight": torch.zeros(3, 3)}, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match=r"no config\.json beside it, and not recognised: missing .*camera_token"):
        Dvlt.from_pretrained(tmp_path)


def test_a_hub_without_network_is_an_error_that_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsError, match="somebody/model: not in the local cache and not to be had"):
        Dvlt.from_pretrained("somebody/model")


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
