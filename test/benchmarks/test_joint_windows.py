"""Two submaps in a joint window, by the network alone and refined, measured on a few rendered frames."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

pytest.importorskip("evo", reason="evo is not here; pip install '.[evaluation]' brings it and runs this")

import joint_windows
import numpy as np
import torch
from joint_windows import mapped, shares
from trajectories.sequences import rendered

from dvlt_ros.checkpoints import EMBEDDED_WEIGHTS
from dvlt_ros.mapping.inference.dvlt_predictor import DvltPredictor
from dvlt_ros.model import Dvlt


@pytest.fixture(scope="module")
def recording():
    return rendered("tabletop", 3, 24, 7.5, (90, 120))


def test_a_frame_shares_itself_and_not_what_lies_behind_the_camera(recording):
    assert shares(recording, 0, 0)
    turned = recording.world_from_cam.copy()
    turned[1] = turned[0] @ np.diag([-1.0, 1.0, -1.0, 1.0])
    assert not shares(replace(recording, world_from_cam=turned), 0, 1)


def test_both_ways_go_through_the_same_pairs(monkeypatch, capsys):
    monkeypatch.setattr(joint_windows, "OVERLAP", 0.0)
    arguments = "--synthetic tabletop:3 --frames 24 --size 90 120 --pairs 1 --steps 2 --max-residual 1 --device cpu"
    ((tried, outcomes),) = joint_windows.main(arguments.split())
    assert set(outcomes) == {"network", "refined"}
    assert {len(outcome.milliseconds) for outcome in outcomes.values()} == {tried}
    printed = capsys.readouterr().out
    assert f"/{tried}" in printed


def test_the_maps_unit_is_that_of_the_truth(recording):
    predictor = DvltPredictor(Dvlt.from_pretrained(EMBEDDED_WEIGHTS), torch.device("cpu"))
    submaps, metres = mapped(recording, predictor)
    assert len(submaps) >= 1
    assert math.isfinite(metres)
    assert metres > 0
