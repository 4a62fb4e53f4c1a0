"""Real frames through the front end, measured: a few rendered ones, and odometry that walks away."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("evo", reason="evo is not here; pip install '.[evaluation]' brings it and runs this")

import real_trajectory
import torch
from real_trajectory import Run, by_odometry, depth_error, measured
from trajectories import classical
from trajectories.sequences import drifting, rendered

from dvlt_ros.errors import ConfigError, DataError
from dvlt_ros.geometry import rotation_angle


@pytest.fixture(scope="module")
def recording():
    return rendered("tabletop", seed=3, num_frames=12, rate_hz=10.0, size=(42, 56))


def test_every_system_has_a_row_and_a_map_has_every_frame(tmp_path, capsys):
    arguments = "--synthetic tabletop:3 --frames 6 --size 42 56 --drift 0.02 --threads 1 --device cpu --output"
    figures = {found.system: found for found in real_trajectory.main([*arguments.split(), str(tmp_path)])}
    assert list(figures) == [
        "Déjà View", "Déjà View, odometry (2 %)", "odometry alone (2 %)", "(standing still)",
    ]  # fmt: skip
    seen, odometry = figures["Déjà View"], figures["odometry alone (2 %)"]
    assert (seen.frames, seen.of_frames, seen.alignment) == (6, 6, "sim3")
    assert 0 < seen.abs_rel < 1
    assert 0 < odometry.ate_percent < 5
    assert odometry.scale == pytest.approx(1, abs=0.1)
    assert "scale" in figures["Déjà View, odometry (2 %)"].problem  # six frames are too few to lock it
    assert "odometry alone (2 %)" in capsys.readouterr().out
    content = json.loads((tmp_path / "trajectories.json").read_text())
    assert [row["system"] for row in content["results"]] == list(figures)
    assert (tmp_path / "trajectories.png").read_bytes().startswith(b"\x89PNG")


def test_the_truth_has_no_error_whatever_its_unit(recording):
    metric, _ = measured(recording, by_odometry(recording, recording.world_from_cam), 0.1)
    assert (metric.ate_m, metric.scale) == (pytest.approx(0, abs=1e-9), pytest.approx(1))
    scaled = recording.world_from_cam.copy()
    scaled[:, :3, 3] *= 7.0
    depths = [(7 * depth[depth > 0], depth[depth > 0]) for depth in recording.depths]
    found, _ = measured(recording, Run("any", False, dict(enumerate(scaled)), depths, 1, 0.0), 0.1)
    assert found.ate_m == pytest.approx(0, abs=1e-9)
    assert (found.abs_rel, found.depth_scale) == (pytest.approx(0, abs=1e-6), pytest.approx(1))
    apart = Run("any", False, dict(enumerate(scaled)), [(0.9 * seen, true) for seen, true in depths], 1, 0.0)
    assert measured(recording, apart, 0.1)[0].depth_scale == pytest.approx(0.9)
    assert depth_error(Run("any", True, {}, depths, 1, 0.0)) == pytest.approx(6)


def test_a_part_of_another_scale_is_told(recording):
    truth = np.tile(np.eye(4), (100, 1, 1))
    truth[:, :3, 3] = np.cumsum(np.random.default_rng(0).normal(size=(100, 3)), axis=0)
    long = replace(
        recording, stamps_ns=np.arange(100) * 10**8, images=100 * recording.images[:1], depths=[], world_from_cam=truth
    )
    found = truth.copy()
    found[50:, :3, 3] = truth[50, :3, 3] + 2 * (truth[50:, :3, 3] - truth[50, :3, 3])
    parts = measured(long, by_odometry(long, found), 0.1)[0].scale_parts
    assert len(parts) == 10
    assert max(parts) / min(parts) == pytest.approx(2, rel=1e-6)


def test_a_system_without_poses_has_a_reason_and_no_figures(recording):
    figures, matched = measured(recording, Run("any", True, {}, [], 0, 0.0, problem="it was dark"), 0.1)
    assert (figures.ate_m, figures.abs_rel, figures.problem, matched) == (None, None, "it was dark", None)


def test_odometry_walks_away_as_much_as_is_said(recording):
    truth = recording.world_from_cam
    np.testing.assert_allclose(drifting(truth, 0.0), truth, atol=1e-9)
    far = np.tile(np.eye(4), (81, 1, 1))
    far[:, 0, 3] = 0.5 * np.arange(81)  # 40 m
    turned = [float(rotation_angle(torch.from_numpy(drifting(far, 0.02, seed)[-1, :3, :3]))) for seed in range(20)]
    assert np.sqrt(np.mean(np.square(turned))) == pytest.approx(0.02 * np.sqrt(3 * 40), rel=0.3)


def test_what_is_not_there_is_named(monkeypatch):
    with pytest.raises(DataError, match=r"synthetic sequences are one of .*'kitchen'"):
        rendered("kitchen", 0, 4, 10.0, (42, 56))
    monkeypatch.setitem(sys.modules, "pycolmap", None)
    with pytest.raises(ConfigError, match=r"pip install 'pycolmap==4\.2\.1'"):
        classical.load()
