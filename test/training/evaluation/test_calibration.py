"""How much of the least confident is worth leaving out."""

import numpy as np
import pytest
import torch

from dvlt_ros.errors import ConfigError
from dvlt_ros.model import DvltConfig
from dvlt_ros.training.evaluation.calibration import LARGEST_SHARE, PAYS, plot_curves, share_that_pays
from dvlt_ros.training.evaluation.metrics import Sparsification, sparsification


def curves(bins: list[float], count: int = 30, spread: float = 0.05) -> list[Sparsification]:
    """Windows whose twentieths err by ``bins``, give or take."""
    rng = np.random.default_rng(0)
    made = []
    for _ in range(count):
        error = torch.from_numpy(np.repeat(bins, 50) * rng.normal(1, spread))
        confidence = torch.arange(len(error)).double()
        made.append(sparsification(error, confidence, torch.ones(len(error), dtype=torch.bool), steps=len(bins)))
    return made


def test_bins_are_left_out_as_long_as_each_errs_much_more_than_what_stays():
    assert share_that_pays({"a": curves([0.9, 0.8, 0.7] + 17 * [0.1])}) == pytest.approx(0.15)
    assert share_that_pays({"a": curves([0.1, 0.9] + 18 * [0.1])}) == 0.0  # the least confident ones are no worse
    assert share_that_pays({"a": curves([0.1 * 0.99 * PAYS] + 19 * [0.1])}) == 0.0


def test_it_must_pay_in_every_set():
    good, flat = curves([0.9] * 4 + 16 * [0.1]), curves(20 * [0.1])
    assert share_that_pays({"a": good}) == pytest.approx(0.2)
    assert share_that_pays({"a": good, "b": flat}) == 0.0


def test_not_more_than_half_is_left_out():
    assert share_that_pays({"a": curves([3.0**-i for i in range(20)])}) == LARGEST_SHARE


def test_the_picture_names_every_set(tmp_path):
    pytest.importorskip("matplotlib")
    said = plot_curves(tmp_path / "curves.png", {"here": curves(20 * [0.1]), "there": curves(20 * [0.2])}, "nano")
    assert [line.partition(":")[0] for line in said.splitlines()] == ["here", "there"]
    assert (tmp_path / "curves.png").stat().st_size > 10_000


def test_a_checkpoint_keeps_its_share(tmp_path):
    path = tmp_path / "config.json"
    path.write_text('{"confidence_cut_share": 0.25}')
    assert DvltConfig.from_file(path).confidence_cut_share == 0.25
    assert DvltConfig(confidence_cut_share=0.25).to_dict()["confidence_cut_share"] == 0.25
    assert "confidence_cut_share" not in DvltConfig().to_dict()  # other loaders never meet it
    for bad in (-0.1, 1.0, "half", True):
        with pytest.raises(ConfigError, match="confidence_cut_share"):
            DvltConfig(confidence_cut_share=bad)
