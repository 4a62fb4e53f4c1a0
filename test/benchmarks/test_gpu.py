"""The one command for a GPU, with stand-ins on a CPU: order, time limits, failures, starting again."""

import importlib
import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SLEEP = "import time; print('began', flush=True); time.sleep(600)"


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    for name in [name for name in sys.modules if name == "benchmarks" or name.startswith("benchmarks.")]:
        monkeypatch.delitem(sys.modules, name)
    return importlib.import_module("benchmarks.gpu.__main__")


@pytest.fixture
def started(gpu, monkeypatch, tmp_path):
    """Starts the command with these parts instead of the real ones; returns its exit status and the report."""

    def start(parts, *arguments):
        monkeypatch.setattr(gpu, "plan", lambda *_: [gpu.Part(name, ("-c", code), m) for name, code, m in parts])
        with pytest.raises(SystemExit) as end:
            gpu.main(["--output", str(tmp_path), *arguments])
        return end.value.code, json.loads((tmp_path / gpu.REPORT).read_text())

    return start


def test_the_time_is_planned_and_the_smoke_test_comes_first(gpu, tmp_path):
    parts = gpu.plan(25, tmp_path, "cuda", "dinov2", small=False)
    assert [part.name for part in parts] == ["smoke", "speed", "train", "evaluate"]
    assert sum(part.minutes for part in parts) == pytest.approx(25)
    assert max(parts, key=lambda part: part.minutes).name == "train"
    assert "recipe=small" in parts[2].command
    assert "recipe=nano" in gpu.plan(25, tmp_path, "cuda", "", small=False)[2].command


def test_every_command_of_the_plan_takes_its_options(gpu, tmp_path):
    """Each program parses what the plan gives it, so that the first try on a GPU does not end there."""
    for part in gpu.plan(25, tmp_path, "cpu", "", small=False):
        if part.name == "train":
            continue  # Hydra parses while it runs: see the next test
        parser_only = (*part.command, "--help")
        outcome = gpu.run(gpu.Part(part.name, parser_only, 2.0), tmp_path)
        assert (outcome.end, outcome.exit_status) == ("finished", 0)
        known = (tmp_path / outcome.log).read_text()
        assert all(option in known for option in part.command if option.startswith("--"))


def test_training_takes_its_options(gpu, tmp_path):
    train = gpu.plan(25, tmp_path, "cpu", "", small=False)[2]
    outcome = gpu.run(gpu.Part("train", (*train.command, "--cfg", "job"), 2.0), tmp_path)
    assert outcome.end == "finished"
    shown = (tmp_path / outcome.log).read_text()
    assert f"output: {tmp_path / 'training'}" in shown
    assert "total_minutes: 11.88" in shown


def test_training_goes_on_for_as_long_again(gpu, tmp_path):
    train = gpu.plan(25, tmp_path, "cpu", "", small=False, trained_minutes=10.0)[2]
    assert "total_minutes=21.88" in train.command


def test_a_part_that_fails_or_takes_too_long_does_not_stop_the_next(started, tmp_path):
    parts = [("smoke", "raise SystemExit(3)", 1.0), ("speed", SLEEP, 0.0), ("train", "print('trained')", 1.0)]
    status, report = started(parts)
    assert status == 1
    assert (report["smoke"]["end"], report["smoke"]["exit_status"]) == ("failed", 3)
    assert report["speed"]["end"] == "left out"
    assert report["train"]["end"] == "finished"
    assert "trained" in (tmp_path / report["train"]["log"]).read_text()


def test_a_part_out_of_time_is_ended_and_what_it_printed_is_kept(gpu, tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "LEAST_MINUTES", 0.0)
    outcome = gpu.run(gpu.Part("speed", ("-c", SLEEP), 0.1), tmp_path)
    assert outcome.end == "out of time"
    assert (tmp_path / outcome.log).read_text() == "began\n"


def test_started_again_it_goes_on(started, tmp_path):
    count = f"open({str(tmp_path / 'count')!r}, 'a').write('x')"
    parts = [("speed", count, 1.0), ("train", count, 1.0)]
    assert started(parts)[0] == 0
    assert started(parts)[0] == 0
    assert (tmp_path / "count").read_text() == "xxx"  # training goes on, speed is known
    started(parts, "--anew")
    assert (tmp_path / "count").read_text() == "xxxxx"


def test_the_smoke_test_passes_on_this_cpu(gpu, tmp_path):
    outcome = gpu.run(gpu.Part("smoke", ("-m", "benchmarks.gpu.smoke", "--device", "cpu"), 5.0), tmp_path)
    said = (tmp_path / outcome.log).read_text()
    assert (outcome.end, said.count("ok      ")) == ("finished", 4), said
