"""The command from data to report, and what it refuses."""

import re
import subprocess
import sys
import textwrap

import matplotlib.image
import pytest
from protocol_runs import strict_json

from dvlt_ros.errors import ConfigError
from dvlt_ros.training.benchmarking import command
from dvlt_ros.training.benchmarking.sets import chosen_sets
from dvlt_ros.training.prepare.jobs import SETTINGS_FILE


class Shelf:
    """What `training.data.benchmarks` has for one data set."""

    title = "My rooms"

    def __init__(self, recorded, names):
        self.recorded, self.names = recorded, names

    def sequences(self, root):
        return list(self.names)

    def open(self, root, name):
        return self.recorded[name]


def run_command(*options):
    with pytest.raises(SystemExit) as ended:
        command.main([str(option) for option in options])
    return ended.value.code


def test_the_command_from_data_to_report_with_a_data_set_of_ones_own(recorded, monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(command.BENCHMARKS, "mine", Shelf(recorded, ["f-good", "a-hidden-frame"]))
    options = ("--data-root", tmp_path, "--datasets", "mine", "--output", tmp_path / "out", "--steps", 2)
    assert run_command(*options, "--half-pixel", "consistent") == 1
    (text,) = (tmp_path / "out").glob("dvlt/*/report.md")
    said = text.read_text()
    assert "**1 failed**" in said
    assert "a-hidden-frame_1.png: missing image" in said
    assert "Déjà View**, consistent half-pixels" in said
    (picture,) = re.findall(r"!\[.*\]\((.*)\)", said)
    assert matplotlib.image.imread(text.parent / picture).shape[2] == 4
    assert strict_json((text.parent / picture).with_name("metrics.json"))["run"]["num_steps"] == 2
    assert "a-hidden-frame" in capsys.readouterr().out
    monkeypatch.setattr(command.time, "strftime", lambda *_: text.parent.name)  # at the same second
    assert run_command(*options, "--first", 1) == 0  # only the first of both, which is sound
    assert len(list((tmp_path / "out").glob("dvlt/*/report.md"))) == 2


def test_the_command_refuses_before_it_begins(tmp_path, capsys):
    missing = tmp_path / "missing"
    for options, words in {
        ("--data-root", missing): "missing: no such folder",
        ("--data-root", tmp_path, "--datasets", "kitti"): "no data set kitti; there are dtu",
        ("--data-root", tmp_path, "--image-size", "100"): "must be a multiple of 14, got 100",
        ("--data-root", tmp_path, "--first", "0"): "at least 1",
        ("--data-root", tmp_path, "--weights", missing): "missing",
        ("--data-root", tmp_path, "--device", "abacus"): "device 'abacus' is not here",
        ("--data-root", tmp_path, "--preset", "benchmark", "--datasets", "dtu"): "not allowed with argument",
    }.items():
        assert run_command(*options) == 2
        assert words in capsys.readouterr().err


def test_depth_that_was_prepared_otherwise_is_marked(recorded, monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(command.BENCHMARKS, "mine", Shelf(recorded, ["f-good"]))
    settings = tmp_path / "mine" / SETTINGS_FILE
    settings.parent.mkdir()
    settings.write_text('{"half_pixel": "consistent"}')
    options = ("--data-root", tmp_path, "--datasets", "mine", "--output", tmp_path / "out", "--steps", 2)
    assert run_command(*options) == 0
    (text,) = (tmp_path / "out").glob("dvlt/*/report.md")
    assert "Does not compare: My rooms: depth prepared with consistent half-pixels" in text.read_text()
    settings.write_text("{}")
    assert run_command(*options) == 2
    assert f"{SETTINGS_FILE}: unreadable" in capsys.readouterr().err


def test_an_output_that_cannot_be_written_is_said_at_once(monkeypatch, recorded, tmp_path, capsys):
    monkeypatch.setitem(command.BENCHMARKS, "mine", Shelf(recorded, ["f-good"]))
    (tmp_path / "file").write_text("")
    assert run_command("--data-root", tmp_path, "--datasets", "mine", "--output", tmp_path / "file") == 2
    assert "cannot be made: Not a directory" in capsys.readouterr().err


def test_presets_are_the_published_ones():
    everything = ["dtu", "eth3d", "sevenscenes", "scannetpp", "nuscenes"]
    assert set(everything) <= set(command.BENCHMARKS)
    assert chosen_sets("benchmark", None, everything) == tuple(everything)
    assert chosen_sets("benchmark_lite", None, everything) == ("dtu", "eth3d", "sevenscenes")
    with pytest.raises(ConfigError, match="no data set kitti"):
        chosen_sets(None, ["kitti", "dtu"], everything)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the peak memory from /proc")
def test_forty_views_stay_below_four_gib(tmp_path):
    code = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        import numpy as np, torch
        torch.set_num_threads(1)
        from dvlt_ros.benchmark import peak_memory_mib
        from dvlt_ros.backends import load_model
        from dvlt_ros.training.batches.augment import Frame
        from dvlt_ros.training.benchmarking.results import Run
        from dvlt_ros.training.benchmarking.runner import DataSet, Protocol, run_set

        class Forty:
            name = "forty"
            def __len__(self):
                return 40
            def frame(self, index):
                rng = np.random.default_rng(index)
                pose, intrinsics = np.eye(4), np.array([[500.0, 0, 320], [0, 500, 240], [0, 0, 1]])
                pose[0, 3] = 0.1 * index
                depth = rng.uniform(1, 3, (480, 640)).astype(np.float32)
                return Frame(rng.integers(0, 256, (480, 640, 3), dtype=np.uint8), depth, pose, intrinsics)

        model = load_model("dvlt")
        protocol = Protocol(model.image_size, 2, conventions=("published", "consistent"))
        run = Run("dvlt", "", 2, model.image_size, "float32", "median", "off", "")
        data_set = DataSet("forty", "Forty", lambda: ["forty"], lambda name: Forty())
        result = run_set(data_set, model, protocol, run, Path(sys.argv[1]))
        assert not result.failures, result.failures
        print(peak_memory_mib(torch.device("cpu")))
        """
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], check=True, capture_output=True, text=True, timeout=240
    )
    assert float(ended.stdout) < 4096
