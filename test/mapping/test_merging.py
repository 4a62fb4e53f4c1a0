"""Two saved maps that become one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from lap import LAP, RecognizingPredictor, lap_poses
from lap_drive import Drive

from dvlt_ros import merge_maps
from dvlt_ros.alignment import IDENTITY, Sim3
from dvlt_ros.errors import InputError
from dvlt_ros.mapping.inference.config import ModelConfig
from dvlt_ros.mapping.loops.config import LoopsConfig, LoopVerificationConfig
from dvlt_ros.mapping.map_files import PLACES
from dvlt_ros.mapping.maps.localizer import Sighting
from dvlt_ros.mapping.maps.saved_map import read_saved_map
from dvlt_ros.mapping.merging import agreed, fitted, merge
from dvlt_ros.mapping.pose_graph.config import LoopClosure, PoseGraphConfig
from dvlt_ros.refinement import MotionDeviation

LEVEL = np.array([[0, 0, 1.0, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]])  # z up
ELSEWHERE = np.array([[0.0, -1, 0, 4], [1, 0, 0, -3], [0, 0, 1, 0.2], [0, 0, 0, 1]]) @ LEVEL


@pytest.fixture(scope="module")
def maps():
    found = []
    for odom_from_world, numbers in ((LEVEL, range(1, LAP + 2)), (ELSEWHERE, range(LAP + 15, 2 * LAP + 8))):
        drive = Drive(odom_from_world=odom_from_world)
        drive.go(numbers)
        found.append(drive.saved())
    return found


@pytest.fixture
def recognizer():
    return RecognizingPredictor(lap_poses(range(1, 9 * LAP)))


def test_the_second_map_is_moved_to_where_the_first_one_has_its_places(maps, recognizer):
    first, second = maps
    merged = merge(first, second, recognizer, LoopsConfig())
    truth = LEVEL @ np.linalg.inv(ELSEWHERE)
    found = np.eye(4)
    found[:3, :3], found[:3, 3] = merged.first_from_second.rotation, merged.first_from_second.translation
    np.testing.assert_allclose(found, truth, atol=0.08)
    assert merged.first_from_second.scale.item() == 1.0
    assert merged.num_places >= 2
    assert recognizer.joint_windows <= 60
    snapshot = merged.snapshot
    assert len(merged.stored) == len(first.stored_submaps) + len(second.stored_submaps)
    assert (np.diff(snapshot.stamps_ns) >= 0).all()
    together = len(first.cloud.points) + len(second.cloud.points)
    assert max(len(first.cloud.points), len(second.cloud.points)) < len(snapshot.cloud.points) < 0.8 * together


def test_maps_of_two_places_are_refused_with_what_was_measured(maps, recognizer):
    first, second = maps
    strict = LoopsConfig(verification=LoopVerificationConfig(max_residual=1e-9))
    with pytest.raises(InputError, match=r"not joined: \d+ pairs of places were compared, 0 show the same"):
        merge(first, second, recognizer, strict)
    with pytest.raises(InputError, match="lengths are in a unit of its own"):
        merge(first, replace(second, is_metric=False), recognizer, LoopsConfig())


def test_of_few_places_all_pairs_are_compared(maps, recognizer):
    """Too few to tell which are alike; the views of both sessions have the same numbers."""
    few = [replace(saved, stored_submaps=saved.stored_submaps[:6]) for saved in maps]
    numbers = [{v.anchor.view.number for s in saved.stored_submaps for v in s.views} for saved in few]
    merged = merge(*few, recognizer, LoopsConfig())
    np.testing.assert_allclose(merged.first_from_second.matrix, LEVEL @ np.linalg.inv(ELSEWHERE), atol=0.1)
    kept = [v.anchor.view.number for s in merged.stored.values() for v in s.views]
    assert len(set(kept)) == sum(map(len, numbers))


def test_one_place_that_is_fooled_joins_nothing(maps, recognizer):
    first, second = maps
    one = replace(second, stored_submaps=second.stored_submaps[:1])
    with pytest.raises(InputError, match="show the same, and no 2 of these agree"):
        merge(first, one, recognizer, LoopsConfig())


def test_the_program_leaves_a_map_that_can_be_loaded(maps, recognizer, tmp_path, monkeypatch):
    paths = [tmp_path / f"{name}{PLACES}" for name in ("one", "two")]
    for path, saved in zip(paths, maps, strict=True):
        path.write_bytes(saved.encoded())
    monkeypatch.setattr(merge_maps, "load_predictor", lambda _: recognizer)
    said = merge_maps.run(*paths, tmp_path / "merged", ModelConfig())
    assert "joined by" in said
    (written,) = (tmp_path / "merged").glob(f"*{PLACES}")
    merged = read_saved_map(written)
    assert merged.is_metric
    assert len(merged.stored_submaps) == sum(len(saved.stored_submaps) for saved in maps)
    with pytest.raises(SystemExit, match=r"dvlt_merge_maps: .*nothing.*: cannot be read"):
        merge_maps.main([str(paths[0]), str(tmp_path / "nothing"), "--output", str(tmp_path / "more")])
    assert not (tmp_path / "more").exists()


@pytest.mark.parametrize(
    ("pairs", "residual", "is_believed"),
    [
        ([(0, 7), (1, 8)], 0.04, True),
        ([(0, 7), (1, 8)], 0.08, False),
        ([(0, 7), (0, 8), (1, 7), (1, 8)], 0.08, True),
        ([(0, 7), (0, 8), (0, 9), (0, 10)], 0.04, False),  # one place of the first map alone
    ],
)  # fmt: skip
def test_two_places_are_believed_or_four_pairs_that_fit_less_well(pairs, residual, is_believed):
    loops = [LoopClosure(first, second, IDENTITY, residual) for first, second in pairs]
    sightings = [Sighting(loop, np.eye(4), 3.0, loop.second) for loop in loops]
    assert len(agreed(sightings, LoopsConfig())) == (len(pairs) if is_believed else 0)


def test_a_place_whose_joint_window_tells_less_counts_less():
    """Of three places one has the second map 0.1 elsewhere; at three times the usual deviation it counts a ninth."""
    loops = [LoopClosure(k, 7 + k, IDENTITY, 0.01) for k in range(2)]
    other = LoopClosure(2, 9, Sim3.of(1.0, np.eye(3), np.array([0.1, 0.0, 0.0])), 0.01)
    vague = replace(other, motion=MotionDeviation(turn=0.0, shift=3 * PoseGraphConfig().loop_translation))
    moved = []
    for third in (other, vague):
        found, _ = fitted([Sighting(loop, np.eye(4), 3.0, loop.second) for loop in (*loops, third)], is_metric=True)
        moved.append(found.translation[0].item())
    assert moved == pytest.approx([0.1 / 3, 0.1 / 9 / (2 + 1 / 9)])
