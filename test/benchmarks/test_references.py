"""The figures of several references: each metric of each run, for every window, and intervals of the differences."""

from __future__ import annotations

import pytest
import torch
from references import LOWER_IS_BETTER, figures, report

from dvlt_ros.fast import FastDvlt
from dvlt_ros.training.synthetic import load_benchmark


@pytest.mark.filterwarnings("ignore:Mean of empty slice", "ignore:invalid value")  # random weights: no poses
def test_every_metric_has_its_rows(make_model):
    with torch.inference_mode():
        network = FastDvlt(make_model(num_steps=4, min_steps=2))
        found = figures(network, load_benchmark().batches(batch=1, count=2), 4, [2])
    table = report(found, 4)
    assert set(table) == set(LOWER_IS_BETTER)
    assert list(table["abs_rel"])[4:] == ["M = 2, K = 4 against M = 1, K = 4", "M = 2, K = 2 against M = 1, K = 4"]
    best, mean = (float(table["abs_rel"][row]) for row in ("best of all references", "mean over references"))
    assert best <= mean
