"""The trainer end to end, on a small recording: it learns, resumes exactly, and splits over processes."""

import itertools
import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

pytest.importorskip("accelerate", reason="needs the training extra: pip install '.[training]'")
pytest.importorskip("hydra", reason="needs the training extra: pip install '.[training]'")

from hydra import compose, initialize_config_module

from dvlt_ros.errors import ConfigError
from dvlt_ros.model import Dvlt, DvltConfig
from dvlt_ros.training.batches.augment import Frame
from dvlt_ros.training.config import ModelSource, Optimizer, TrainConfig, from_hydra
from dvlt_ros.training.data.writer import SequenceWriter
from dvlt_ros.training.optimisation import accelerating
from dvlt_ros.training.optimisation.parameters import MODES, NEVER_USED, build_model, freeze, groups, part_of
from dvlt_ros.training.optimisation.schedule import learning_rate_factor
from dvlt_ros.training.train import DivergedError, notice_of, train

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def recording(tmp_path_factory) -> Path:
    """Eight frames that slide past a sloped, patterned wall."""
    path = tmp_path_factory.mktemp("data") / "wall"
    rows, cols = np.mgrid[0:45, 0:60].astype(np.float32)
    with SequenceWriter(path) as writer:
        for i in range(8):
            pose = np.eye(4)
            pose[0, 3] = 0.05 * i
            pattern = 127 + 120 * np.sin(0.3 * cols + 0.5 * i) * np.cos(0.2 * rows)
            image = np.repeat(pattern[..., None].astype(np.uint8), 3, axis=-1)
            intrinsics = np.array([[50.0, 0, 30], [0, 50, 22.5], [0, 0, 1]])
            writer.add(Frame(image, 2 + 0.01 * cols, pose, intrinsics), stamp_ns=i * 100_000_000)
    return path


def configuration(recording: Path, output: Path, *overrides: str) -> TrainConfig:
    with initialize_config_module("dvlt_ros.training.configs", version_base="1.3"):
        composed = compose("train", [
            "recipe=tiny", f"output={output}", "data.synthetic_share=0", "data.folder_share=1",
            f"data.folders=[{{path: {recording}}}]", "validation.windows=0", "log_with=none", *overrides,
        ])  # fmt: skip
    return from_hydra(composed)


@pytest.fixture(scope="module")
def trained(recording, tmp_path_factory) -> Path:
    """The output of a run that has learned something."""
    output = tmp_path_factory.mktemp("trained") / "run"
    train(configuration(recording, output, "total_steps=40", "optimizer.learning_rate=3e-3", "log_with=tensorboard"))
    return output


def weights(output: Path) -> dict[str, torch.Tensor]:
    return load_file(output / "last" / "model.safetensors")


def test_a_resumed_run_equals_the_uninterrupted_one_exactly(recording, tmp_path):
    train(configuration(recording, tmp_path / "whole"))
    train(configuration(recording, tmp_path / "split", "total_steps=10", "schedule_steps=20"))
    train(configuration(recording, tmp_path / "split"))
    whole, split = weights(tmp_path / "whole"), weights(tmp_path / "split")
    assert whole.keys() == split.keys()
    different = [name for name in whole if not torch.equal(whole[name], split[name])]
    assert different == []


def test_a_run_ends_by_the_clock_complete(recording, tmp_path, monkeypatch):
    """Whatever a machine manages in its time: rate at its end, checkpoints, a good state."""
    from dvlt_ros.training import train as module

    def run(*overrides: str) -> list[str]:
        minutes = itertools.count(1)  # every update takes one
        monkeypatch.setattr(module, "minutes_since", lambda started, accelerator: float(next(minutes)))
        train(configuration(recording, tmp_path, "total_steps=1000", "total_minutes=10", "save_every=4", *overrides))
        return sorted(state.name for state in (tmp_path / "states").iterdir())

    assert run("log_with=tensorboard") == ["step-0000008", "step-0000010"]
    assert logged(tmp_path, "train/learning_rate")[-1] < 0.05 * Optimizer().learning_rate
    assert weights(tmp_path)
    assert run() == ["step-0000008", "step-0000010"]  # nothing is left to do


def test_training_lowers_the_loss_and_leaves_a_loadable_checkpoint(trained):
    losses = logged(trained, "train/total")
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:5])
    assert Dvlt.from_pretrained(trained / "last").config.num_steps == 4
    assert not list(trained.rglob("*.partial"))


