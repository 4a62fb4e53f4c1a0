"""A robot that is found in a saved map that stays as it is."""

from __future__ import annotations

import localization
import numpy as np
import pytest
import relocalization
from configs import mapper_config
from lap import LAP, on_the_lap
from lap_drive import Drive, drive_and_save
from room import FRAME_NS
from scipy.spatial import KDTree
from simulation.building import make_building
from simulation.robot import send

from dvlt_ros.errors import ConfigError, InputError
from dvlt_ros.health import Level
from dvlt_ros.mapping.loops.hint import PoseHint
from dvlt_ros.mapping.mapper import Mapper
from dvlt_ros.mapping.surfaces.mesh import Mesh

TURNED = np.array([[0, 0, 1.0, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]])  # z up


@pytest.fixture(scope="module")
def first_drive(tmp_path_factory):
    return drive_and_save(tmp_path_factory.mktemp("maps"))


@pytest.fixture(scope="module")
def metric_map():
    before = Drive(odom_from_world=TURNED)
    before.go(range(1, LAP + 6))
    return before.saved()


def localizing(saved, **options):
    drive = Drive(mode="localization", **options)
    drive.load(saved)
    return drive


def health(drive):
    return drive.mapper.status.health["localization"]


def placed(drive):
    return [update for update in drive.updates if update.is_placed]


def assert_as_loaded(drive, saved):
    snapshot = drive.mapper.snapshot()
    assert snapshot.is_as_loaded
    np.testing.assert_array_equal(snapshot.map_from_cam, saved.map_from_cam)
    assert len(snapshot.cloud.points) == len(saved.cloud.points)
    assert len(snapshot.map_from_visual) == len(drive.mapper.loops.detector) == len(saved.stored_submaps)


def test_the_robot_is_found_and_the_map_stays_as_it_is(first_drive):
    before, saved = first_drive
    drive = localizing(saved)
    assert health(drive).text == "lost: poses are withheld: no place of the saved map has been recognized yet"
    drive.go(range(LAP + 20, 2 * LAP + 12))
    assert health(drive).level == Level.OK
    assert drive.relocalized == "yes"
    assert [sentence for sentence in drive.said if "found in the saved map by two places" in sentence]
    first = next(i for i, update in enumerate(drive.updates) if update.is_placed)
    assert first < 8
    assert all(update.is_lost and not update.is_placed for update in drive.updates[:first])
    assert {update.map_id for update in placed(drive)} == {-1}
    assert drive.updates[first].map_from_visual is not None  # places the frames that waited
    for number in range(LAP + 40, 2 * LAP + 10):
        np.testing.assert_allclose(drive.poses[number], before.poses[(number - 1) % LAP + 1], atol=0.05)
    assert_as_loaded(drive, saved)
    assert len(drive.mapper.loops.detector.stored_submaps()) < len(saved.stored_submaps) + 20
    assert float(drive.mapper.status.values["place_seen_s"]) < 2.0


def test_the_saved_map_tells_the_scale_before_the_odometry_does(metric_map):
    saved = metric_map
    odom_from_world = np.diag([-1.0, -1, 1, 1]) @ TURNED
    odom_from_world[:3, 3] = 4.0, -3.0, 0.2
    drive = localizing(saved, odom_from_world=odom_from_world)
    drive.go(range(LAP + 20, LAP + 42))
    assert placed(drive)[0].frames[0].stamp_ns < (LAP + 32) * FRAME_NS  # the scale takes 25 frames by odometry
    for update in placed(drive):
        assert update.is_metric
        for frame in update.frames:
            np.testing.assert_allclose(frame.map_from_cam, TURNED @ drive.predictor.poses[frame.stamp_ns], atol=0.06)
        np.testing.assert_allclose(update.map_from_odom @ odom_from_world, TURNED, atol=0.1)
    assert "saved map" in drive.mapper.status.values["scale_source"]
    assert_as_loaded(drive, saved)
    surfaces = drive.mapper.surfaces
    assert surfaces.num_keyframes > len(saved.stored_submaps)
    while not surfaces.follow():
        pass
    change = surfaces.meshes()
    vertices = Mesh.joined(list(change.of_block.values())).vertices
    assert len(vertices) > 1000
    off, _ = KDTree(saved.cloud.points).query(vertices)
    assert np.median(off) < 0.06
    surfaces.check_grid()


def test_where_another_visual_map_begins_the_robot_is_lost_until_it_is_found_again(first_drive, metric_map):
    _, unscaled = first_drive
    gap = 60  # frames, longer than window.max_gap_s
    for drive in (localizing(unscaled), localizing(metric_map, odom_from_world=TURNED)):
        drive.go(range(LAP + 20, LAP + 32))
        assert health(drive).level == Level.OK
        drive.go([LAP + 32 + gap, LAP + 33 + gap])
        assert health(drive).level == Level.WARN
        drive.go(range(LAP + 34 + gap, LAP + 50 + gap))
        assert health(drive).level == Level.OK
        assert {update.map_id for update in placed(drive)} == {-1}


