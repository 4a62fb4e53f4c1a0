"""Whole runs of the protocol: what fails is named and passed by, and the figures stand beside the published ones."""

import itertools
import json
import re
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import cv2
import matplotlib.image
import numpy as np
import pytest
import torch

from dvlt_ros.backends import MultiViewPrediction, model_card
from dvlt_ros.errors import ConfigError, DataError
from dvlt_ros.lens import Lens
from dvlt_ros.training.benchmarking import command, report
from dvlt_ros.training.benchmarking.report import published, write_report
from dvlt_ros.training.benchmarking.results import Run, SequenceResult, SetResult, mean_over_sets
from dvlt_ros.training.benchmarking.runner import DataSet, Protocol, run_set
from dvlt_ros.training.benchmarking.sets import PRESETS, chosen_sets
from dvlt_ros.training.data.readers.folder import DepthCoding, FolderSequence, FrameFiles
from dvlt_ros.training.prepare.jobs import SETTINGS_FILE

RUN = Run("Stand-in", "none", 1, 112, "float32", "median", "off", "a machine")
BROKEN = ("a-hidden-frame", "b-missing-depth", "c-wrong-unit", "d-empty", "e-bug")
ORDER = (*BROKEN, "f-good", "g-good")


class Flat:
    """A wall straight ahead, whatever the images show."""

    card, device, image_size, min_steps, max_steps = model_card("dvlt"), torch.device("cpu"), 112, 1, 1

    def predict(self, images, num_steps=None):
        count, _, height, width = images.shape
        depth = torch.ones(count, height, width)
        intrinsics = torch.tensor([[100.0, 0, width / 2], [0, 100, height / 2], [0, 0, 1]]).expand(count, 3, 3)
        return MultiViewPrediction.of(depth, depth, intrinsics, torch.eye(4).expand(count, 4, 4))


@pytest.fixture(scope="module")
def recorded(tmp_path_factory, box_scene):
    """Sequences on disk, by name, most of them broken in one way each."""
    root = tmp_path_factory.mktemp("sequences")

    def sequence(name, unit=1e-3):
        poses = box_scene.poses(3)
        files = []
        for i, pose in enumerate(poses):
            image, depth = box_scene.render(pose)
            stem = root / f"{name}_{i}"
            cv2.imwrite(f"{stem}.png", image[..., ::-1])
            cv2.imwrite(f"{stem}_depth.png", np.round(depth / unit).astype(np.uint16))
            lens = Lens(*box_scene.intrinsics[[0, 1, 0, 1], [0, 1, 2, 2]], box_scene.size, source=name)
            files.append(FrameFiles(f"{stem}.png", f"{stem}_depth.png", lens))
        return FolderSequence(name, tuple(files), poses, DepthCoding())

    sequences = {name: sequence(name) for name in ORDER}
    (root / "a-hidden-frame_1.png").rename(root / ".a-hidden-frame_1.png")
    (root / "b-missing-depth_2_depth.png").unlink()
    sequences["c-wrong-unit"] = sequence("c-wrong-unit", unit=1)  # metres as if they were millimetres
    sequences["d-empty"] = sequences["d-empty"].part(0, 0)
    return sequences


@pytest.fixture
def data_set(recorded):
    def opened(name):
        if name == "e-bug":
            raise KeyError("intrinsics")
        return recorded[name]

    return DataSet("dtu", "DTU", lambda: list(ORDER), opened)


@pytest.fixture
def result(data_set, tmp_path):
    protocol = Protocol(image_size=112, conventions=("published", "consistent"))
    return run_set(data_set, Flat(), protocol, RUN, tmp_path / "dtu")


def strict_json(path):
    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(path.read_text(), parse_constant=refuse)


def test_what_fails_is_named_with_file_and_cause_and_the_next_one_follows(result, tmp_path):
    assert [sequence.name for sequence in result.sequences] == ["f-good", "g-good"]
    causes = {failure.sequence: failure.cause for failure in result.failures}
    assert tuple(causes) == BROKEN
    for name, pattern in {
        "a-hidden-frame": r"a-hidden-frame_1\.png: missing image",
        "b-missing-depth": r"b-missing-depth_2_depth\.png: missing depth",
        "c-wrong-unit": r"c-wrong-unit_0_depth\.png: median depth .* millimetres",
        "d-empty": "d-empty: no frames",
        "e-bug": "KeyError: 'intrinsics'",
    }.items():
        assert re.search(pattern, causes[name]), causes[name]
    document = strict_json(tmp_path / "dtu" / "metrics.json")
    assert [failure["sequence"] for failure in document["failures"]] == list(BROKEN)
    assert document["listed"] == len(ORDER)


