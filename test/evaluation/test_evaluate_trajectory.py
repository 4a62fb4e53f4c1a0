"""Trajectories and maps against the truth: what is known beforehand comes out, and what cannot be judged is refused."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
import torch

pytest.importorskip("evo", reason="evo is an extra; pip install '.[evaluation]' runs this")

from evo.core import metrics
from evo.core.units import Unit
from walks import COUNT, STAMPS_S, write_walk

from dvlt_ros.errors import AlignmentError, DataError
from dvlt_ros.evaluate_trajectory import main
from dvlt_ros.evaluation.maps import map_error
from dvlt_ros.evaluation.reading import Trajectory
from dvlt_ros.evaluation.trajectory import evaluate, match, relative_error, scale_between, scale_drift
from dvlt_ros.export import write_ply
from dvlt_ros.geometry import matrix_from_quaternion, quaternion_from_matrix

TOLERANCE = 1e-9


def rotation(*quaternion):
    return matrix_from_quaternion(torch.tensor(quaternion, dtype=torch.float64)).numpy()


def trajectory(positions, rotations=None, stamps_s=None, name="some.txt"):
    rotations = np.tile(np.eye(3), (len(positions), 1, 1)) if rotations is None else rotations
    quaternions = quaternion_from_matrix(torch.from_numpy(rotations)).numpy()
    return Trajectory(name, STAMPS_S[: len(positions)] if stamps_s is None else stamps_s, positions, quaternions)


@pytest.fixture
def evaluated(walk):
    """Evaluates estimated (positions, rotations) against the walk."""

    def run(positions, rotations=None):
        true_positions, true_rotations = walk
        estimate = trajectory(positions, true_rotations if rotations is None else rotations)
        matched = match(estimate, trajectory(true_positions, true_rotations, name="truth.txt"), 0.02)
        return evaluate(matched, [1.0, 5.0, 1000.0], 5)

    return run


def test_a_perfect_trajectory_has_no_error(evaluated, walk):
    result = evaluated(walk[0])
    assert result.matched_poses == COUNT
    assert result.path_m == pytest.approx(np.linalg.norm(np.diff(walk[0], axis=0), axis=1).sum())
    for name in ("se3", "sim3"):
        assert result.ate_m[name].max < TOLERANCE
        np.testing.assert_allclose(result.truth_from_estimate[name], np.eye(4), atol=TOLERANCE)
    assert result.rotation_deg.max < 1e-5
    assert result.scale.overall == pytest.approx(1)
    assert result.scale.drift_percent == pytest.approx(0, abs=1e-6)
    for error in result.rpe[:2]:
        assert error.pairs > 100
        assert max(error.translation_percent.values()) < 1e-6
        assert error.rotation_deg_per_m < 1e-5


def test_a_stretch_that_the_path_does_not_have_is_not_a_zero(evaluated, walk):
    error = evaluated(walk[0]).rpe[2]
    assert (error.pairs, error.translation_percent, error.rotation_deg_per_m) == (0, None, None)


def test_a_known_similarity_is_recovered(evaluated, walk):
    positions, rotations = walk
    turn, shift, scale = rotation(0.3, -0.2, 0.5, 0.7), np.array([5.0, -3.0, 1.0]), 0.25
    result = evaluated(scale * positions @ turn.T + shift, turn @ rotations)
    assert result.ate_m["sim3"].max < TOLERANCE
    assert result.rotation_deg.max < 1e-5
    assert result.scale.overall == pytest.approx(scale)
    expected = np.eye(4)
    expected[:3, :3], expected[:3, 3] = turn.T / scale, -turn.T @ shift / scale
    np.testing.assert_allclose(result.truth_from_estimate["sim3"], expected, atol=1e-8)
    # A rigid alignment leaves three quarters of every distance to the middle.
    left = 0.75 * np.linalg.norm(positions - positions.mean(axis=0), axis=1)
    assert result.ate_m["se3"].rmse == pytest.approx(np.sqrt(np.mean(left**2)))
    assert result.ate_percent["se3"].max == pytest.approx(100 * left.max() / result.path_m)


def test_noise_gives_the_error_counted_by_hand():
    """On the corners of a rhombus whose left and right ones are lifted by 10 cm, and the others lowered: a twist."""
    corners = np.array([[2.0, 0, 0], [0, 1, 0], [-2, 0, 0], [0, -1, 0]])
    lift = 0.1 * np.array([1.0, -1, 1, -1])
    matched = match(trajectory(corners + lift[:, None] * [0, 0, 1]), trajectory(corners), 0.02)
    result = evaluate(matched, [1.0], 2)
    # No rotation or shift helps, by symmetry; a smaller scale a little, of 10 square metres about the middle.
    spread, path_m = result.ate_m["se3"], 3 * np.sqrt(5)
    assert (spread.rmse, spread.median, spread.max) == pytest.approx((0.1, 0.1, 0.1))
    assert result.ate_percent["se3"].rmse == pytest.approx(100 * 0.1 / path_m)
    assert result.ate_m["sim3"].rmse == pytest.approx(np.sqrt((10 - 10**2 / 10.04) / 4))


def test_random_noise_gives_its_own_size(evaluated, walk):
    noise = np.random.default_rng(0).normal(0, 0.01, walk[0].shape)
    rmse = evaluated(walk[0] + noise).ate_m["se3"].rmse
    assert rmse == pytest.approx(0.01 * np.sqrt(3), rel=0.1)


def test_relative_errors_are_those_counted_by_hand():
    """2 % too long, and 0.5 degrees per metre of turning to the left that is not there, on a straight line."""
    along = np.arange(0, 20, 0.25)
    positions = np.stack([along, 0 * along, 0 * along], axis=-1)
    bend = np.radians(0.5) * along
    turned = np.stack([rotation(0, 0, np.sin(a / 2), np.cos(a / 2)) for a in bend])
    estimate = trajectory(1.02 * positions + [[0, 1e-6 * (i % 2), 0] for i in range(80)], turned)
    truth = trajectory(positions + [[0, 1e-6 * (i % 2), 0] for i in range(80)])
    error = relative_error(match(estimate, truth, 0.02), 4.0)
    assert error.pairs == 79 - int(4 / 0.25) + 1 + 1  # the last one from 3.75 m before the end, which is near enough
    assert error.rotation_deg_per_m == pytest.approx(0.5, rel=1e-3)
    # In the frame of the first pose, which looks aside by up to 10 degrees.
    begins = bend[: error.pairs]
    expected = np.mean(np.sqrt((1.02 * np.cos(begins) - 1) ** 2 + (1.02 * np.sin(begins)) ** 2))
    assert error.translation_percent["se3"] == pytest.approx(100 * expected, rel=1e-3)


def test_relative_errors_are_evos_own(evaluated, walk):
    noise = np.random.default_rng(0).normal(0, 0.01, walk[0].shape)
    estimate = trajectory(walk[0] + noise, walk[1])
    matched = match(estimate, trajectory(*walk), 0.02)
    relation = metrics.PoseRelation.translation_part
    evos = metrics.RPE(relation, 5.0, Unit.meters, 0.1, all_pairs=True, pairs_from_reference=True)
    evos.process_data((matched.true_poses, matched.estimated_poses))
    ours = relative_error(matched, 5.0)
    assert ours.pairs == len(evos.error)
    assert ours.translation_percent["se3"] == pytest.approx(100 * evos.error.mean() / 5, rel=0.03)


def test_scale_drift_of_a_ramp():
    """On a circle whose scale grows from 1 to 1.5, in 5 sections: 1.05, 1.15, ... 1.45 in their middles."""
    angle = np.linspace(0, 2 * np.pi, 2001)
    circle = np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=-1)
    steps = np.diff(circle, axis=0) * np.linspace(1, 1.5, 2000)[:, None]
    positions = np.concatenate([np.zeros((1, 3)), np.cumsum(steps, axis=0)])
    stamps_s = np.arange(2001.0)
    matched = match(trajectory(positions, stamps_s=stamps_s), trajectory(circle, stamps_s=stamps_s), 0.02)
    drift = scale_drift(matched, 5)
    assert [section.scale for section in drift.sections] == pytest.approx([1.05, 1.15, 1.25, 1.35, 1.45], rel=2e-3)
    assert drift.drift_percent == pytest.approx(100 * (1.45 / 1.05 - 1), rel=0.01)
    assert drift.sections[0].end_m == pytest.approx(2 * np.pi / 5, rel=1e-4)


def test_a_scale_is_not_biased_by_noise_and_needs_no_turn():
    rng = np.random.default_rng(0)
    line = np.linspace(0, 1, 100_000)[:, None] * [[1.0, 2.0, 2.0]]
    assert scale_between(line, 3 * line @ rotation(0.5, 0.5, 0.5, 0.5).T) == pytest.approx(3)
    assert scale_between(line, 3 * line + rng.normal(0, 1, line.shape)) == pytest.approx(3, rel=0.01)


def test_a_stretch_of_standing_still_has_no_scale():
    assert scale_between(np.ones((9, 3)), np.random.default_rng(0).normal(size=(9, 3))) is None
    assert scale_between(np.eye(3)[:2], np.eye(3)[:2]) is None


def test_only_poses_near_in_time_are_matched(walk):
    truth = trajectory(*walk)
    some = slice(20, 120, 2)
    estimate = trajectory(walk[0][some], walk[1][some], stamps_s=STAMPS_S[some] + 0.015)
    result = evaluate(match(estimate, truth, 0.02), [1.0], 2)
    assert (result.matched_poses, result.estimated_poses, result.true_poses) == (50, 50, COUNT)
    assert result.largest_time_difference_s == pytest.approx(0.015, abs=1e-6)
    with pytest.raises(DataError, match=r"some\.txt against .*: 0 poses match within 0\.01 s.*from 1000000002\.015 s"):
        match(estimate, truth, 0.01)


def test_too_little_to_align_is_refused(walk):
    truth = trajectory(*walk, name="truth.txt")
    with pytest.raises(DataError, match="2 poses match within"):
        match(trajectory(walk[0][:2], walk[1][:2]), truth, 0.02)
    still = trajectory(np.ones((COUNT, 3)), name="still.txt")
    with pytest.raises(DataError, match=r"still\.txt: stands still"):
        match(truth, still, 0.02)
    with pytest.raises(AlignmentError, match=r"still\.txt against truth\.txt: .*the same or on one line"):
        match(still, truth, 0.02)


@pytest.fixture
def square():
    """A plane of points, 1 m x 1 m at 10 cm, and the match of an estimate that is half as large and turned."""
    axis = np.linspace(0, 1, 11)
    true_points = np.stack([*np.meshgrid(axis, axis), np.zeros((11, 11))], axis=-1).reshape(-1, 3)
    turn = rotation(0.1, 0.5, -0.2, 0.8)
    path = np.random.default_rng(0).normal(size=(20, 3))
    return true_points, turn, match(trajectory(0.5 * path @ turn.T + 1), trajectory(path), 0.02)


def test_a_map_counts_as_by_hand(square):
    true_points, turn, matched = square
    half = true_points[true_points[:, 0] < 0.45]  # 5 of 11 columns
    lifted = half + np.array([0, 0, 0.03])
    ghost = lifted[:1] + np.array([0, 0, 0.97])  # 1 m above its place
    error = map_error(0.5 * np.concatenate([lifted, ghost]) @ turn.T + 1, true_points, matched, "sim3", 0.05)
    assert (error.points, error.true_points) == (56, 121)
    assert error.accuracy.mean_m == pytest.approx((55 * 0.03 + 1) / 56)
    assert error.accuracy.median_m == pytest.approx(0.03)
    assert error.accuracy.share_within == pytest.approx(55 / 56)
    columns = [0.03] * 5 + [np.hypot(0.1 * i, 0.03) for i in range(1, 7)]
    assert error.completeness.mean_m == pytest.approx(np.mean(columns))
    assert error.completeness.median_m == pytest.approx(np.median(columns))
    assert error.completeness.share_within == pytest.approx(5 / 11)


def test_the_rigid_alignment_keeps_the_maps_own_scale(square):
    true_points, turn, matched = square
    points = 0.5 * true_points @ turn.T + 1
    assert map_error(points, true_points, matched, "sim3", 0.05).accuracy.mean_m < 1e-6
    assert map_error(points, true_points, matched, "se3", 0.05).completeness.mean_m > 0.1


def test_a_map_beside_a_straight_path_is_refused(square):
    true_points = square[0]
    line = np.linspace(0, 1, 50)[:, None] * [[10.0, 0, 0]]
    noise = np.random.default_rng(0).normal(0, 1e-3, line.shape)
    matched = match(trajectory(line + noise), trajectory(line + noise), 0.02)
    with pytest.raises(AlignmentError, match="the path is straight"):
        map_error(true_points, true_points, matched, "se3", 0.05)


def test_the_command_leaves_figures_and_a_picture(walk, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    truth, estimate, cloud = (tmp_path / name for name in ("truth.txt", "estimate $\\frac$.txt", "map.ply"))
    write_walk(truth, walk)
    write_walk(estimate, walk, shift=1.0)
    write_ply(cloud, walk[0].astype(np.float32), np.zeros((COUNT, 3), np.uint8))
    maps = ["--map", str(cloud), "--true-map", str(cloud), "--map-alignment", "se3"]
    arguments = [str(estimate), str(truth), "--output", str(tmp_path / "out"), *maps]
    main(arguments)
    printed = capsys.readouterr().out
    assert f"matched   {COUNT} of {COUNT} estimated and {COUNT} true poses" in printed
    for part in ("SE(3), m ", "Sim(3), % of the path", "drift     +0.00 %", "no section of", "map, SE(3)"):
        assert part in printed
    assert (tmp_path / "out" / "evaluation.png").read_bytes().startswith(b"\x89PNG")
    figures = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert figures["ate_m"]["se3"]["rmse"] < 1e-6
    # The map goes where the path goes: 1 m back along each axis.
    moved = walk[0] - 1.0
    expected = np.linalg.norm(moved[:, None] - walk[0], axis=-1).min(axis=1).mean()
    assert figures["map"]["accuracy"]["mean_m"] == pytest.approx(expected, rel=1e-4)
    main([*arguments, "--json", "--no-plot", "--output", str(tmp_path / "second")])
    assert json.loads(capsys.readouterr().out) == figures
    assert not (tmp_path / "second" / "evaluation.png").exists()


def test_the_command_names_what_is_wrong(walk, tmp_path, capsys):
    truth = tmp_path / "truth.txt"
    write_walk(truth, walk)
    with pytest.raises(SystemExit, match=r"dvlt_evaluate_trajectory: .*nowhere\.txt: cannot be read"):
        main([str(tmp_path / "nowhere.txt"), str(truth)])
    with pytest.raises(SystemExit, match=r"truth\.txt: cannot be made"):
        main([str(truth), str(truth), "--output", str(truth)])
    for wrong in (["--map", "map.ply"], ["--sections", "1"], ["--max-time-difference", "0"]):
        with pytest.raises(SystemExit):
            main([str(truth), str(truth), *wrong])
        assert wrong[0] in capsys.readouterr().err


def test_without_evo_it_says_what_to_install(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("dvlt_ros.evaluation.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "evo", None)
    with pytest.raises(SystemExit, match=r"pip install 'evo>=1\.31,<2' scipy"):
        main(["estimate.txt", "truth.txt"])
