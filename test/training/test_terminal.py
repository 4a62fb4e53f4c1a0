"""What a run tells its user: time left by the clock, and at its end the commands that go on."""

import re

import pytest

pytest.importorskip("accelerate", reason="needs the training extra: pip install '.[training]'")
pytest.importorskip("hydra", reason="needs the training extra: pip install '.[training]'")

from hydra import compose, initialize_config_module

from dvlt_ros.errors import ConfigError
from dvlt_ros.model import Dvlt
from dvlt_ros.training.config import TrainConfig, from_hydra
from dvlt_ros.training.evaluate import Comparison, frame_range, gate_line
from dvlt_ros.training.evaluation.candidates import Candidate
from dvlt_ros.training.optimisation.state import Progress
from dvlt_ros.training.optimisation.terminal import ProgressBar, next_commands


def configuration(*overrides: str, hydra: bool = False):
    with initialize_config_module("dvlt_ros.training.configs", version_base="1.3"):
        composed = compose("train", list(overrides), return_hydra_config=hydra)
    return composed if hydra else from_hydra(composed)


def test_the_bar_goes_by_the_clock_where_the_clock_ends_the_run(capsys):
    config = TrainConfig(total_steps=100_000, total_minutes=9.0)
    bar = ProgressBar(config, Progress(), is_shown=True)
    bar.update(Progress(step=1, minutes=3.0))  # whatever the start took
    bar._bar.start_t -= 90  # seconds
    bar.update(Progress(step=60, minutes=4.5), {"loss": "1.2"})
    bar.close()
    shown = capsys.readouterr().err
    assert " 50 %" in shown
    assert "04:30 left" in shown  # of nine minutes
    assert "updates=60" in shown
    assert "100000" not in shown


@pytest.mark.parametrize(
    ("step", "minutes", "total_minutes", "share"),
    [(60, 4.5, 9.0, 0.5), (900, 1.0, 9.0, 0.9), (500, 100.0, None, 0.5), (1001, 9.1, 9.0, 1.0)],
)
def test_a_run_is_as_far_as_the_further_of_updates_and_time(step, minutes, total_minutes, share):
    progress = Progress(step=step, minutes=minutes)
    assert progress.done(1000, total_minutes) == pytest.approx(share)
    assert progress.finished(1000, total_minutes) == (share == 1)


def test_a_finished_run_names_its_checkpoint_and_the_commands_that_go_on():
    config = configuration("recipe=nano_finetune", "data.folders=[{path: recordings/kitchen, frames: [0, 75]}]")
    said = next_commands(config)
    assert "checkpoint: outputs/nano_finetune/last" in said
    assert "outputs/nano_finetune/last --gate dvlt-nano --data recordings/kitchen --frames 75\n" in said
    assert re.search(r"weights:=/\S*/outputs/nano_finetune/last$", said)


def test_a_folder_that_is_trained_on_whole_has_no_frames_to_judge_on():
    said = next_commands(configuration("recipe=nano_finetune", "data.folders=[{path: recordings/kitchen}]"))
    assert "has not seen" not in said
    assert "--gate dvlt-nano" in said


def test_files_of_states_are_not_announced_one_by_one():
    logging = configuration("recipe=tiny", hydra=True).hydra.job_logging
    assert logging.loggers.accelerate.level == "WARNING"
    assert logging.root.level == "INFO"


def test_the_embedded_checkpoint_is_found_by_its_name_from_everywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    candidate = Candidate.parse("embedded")
    assert (candidate.weights, candidate.num_steps) == ("embedded", Dvlt.from_pretrained().config.num_steps)


@pytest.mark.parametrize(
    ("metric", "low", "high", "verdict"),
    [
        ("abs_rel", -0.05, -0.02, "better"),
        ("abs_rel", 0.02, 0.05, "worse"),
        ("abs_rel", -0.05, 0.01, "no clear difference"),
        ("auc@30", 0.02, 0.05, "better"),
        ("auc@30", -0.05, -0.02, "worse"),
        ("auc@30", 0.0005, 0.0008, "no clear difference"),
    ],
)
def test_the_gate_says_better_where_it_is(metric, low, high, verdict):
    comparison = Comparison(metric, old=0.3, difference=(low + high) / 2, low=low, high=high, margin=0.01)
    assert comparison.verdict == verdict
    assert str(comparison).endswith(verdict)
    line = gate_line([comparison], "new", "old")
    assert (f"better in {metric}" in line, f"worse in {metric}" in line) == (verdict == "better", verdict == "worse")


def test_frames_are_told_as_in_training():
    assert (frame_range([75]), frame_range([0, 75])) == ((75, None), (0, 75))
    for bad in ([1, 2, 3], [-5]):
        with pytest.raises(ConfigError, match="--frames"):
            frame_range(bad)