def logged(output: Path, name: str) -> list[float]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(output / "logs"))
    events.Reload()
    return [event.value for event in events.Scalars(name)]


def test_two_processes_agree_with_one_on_the_same_batches(recording, tmp_path):
    """Gloo on the CPU: one process with four scenes, two processes with two each."""
    common = ["total_steps=4", "save_every=4", "shapes.views=[2, 2]", "model.config.drop_path=0.0", "loss.match=1.0"]
    train(configuration(recording, tmp_path / "one", *common, "shapes.images_per_step=8"))
    overrides = [
        "recipe=tiny", f"output={tmp_path / 'two'}", "data.synthetic_share=0", "data.folder_share=1",
        f"data.folders=[{{path: {recording}}}]", "validation.windows=0", "log_with=none",
        *common, "shapes.images_per_step=4",
    ]  # fmt: skip
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run([*command, "-m", "dvlt_ros.training.train", *overrides], check=True, env=environment, cwd=ROOT)
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    for name in one:
        torch.testing.assert_close(two[name], one[name], rtol=0, atol=1e-5, msg=name)


def test_updates_without_a_finite_gradient_are_skipped_and_end_the_run_with_a_saved_state(
    recording, tmp_path, monkeypatch
):
    from dvlt_ros.training import train as module

    real = module.compute_losses

    def broken(prediction, targets, config):
        terms = real(prediction, targets, config)
        return type(terms)(**(vars(terms) | {"total": terms.total * torch.nan}))

    monkeypatch.setattr(module, "compute_losses", broken)
    config = configuration(recording, tmp_path, "max_bad_steps=3")
    with pytest.raises(DivergedError, match="3 updates in a row had no finite gradient"):
        train(config)
    assert [state.name for state in (tmp_path / "states").iterdir()] == ["step-0000003"]
    stored = load_file(tmp_path / "states/step-0000003/model.safetensors")
    assert all(value.isfinite().all() for value in stored.values())


def test_a_logger_that_is_not_installed_is_an_error(recording, tmp_path, monkeypatch):
    monkeypatch.setattr(accelerating, "is_wandb_available", lambda: False)
    with pytest.raises(ConfigError, match=r"pip install 'wandb>=0\.31,<0\.32'"):
        train(configuration(recording, tmp_path, "log_with=wandb"))


def test_the_notice_of_a_checkpoint_goes_with_what_begins_from_it(recording, trained, tmp_path):
    begun = tmp_path / "begun"
    shutil.copytree(trained / "last", begun)
    assert notice_of(configuration(recording, tmp_path, f"model.checkpoint={begun}")) is None
    (begun / "NOTICE").write_text("DINOv2, Copyright (c) Meta Platforms\n")
    train(configuration(recording, tmp_path / "run", f"model.checkpoint={begun}", "total_steps=1"))
    assert (tmp_path / "run" / "last" / "NOTICE").read_text() == "DINOv2, Copyright (c) Meta Platforms\n"


def test_accumulated_batches_give_one_update(recording, tmp_path):
    train(configuration(recording, tmp_path / "run", "total_steps=2", "accumulation=2", "save_every=2"))
    assert weights(tmp_path / "run")


@pytest.mark.parametrize("mode", MODES)
def test_finetune_modes_train_their_parts_alone(make_model, mode):
    model = make_model()
    freeze(model, mode)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    parts = {part_of(name) for name, _ in model.named_parameters()}
    assert {part_of(name) for name in trained} == set(MODES[mode]) & parts
    assert NEVER_USED not in trained
    config = Optimizer()
    for group in groups(model, config):
        expected = config.learning_rate * (config.encoder_factor if group["name"] == "encoder" else 1)
        assert group["lr"] == expected
    assert sum(len(group["params"]) for group in groups(model, config)) == len(trained)


def test_of_the_encoder_its_last_blocks_can_be_trained_alone(make_model):
    model = make_model(encoder_depth=3, match_taps=(1,), match_channels=8)
    freeze(model, "everything", encoder_blocks=2)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    encoder = {name for name in trained if part_of(name) == "encoder"}
    assert {name.split(".")[2] for name in encoder} == {"1", "2"}
    others = {name for name, _ in model.named_parameters() if part_of(name) != "encoder"}
    assert others <= trained  # descriptors, too
    with pytest.raises(ConfigError, match="encoder_blocks is 4, and the encoder has 3"):
        freeze(model, "everything", encoder_blocks=4)
    with pytest.raises(ConfigError, match="encoder_blocks must be at least 1, with trainable=everything"):
        TrainConfig(trainable="heads", encoder_blocks=1)


