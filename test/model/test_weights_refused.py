"""Checkpoints that cannot be used, and places where none can be written: each is named with its cause."""

import errno
import json
import pickle
from pathlib import Path

import pytest
import torch
from checkpoint_files import rewrite
from safetensors.torch import save_file

from dvlt_ros.errors import WeightsError
from dvlt_ros.model import Dvlt


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
        (torch.full((1, 1, 4, 32), torch.nan).to(torch.float8_e4m3fn), "register_token has NaN or infinite"),
        (
            torch.full((1, 1, 4, 32), 1e300, dtype=torch.float64),
            "register_token has NaN or infinite .*float64 to float32",
        ),
        (torch.zeros(1, 1, 4, 32, dtype=torch.int64), "register_token is torch.int64, expected floating point"),
    ],
)
def test_unusable_values_are_refused(checkpoint, value, message):
    rewrite(checkpoint, lambda tensors: tensors.update(register_token=value))
    with pytest.raises(WeightsError, match=message):
        Dvlt.from_pretrained(checkpoint)


def test_packed_values_are_refused(tmp_path):
    header = json.dumps({"camera_token": {"dtype": "F4", "shape": [2, 2], "data_offsets": [0, 2]}}).encode()
    (tmp_path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(2))
    with pytest.raises(WeightsError, match=r"camera_token is torch.float4.* cannot be converted|not a safetensors"):
        Dvlt.from_pretrained(tmp_path)


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
    with pytest.raises(WeightsError, match=r"owner/model.CKPT: pickled"):
        Dvlt.from_pretrained("owner/model.CKPT")


