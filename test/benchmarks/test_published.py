"""The published code beside ours, with a stand-in that has its three calls."""

import importlib
import re
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
STAND_IN = """
from torch import nn
from dvlt_ros.model import Dvlt


class DVLT(nn.Module):
    def __init__(self, img_size):
        super().__init__()
        self.img_size = img_size

    def load_pretrained(self, path, strict):
        assert strict
        self.network = Dvlt.from_pretrained(path)

    def setup_test(self, accelerator):
        self.is_set_up = accelerator.device.type

    def predict(self, batch, accelerator):
        assert self.is_set_up
        with accelerator.autocast():
            return {"depths": 2 * self.network(batch["images"]).depth.unsqueeze(-1)}
"""


@pytest.fixture
def published(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("published")


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    (tmp_path / "checkout" / "network").mkdir(parents=True)
    (tmp_path / "checkout" / "network" / "model.py").write_text(STAND_IN)
    yield tmp_path / "checkout"
    for name in [name for name in sys.modules if name == "network" or name.startswith("network.")]:
        del sys.modules[name]


def test_both_are_timed_on_the_same_weights_and_agree(published, checkout, make_model, tmp_path, capsys):
    make_model(image_size=56).save_pretrained(tmp_path / "weights")
    published.main(
        [
            "--published",
            str(checkout),
            "--weights",
            str(tmp_path / "weights"),
            "--views",
            "2",
            "--size",
            "56x42",
            "--repeats",
            "2",
        ]
    )
    row = capsys.readouterr().out.splitlines()[-1].split()
    assert row[:2] == ["2", "56x42"]
    assert float(row[2]) > 0
    assert float(row[4]) == pytest.approx(float(row[2]) / float(row[3]), abs=0.02 + 0.1 / float(row[3]) * float(row[4]))
    assert float(row[-1]) < 1e-4  # twice the depth is the same depth, up to scale


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("x = 1\n", "no module has it"),
        ("import not_there_at_all\n\nclass DVLT: pass\n", "ModuleNotFoundError: No module named 'not_there_at_all'"),
    ],
)
def test_a_checkout_without_the_class_is_refused_with_the_cause(published, tmp_path, content, message):
    (tmp_path / f"module_{len(content)}.py").write_text(content)
    with pytest.raises(SystemExit, match=re.escape(message)):
        published.main(["--published", str(tmp_path), "--weights", "embedded"])


def test_a_prediction_without_depth_is_refused(published):
    with pytest.raises(published.InputError, match="no tensor `depths`, it is dict"):
        published.depth_of({"points": torch.zeros(1)})
    assert published.depth_of({"depths": torch.zeros(1, 2, 3, 4, 1)}).shape == (1, 2, 3, 4)
