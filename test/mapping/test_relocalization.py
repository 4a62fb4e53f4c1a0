"""A robot that finds itself in a saved map."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import relocalization
from configs import mapper_config
from room import FRAME_NS, SIZE, FakePredictor, picture, pose
from saved_maps import a_saved_map
from simulation.building import make_building, send

from dvlt_ros.errors import InputError
from dvlt_ros.mapping.data.frames import Frame
from dvlt_ros.mapping.mapper import Mapper
from dvlt_ros.mapping.maps.map_from_odom import MAX_STEP_M
from dvlt_ros.mapping.maps.saved_map import SavedMap, read_saved_map
from dvlt_ros.mapping.sensors.odometry import CameraInOdom
from dvlt_ros.mapping.sensors.suite import Sensors

LAP = 36  # frames


class PlaceRecognizer(FakePredictor):
    """Knows each place of the lap when it sees it again."""

    checkpoint = "abc"

    def describe(self, view, image_size):
        return np.random.default_rng(view.frame.stamp_ns // FRAME_NS % LAP).normal(size=(8, 24)).astype(np.float32)

    def predict_apart(self, views, num_steps, image_size):
        assert len({view.number for view in views}) == len(views)
        return self.predict(views, num_steps, image_size, range(len(views)))


def on_the_lap(number):
    angle = 2 * np.pi * number / LAP
    return pose((np.sin(angle), 0, 1 - np.cos(angle)), 3 * angle)


class Drive:
    """FrontEnd, map, builder and loops of one run of the robot; it goes round and round.

    Unscaled, or with exact odometry that has the world's frame at ``odom_from_world``.
    """

    def __init__(self, max_places=500, odom_from_world=None):
        pytest.importorskip("gtsam", reason="GTSAM is not here; `pip install '.[loops]'` runs this")
        self.predictor = PlaceRecognizer({n * FRAME_NS: on_the_lap(n) for n in range(1, 9 * LAP)})
        config = mapper_config(
            keyframes_min_change=0.0, confidence_cut_share=0.0, map_voxel_size=0.05, loops_check_every=1,
            loops_place_distance=0.05, loops_min_age_s=1.0, loops_max_places=max_places,
        )  # fmt: skip
        self.is_metric, self.odom_from_world = odom_from_world is not None, odom_from_world
        self.said = []
        sensors = Sensors(odometry=self.odometry if self.is_metric else None)
        self.mapper = Mapper(config, self.predictor, sensors, self.said.append)
        self.map_ids, self.poses, self.map_from_odom = [], {}, []

    def odometry(self, stamp_ns, _):
        return CameraInOdom(self.odom_from_world @ self.predictor.poses[stamp_ns], epoch=0)

    def go(self, numbers, size=SIZE):
        for number in numbers:
            shown = picture(number, size)
            self.mapper.admit(Frame(number * FRAME_NS, "cam", number * FRAME_NS, lambda shown=shown: shown))
            if (update := self.mapper.step()) is None:
                continue
            self.mapper.integrate(update)
            self.poses |= {frame.stamp_ns // FRAME_NS: frame.map_from_cam for frame in update.frames}
            self.map_ids.append(update.map_id)
            if update.map_from_odom is not None:
                self.map_from_odom.append(update.map_from_odom)
            self.mapper.close_loop()

    @property
    def relocalized(self):
        return self.mapper.status.values["relocalized"]

    def saved(self):
        stored = self.mapper.loops.detector.stored_submaps()
        return SavedMap.of(self.mapper.snapshot(), stored, "abc", self.is_metric)

    def load(self, saved):
        self.mapper.load(saved)


@pytest.fixture(scope="module")
def first_drive(tmp_path_factory):
    """A lap and a little more, and its map as it comes back from the disk."""
    drive = Drive()
    drive.go(range(1, LAP + 12))
    path = tmp_path_factory.mktemp("maps") / "map"
    path.write_bytes(drive.saved().encoded())
    return drive, read_saved_map(path)


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