@pytest.mark.parametrize("source", ["no/such/directory", "missing.safetensors", "weights.txt"])
def test_sources_that_are_nothing_are_refused(source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights.txt").write_text("text")
    with pytest.raises(WeightsError, match=source):
        Dvlt.from_pretrained(source)


def refuse_permission(*_args, **_kwargs):
    raise PermissionError(13, "Permission denied")


@pytest.mark.parametrize("method", ["is_dir", "exists", "iterdir"])
def test_a_path_that_may_not_be_looked_at_is_named(method, tmp_path, monkeypatch):
    source = tmp_path if method == "iterdir" else tmp_path / "weights"
    monkeypatch.setattr(Path, method, refuse_permission)
    with pytest.raises(WeightsError, match=rf"{source}: cannot be read: .*Permission denied"):
        Dvlt.from_pretrained(source)


def test_paths_that_the_system_refuses_are_named(tmp_path):
    with pytest.raises(WeightsError, match=r"xxx: cannot be read: .*File name too long"):
        Dvlt.from_pretrained(tmp_path / ("x" * 300))
    with pytest.raises(WeightsError, match="~nobody-here/x: no such directory or file"):
        Dvlt.from_pretrained("~nobody-here/x")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
@pytest.mark.parametrize("kind", ["directory", "dangling link"])
def test_a_file_of_the_checkpoint_that_is_no_file_is_refused(checkpoint, name, kind):
    path = checkpoint / name
    path.unlink()
    if kind == "directory":
        path.mkdir()
    else:
        path.symlink_to("elsewhere")
    with pytest.raises(WeightsError, match=rf"{path}: (not a readable JSON file|cannot be read): "):
        Dvlt.from_pretrained(checkpoint)


def test_a_place_that_cannot_be_written_is_named(model, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("kept")
    (tmp_path / "taken" / "model.safetensors").mkdir(parents=True)
    for name, cause in (("file", "File exists"), ("file/below", "Not a directory"), ("taken", "Is a directory")):
        with pytest.raises(WeightsError, match=rf"{tmp_path / name}: cannot be written: .*{cause}"):
            model.save_pretrained(tmp_path / name)
    monkeypatch.setattr("dvlt_ros.model.weights.WEIGHTS_NAME", "no/such/folder.safetensors")
    with pytest.raises(WeightsError, match=rf"{tmp_path}: cannot be written: .*No such file"):
        model.save_pretrained(tmp_path)  # safetensors reports what the disk does as an error of its own
    assert not list(tmp_path.glob(".saving-*"))


def test_a_full_disk_leaves_the_earlier_checkpoint(checkpoint, model, make_model, monkeypatch):
    def full(*_args, **_kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("dvlt_ros.model.weights.save_file", full)
    with pytest.raises(WeightsError, match=f"{checkpoint}: cannot be written: .*No space left"):
        make_model(depth_head_type="linear").save_pretrained(checkpoint)
    assert Dvlt.from_pretrained(checkpoint).config == model.config


def test_weights_that_would_not_load_again_are_not_saved(make_model, tmp_path):
    for dtype in (torch.int8, torch.float8_e4m3fn, "float16"):
        with pytest.raises(WeightsError, match=r"weights are saved as one of .*, got .*(int8|float8|float16)"):
            make_model().save_pretrained(tmp_path / "new", dtype=dtype)
    model = make_model()
    model.camera_token.data[0, 0, 0, 0] = 1e5  # too large for float16
    with pytest.raises(WeightsError, match=r"camera_token has NaN or infinite values as torch\.float16"):
        model.save_pretrained(tmp_path / "new", dtype=torch.float16)
    model.camera_token.data[0, 0, 0, 0] = torch.nan
    with pytest.raises(WeightsError, match=r"camera_token has NaN or infinite values as torch\.float32"):
        model.save_pretrained(tmp_path / "new")
    model.camera_token = torch.nn.Parameter(torch.zeros(1, 2, 1, 32, dtype=torch.int8), requires_grad=False)
    with pytest.raises(WeightsError, match=r"camera_token is torch.int8, expected floating point"):
        model.save_pretrained(tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not a readable JSON file"),
        ("[]", "expected a JSON object, got list"),
        (json.dumps({"recurrence_mode": "x"}), "recurrence_mode must be one of"),
        (json.dumps({"embed_dim": "wide"}), "embed_dim must be an integer"),
        (json.dumps({"image_size": "504"}), "image_size must be an integer of at least 1, got '504'"),
        (json.dumps({"image_size": None}), "image_size must be an integer of at least 1, got None"),
        (json.dumps({"image_size": 504.0}), "image_size must be an integer of at least 1, got 504.0"),
        (json.dumps({"num_steps": "16"}), "num_steps must be an integer of at least 1, got '16'"),
        ("[" * 100_000, "not a readable JSON file"),
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
    with pytest.raises(WeightsError, match=r"no config\.json beside it, and not recognized: missing .*camera_token"):
        Dvlt.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("camera_token", (), r"camera_token is \(\), where axis -1 must be positive"),
        ("camera_token", (1, 2, 1, 50), r"camera_token is \(1, 2, 1, 50\), .* a positive multiple of 16"),
        ("recurrent_blocks.0.frame_attn.attn.q_norm.weight", (0,), r"q_norm.weight is \(0,\), .* multiple of 4"),
        ("ray_decoder.blocks.0.attn.q_norm.weight", (6,), r"ray_decoder.*q_norm.weight is \(6,\), .* multiple of 4"),
        ("ray_decoder.proj_in.weight", (40, 32), r"ray_decoder.proj_in.weight is \(40, 32\), .* multiple of 16"),
        ("depth_decoder.upsample_blocks.1.0.0.weight", (18, 7, 2, 2), "upsample_blocks.1.* a positive multiple of 16"),
        ("recurrent_blocks.0.frame_attn.depth_scale.proj.0.weight", (64,), r"proj.0.weight is \(64,\), .* positive"),
        ("recurrent_blocks.0.frame_attn.depth_scale.proj.2.weight", None, "missing tensors: .*depth_scale.proj.2"),
        ("patch_embed_encoder.blocks", None, "missing tensors: patch_embed_encoder.blocks.0"),
    ],
)
def test_shapes_that_tell_no_configuration_are_named(checkpoint, name, shape, message):
    def damage(tensors):
        if shape is not None:
            tensors[name] = torch.zeros(shape)
            return
        for stored in [stored for stored in tensors if stored.startswith(name)]:
            del tensors[stored]

    rewrite(checkpoint, damage)
    (checkpoint / "config.json").unlink()
    with pytest.raises(WeightsError, match=rf"model\.safetensors: no config\.json beside it, .*{message}"):
        Dvlt.from_pretrained(checkpoint)