def a_hint(number, aside=(0.0, 0.0)):
    pose = on_the_lap(number)
    pose[:2, 3] += aside
    return PoseHint(pose, number * FRAME_NS, "cam", position=0.3)


def in_saved(before, number):
    """A hint for a frame of a later lap, at its pose in the saved map."""
    return PoseHint(before.poses[(number - 1) % LAP + 1].copy(), number * FRAME_NS, "cam", position=0.3)


def test_with_a_pose_hint_one_place_is_enough_and_it_comes_first(first_drive):
    before, saved = first_drive
    windows = []
    for hinted in (False, True):
        drive = localizing(saved)
        if hinted:
            drive.mapper.hint(in_saved(before, LAP + 20))
        drive.go(range(LAP + 20, LAP + 32))
        windows.append(next(i for i, update in enumerate(drive.updates) if update.is_placed))
        np.testing.assert_allclose(drive.poses[LAP + 30], before.poses[30], atol=0.05)
    assert windows[1] < windows[0]
    assert any("one place, as the pose hint has it" in sentence for sentence in drive.said)
    assert drive.mapper.loops.detector.hint is None  # it has served


def test_a_wrong_pose_hint_keeps_nobody_from_being_found_where_he_is(first_drive):
    before, saved = first_drive
    drive = localizing(saved)
    wrong = in_saved(before, LAP + 20)
    wrong.map_from_cam[:3, 3] += 5.0
    drive.mapper.hint(wrong)
    drive.go(range(LAP + 20, LAP + 40))
    np.testing.assert_allclose(drive.poses[LAP + 38], before.poses[2], atol=0.05)
    assert any("by two places" in sentence for sentence in drive.said)


def test_while_mapping_a_hint_joins_the_saved_map_with_one_loop(first_drive):
    before, saved = first_drive
    waited = []
    for hinted in (False, True):
        drive, refusals = Drive(), []
        drive.load(saved)
        if hinted:
            drive.mapper.hint(in_saved(before, LAP + 20))
        for number in range(LAP + 20, LAP + 40):
            drive.go([number])
            if drive.relocalized == "yes":
                break
            refusals.append(drive.mapper.status.values["loop_refusal"])
        waited.append(any("it waits for a second one" in refusal for refusal in refusals))
        assert drive.relocalized == "yes"
    assert waited == [True, False]


def test_a_reset_seeks_the_robot_in_the_same_map_again(first_drive):
    _, saved = first_drive
    drive = localizing(saved)
    drive.go(range(LAP + 20, LAP + 30))
    drive.mapper.reset()
    assert health(drive).level == Level.WARN
    drive.go(range(LAP + 30, LAP + 42))
    assert health(drive).level == Level.OK
    assert_as_loaded(drive, saved)


def test_what_cannot_work_is_refused_with_the_reason(make_predictor):
    with pytest.raises(ConfigError, match=r"map\.mode localization needs loop closure, and loops\.mode is never"):
        Mapper(mapper_config(map_mode="localization", loops_mode="never"), make_predictor())
    drive = Drive(mode="localization")
    drive.go(range(1, 6))
    assert health(drive).text == "lost: poses are withheld: no saved map is loaded"
    with pytest.raises(InputError, match="no saved map is loaded in which the pose could be"):
        drive.mapper.hint(a_hint(1))
    with pytest.raises(InputError, match="finite pose"):
        PoseHint(np.full((4, 4), np.nan), 1, "cam")


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    pytest.importorskip("gtsam", reason="GTSAM is not here; `pip install '.[loops]'` runs this")
    return relocalization.save(0, 24.0, tmp_path_factory.mktemp("maps"))


def test_a_noisy_robot_is_found_soon_with_the_nodes_defaults_and_in_half_the_time_with_a_hint(simulated):
    rng = np.random.default_rng(3)
    robot = localization.start_again(simulated, rng)
    alone = localization.localize(simulated, robot, 0, 7)
    hinted = localization.localize(simulated, robot, 0, 7, hint=localization.click(simulated, robot, rng))
    assert alone.is_good, alone
    assert hinted.is_good, hinted
    assert hinted.found_s <= alone.found_s / 2


@pytest.mark.parametrize("is_fooled", [False, True], ids=["sound", "fooled"])
def test_in_another_building_of_the_same_plan_it_is_never_found(simulated, is_fooled):
    other = make_building(np.random.default_rng(9)).moved(relocalization.ELSEWHERE_M)
    robot = send(other, np.random.default_rng(0), 14.0, start_ns=relocalization.LATER_NS)
    assert localization.localize(simulated, robot, 0, 7, is_fooled).found_s is None