def test_training_goes_on_from_the_embedded_checkpoint():
    assert build_model(ModelSource(checkpoint="embedded")).config == Dvlt.from_pretrained().config


def test_stage_two_puts_a_new_depth_head_on_old_weights(make_model, tmp_path):
    first = make_model(depth_head_type="linear")
    first.save_pretrained(tmp_path)
    head = {"depth_head_type": "conv", "depth_head_channels": (32, 16, 16)}
    source = ModelSource(config=asdict(DvltConfig(**head)), checkpoint=str(tmp_path), new_depth_head=True)
    second = build_model(source)
    assert second.config == replace(first.config, **head)
    old, new = first.state_dict(), second.state_dict()
    kept = [name for name in new if name in old and torch.equal(old[name], new[name])]
    assert all(name in kept for name in old if not name.startswith("depth_decoder.head"))


def test_the_learning_rate_warms_up_and_falls_to_its_end():
    optimizer = Optimizer(warmup_steps=10, final_factor=0.1)
    factors = [learning_rate_factor(step, optimizer, 100) for step in range(101)]
    assert factors[0] == pytest.approx(0.1)
    assert factors[10] == pytest.approx(1.0)
    assert factors[100] == pytest.approx(0.1)
    assert factors[10:] == sorted(factors[10:], reverse=True)
    assert learning_rate_factor(20, optimizer, 100, spent=1.0) == pytest.approx(0.1)  # the clock is further along
    assert learning_rate_factor(0, optimizer, 100, spent=1.0) == pytest.approx(0.1)  # still warming up


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("total_minutes=0", "total_minutes must be above 0"),
        ("model.start.layer_scale=0", "model.start.layer_scale must be above 0"),
        ("loss.gauge=-1", "loss.gauge must be at least 0"),
        ("optimizer.learning_rate=-1", "optimizer.learning_rate must be above 0"),
        ("+optimizer.speed=3", "speed"),
        ("+model.config.colour=red", "colour"),
        ("total_steps=many", "total_steps"),
        ("trainable=nothing", "trainable"),
        ("data.folder_share=0", "data shares"),
        ("shapes.views=[4, 2]", "shapes.views"),
    ],
)
def test_bad_configurations_are_refused_by_name(recording, tmp_path, override, message):
    with pytest.raises(ConfigError, match=message):
        configuration(recording, tmp_path, override)


@pytest.mark.parametrize("recipe", sorted(path.stem for path in (ROOT / "training/configs/recipe").glob("*.yaml")))
def test_every_recipe_is_a_valid_configuration(recipe):
    with initialize_config_module("dvlt_ros.training.configs", version_base="1.3"):
        assert from_hydra(compose("train", [f"recipe={recipe}", "data.folders=[{path: mine}]"])).total_steps > 0


def test_evaluate_prints_a_row_per_k_and_the_gate_refuses_a_worse_network(
    recording, trained, tmp_path, make_model, capsys
):
    pytest.importorskip("matplotlib")
    from dvlt_ros.training import evaluate

    make_model(image_size=56).save_pretrained(tmp_path / "bad")
    good, bad = str(trained / "last"), str(tmp_path / "bad")
    common = ["--data", str(recording), "--views", "2", "--steps", "4", "--device", "cpu"]

    report, picture, curves = (tmp_path / name for name in ("report.json", "grid.png", "curves.png"))
    written = ["--json", str(report), "--pictures", str(picture), "--sparsification", str(curves)]
    with pytest.raises(SystemExit) as passed:
        evaluate.main([good, *common, "--gate", bad, *written])
    assert passed.value.code == 0
    rows = json.loads(report.read_text())["results"]
    assert [row["K"] for row in rows] == [4, 4]
    assert rows[0]["abs_rel"] < rows[1]["abs_rel"]
    assert min(picture.stat().st_size, curves.stat().st_size) > 10_000
    assert "a perfect ranking" in capsys.readouterr().out
    with pytest.raises(SystemExit) as refused:
        evaluate.main([bad, *common, "--gate", good])
    assert refused.value.code == 1
    assert "worse" in capsys.readouterr().out
