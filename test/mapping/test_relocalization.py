"""A robot that finds itself in a saved map."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import relocalization
from configs import mapper_config
from lap import LAP
from lap_drive import Drive, drive_and_save
from room import FRAME_NS
from saved_maps import a_saved_map
from simulation.building import make_building
from simulation.robot import send

from dvlt_ros.errors import InputError
from dvlt_ros.mapping.mapper import Mapper
from dvlt_ros.mapping.maps.map_from_odom import MAX_STEP_M


@pytest.fixture(scope="module")
def first_drive(tmp_path_factory):
    return drive_and_save(tmp_path_factory.mktemp("maps"))


def test_a_robot_that_begins_elsewhere_finds_itself_in_the_saved_map(first_drive):
    before, saved = first_drive
    drive = Drive()
    drive.load(saved)
    loaded = drive.mapper.snapshot()
    assert len(loaded.cloud.points) == len(saved.cloud.points)  # published as it is
    assert drive.relocalized == "no: no place of it has been recognized yet"
    drive.go(range(LAP + 20, LAP + 23))
    assert drive.relocalized.startswith("no: ")
    drive.go(range(LAP + 23, 2 * LAP + 12))
    assert drive.relocalized == "yes"
    assert sorted(set(drive.map_ids)) == [-1, 0]
    assert sum("joined to the saved one" in sentence for sentence in drive.said) == 1
    joined = drive.map_ids.index(-1)
    assert set(drive.map_ids[joined:]) == {-1}
    assert joined < 12  # long before it has learned the lap itself
    snapshot = drive.mapper.snapshot()
    assert snapshot.map_id == -1
    assert not snapshot.is_as_loaded
    assert drive.mapper.snapshots()[:-1] == []
    for number in range(LAP + 20 + 20, 2 * LAP + 10):  # long after the step
        found, true = drive.poses[number], before.poses[(number - 1) % LAP + 1]
        np.testing.assert_allclose(found[:3, 3], true[:3, 3], atol=0.05)
        np.testing.assert_allclose(found[:3, :3], true[:3, :3], atol=0.05)
    stamps, since = snapshot.stamps_ns // FRAME_NS, len(saved.stamps_ns)
    np.testing.assert_array_equal(snapshot.map_from_cam[:since], saved.map_from_cam)  # it stands fast
    for number, found in zip(stamps[since:].tolist(), snapshot.map_from_cam[since:], strict=True):  # and they followed
        np.testing.assert_allclose(found[:3, 3], before.poses[(number - 1) % LAP + 1][:3, 3], atol=0.05)


def test_with_odometry_map_from_odom_makes_one_step_into_the_saved_map():
    turned = np.array([[0, 0, 1.0, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]])  # z up
    before = Drive(odom_from_world=turned)
    before.go(range(1, LAP + 12))
    saved = before.saved()
    saved.check("abc", is_metric=True)
    odom_from_world = np.diag([-1.0, -1, 1, 1]) @ turned  # switched on again, standing the other way round
    odom_from_world[:3, 3] = 4.0, -3.0, 0.2
    drive = Drive(odom_from_world=odom_from_world)
    drive.load(saved)
    drive.go(range(LAP + 20, 2 * LAP + 40))  # the scale takes 25 frames to be known
    assert drive.relocalized == "yes"
    steps = [np.linalg.norm((b - a)[:3, 3]) for a, b in itertools.pairwise(drive.map_from_odom)]
    assert sum(step > MAX_STEP_M for step in steps) == 1
    for number in range(2 * LAP + 20, 2 * LAP + 40):
        np.testing.assert_allclose(drive.poses[number], turned @ drive.predictor.poses[number * FRAME_NS], atol=0.05)
    np.testing.assert_allclose(drive.map_from_odom[-1] @ odom_from_world, turned, atol=0.05)


def test_a_map_that_has_grown_can_be_saved_and_loaded_again(first_drive):
    _, saved = first_drive
    drive = Drive()
    drive.load(saved)
    drive.go(range(LAP + 20, 2 * LAP + 12))
    again = drive.saved()
    assert len(again.stored_submaps) > len(saved.stored_submaps)
    kept, found = (
        {view.anchor.view.frame.stamp_ns for stored_submap in of.stored_submaps for view in stored_submap.views}
        for of in (saved, again)
    )
    assert kept <= found
    third = Drive()
    third.load(again)
    third.go(range(2 * LAP + 5, 2 * LAP + 25))
    assert third.relocalized == "yes"


def test_a_running_stream_is_not_joined_before_it_is_recognized_and_a_reset_forgets_the_saved_map(first_drive):
    _, saved = first_drive
    drive = Drive()
    drive.go(range(1, 6))
    drive.load(saved)
    drive.go([6, 7])
    assert drive.map_ids[-1] == 1  # of its own
    assert {kept.map_id: kept.is_as_loaded for kept in drive.mapper.snapshots()[:-1]} == {0: False, -1: True}
    drive.mapper.reset()
    drive.go(range(8, 20))
    assert drive.relocalized == "no saved map"
    assert set(drive.map_ids) == {0, 1, 2}


def test_too_few_places_to_recognize_any_are_named_as_the_reason():
    drive = Drive()
    drive.load(a_saved_map())
    assert drive.relocalized == "no: 3 places are too few to tell which are alike, at least 20 are needed"


def test_another_image_size_is_named_as_the_reason(first_drive):
    _, saved = first_drive
    drive = Drive()
    drive.load(saved)
    drive.go(range(LAP + 20, LAP + 24), size=(48, 64))
    assert drive.relocalized == "no: its images were 32 x 24 at image_size 28, these are 64 x 48 at image_size 28"


def test_a_saved_map_with_more_places_than_there_is_room_for_is_thinned(first_drive):
    _, saved = first_drive
    drive = Drive(max_places=20)
    drive.load(saved)
    assert len(saved.stored_submaps) > 20
    assert len(drive.mapper.loops.detector) == len(drive.mapper.loops.detector.stored_submaps()) == 20
    drive.go(range(LAP + 20, LAP + 45))
    assert drive.relocalized == "yes"


def the_way_again(seed, length_m, building=None):
    """The drive that `relocalization.save` makes of a seed, another day; perhaps in another building."""
    rng = np.random.default_rng(seed)
    own = make_building(rng)
    return send(building or own, rng, length_m, start_ns=relocalization.LATER_NS)


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    pytest.importorskip("gtsam", reason="GTSAM is not here; `pip install '.[loops]'` runs this")
    return relocalization.save(0, 24.0, tmp_path_factory.mktemp("maps"))


def test_a_noisy_robot_is_found_soon_after_its_scale_with_the_nodes_defaults(simulated):
    found = relocalization.beside(simulated, the_way_again(0, 14.0), seed=0, error_seed=7)
    assert found.waited_s < 15
    assert found.off_m < 0.3
    assert max(found.errors_m) < relocalization.WRONG_M


@pytest.mark.parametrize("is_fooled", [False, True], ids=["sound", "fooled"])
def test_in_another_building_of_the_same_plan_a_robot_is_never_found(simulated, is_fooled):
    other = make_building(np.random.default_rng(9)).moved(relocalization.ELSEWHERE_M)
    found = relocalization.beside(simulated, the_way_again(0, 14.0, other), 0, 7, is_fooled)
    assert found.joined_s is None
    assert found.errors_m == ()
    assert found.refusal  # some places did look alike


def test_without_loops_nothing_is_loaded(make_predictor, first_drive):
    _, saved = first_drive
    mapper = Mapper(mapper_config(loops_mode="never"), make_predictor())
    with pytest.raises(InputError, match="no loops are closed"):
        mapper.load(saved)
    assert mapper.snapshot().map_id == 0
