"""Whole runs of the protocol: what fails is named and passed by, and the figures stand beside the published ones."""

import itertools
import re
from dataclasses import replace
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import torch
from protocol_runs import BROKEN, ORDER, strict_json

from dvlt_ros.backends import MultiViewPrediction, model_card
from dvlt_ros.errors import DataError
from dvlt_ros.training.benchmarking import report
from dvlt_ros.training.benchmarking.report import published, write_report
from dvlt_ros.training.benchmarking.results import Run, SequenceResult, SetResult, mean_over_sets
from dvlt_ros.training.benchmarking.runner import DataSet, Protocol, run_set
from dvlt_ros.training.benchmarking.sets import PRESETS

RUN = Run("Stand-in", "none", 1, 112, "float32", "median", "off", "a machine")


class Flat:
    """A wall straight ahead, whatever the images show."""

    card, device, image_size, min_steps, max_steps = model_card("dvlt"), torch.device("cpu"), 112, 1, 1

    def predict(self, images, num_steps=None):
        count, _, height, width = images.shape
        depth = torch.ones(count, height, width)
        intrinsics = torch.tensor([[100.0, 0, width / 2], [0, 100, height / 2], [0, 0, 1]]).expand(count, 3, 3)
        return MultiViewPrediction.of(depth, depth, intrinsics, torch.eye(4).expand(count, 4, 4))


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