def test_the_file_has_every_sequence_and_its_means(result, tmp_path):
    document = strict_json(tmp_path / "dtu" / "metrics.json")
    assert set(document["per_sequence"]) == {"f-good", "g-good"}
    for convention in ("published", "consistent"):
        values = [sequence.metrics[convention]["rel_depth"] for sequence in result.sequences]
        stored = document["metrics"][convention]["rel_depth"]
        assert stored["mean"] == pytest.approx(np.mean(values))
        assert stored["std"] == pytest.approx(np.std(values))
        assert stored["sequences"] == 2
    assert document["per_sequence"]["g-good"]["views"] == 3
    assert "rel_world" not in document["metrics"]["published"]  # this model has no direct points
    assert matplotlib.image.imread(tmp_path / "dtu" / "page.png").shape[0] > 100


def test_a_data_set_that_is_not_there_is_a_failure_too(tmp_path):
    def missing():
        raise DataError("/data/eth3d: no such folder")

    for listed, cause in ((missing, "/data/eth3d: no such folder"), (list, "eth3d: no sequences")):
        result = run_set(DataSet("eth3d", "ETH3D", listed, None), Flat(), Protocol(112), RUN, tmp_path)
        assert [(f.sequence, f.cause) for f in result.failures] == [("eth3d", cause)]
        assert strict_json(tmp_path / "metrics.json")["failures"][0]["cause"] == cause
    write_report(tmp_path / "report.md", RUN, [result], {"eth3d": Path("eth3d")})
    assert "No sequence could be evaluated" in (tmp_path / "report.md").read_text()


def of(name, listed, *relative, failures=()):
    def metrics(rel):
        return dict.fromkeys(report.PER_SEQUENCE, 0.5) | {"rel_depth": rel, "ir_depth": rel}

    found = [SequenceResult(f"{name}{i}", 3, (84, 112), 1.0, {"published": metrics(r)}) for i, r in enumerate(relative)]
    titles = {"eth3d": "ETH3D", "sevenscenes": "7-Scenes"}
    return SetResult(name, titles.get(name, name), listed, tuple(found), failures)


def test_sequences_without_a_figure_are_left_out_and_counted_and_sets_weigh_the_same():
    some, all_ = of("dtu", 3, 0.1, float("nan"), 0.3), of("eth3d", 1, 0.6)
    assert some.summary()["rel_depth"].mean == pytest.approx(0.2)
    assert some.summary()["rel_depth"].std == pytest.approx(0.1)
    assert (some.summary()["rel_depth"].sequences, some.summary()["rel_depth"].skipped) == (2, 1)
    assert report.reservations(some) == ["dtu: 1 of these without an answer, which the mean leaves out"]
    assert mean_over_sets([some, all_], "rel_depth") == pytest.approx(0.4)
    assert np.isnan(mean_over_sets([some, of("nuscenes", 1, float("nan"))], "rel_depth"))


def test_the_published_table_gives_the_published_means():
    means = {
        "MASt3R": (38.3, 63.3), "MASt3R-SfM": (60.8, 82.5), "MapAnything": (69.0, 83.3), "Pi3": (77.4, 88.6),
        "VGGT": (66.0, 84.0), "VGGT-Ω": (74.8, 90.7), "DA3-L": (58.3, 79.7), "DA3-G": (66.5, 84.7),
        "DVLT paper": (80.3, 91.8),
    }  # fmt: skip
    table = published()
    assert set(table.methods) == {*means, "DVLT README"}
    for method, (inliers, auc) in means.items():
        assert table.mean(method, PRESETS["benchmark"], "ir_depth") == pytest.approx(inliers, abs=0.1)
        assert table.mean(method, PRESETS["benchmark"], "auc@30") == pytest.approx(auc, abs=0.1)  # both are rounded


def test_the_report_puts_ours_beside_theirs_and_marks_what_does_not_compare(tmp_path):
    eth3d = of("eth3d", 13, *[0.25] * 13)
    eth3d = replace(eth3d, sequences=(replace(eth3d.sequences[0], left_out=2), *eth3d.sequences[1:]))
    results = [eth3d, of("sevenscenes", 18, 0.5), of("mine", 1, 0.1)]
    path = tmp_path / "report.md"
    write_report(path, RUN, results, {result.name: Path("sets") / result.name for result in results})
    text = path.read_text()
    assert "| method | ETH3D | 7-Scenes | mine | mean |" in text
    assert "| **Stand-in** | 0.2500 / 25.0 / 50.0 / 50.0 | 0.5000 / 50.0 / 50.0 / 50.0 \\* |" in text
    assert "| 0.1000 / 10.0 / 50.0 / 50.0 | 28.3 / 50.0 \\* |" in text  # the mean is of what does not compare
    assert "| VGGT | 0.053 / 52.6 / 35.4 / 82.8 | 0.042 / 70.8 / 11.1 / 79.1 | – | – |" in text
    assert "7-Scenes: 1 of 18 sequences, published over 18" in text
    assert "ETH3D: 13 of 13" not in text.split("## ETH3D")[0]  # complete, so not among the marked ones
    assert "| eth3d0 | 3, 2 not on disk | 112 × 84 |" in text
    assert "| eth3d1 | 3 | 112 × 84 |" in text
    for is_table, lines in itertools.groupby(text.splitlines(), key=lambda line: line.startswith("|")):
        assert not is_table or len({line.count("|") for line in lines}) == 1


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
