"""Maps that are saved and loaded: what is read is what was written, and what does not fit is refused."""

from __future__ import annotations

import itertools
from dataclasses import fields

import numpy as np
import pytest
import relocalization
import torch
from configs import mapper_config
from room import FRAME_NS, INTRINSICS, SIZE, FakePredictor, picture, pose
from safetensors.numpy import load_file, save_file
from simulation.building import make_building, send

from dvlt_ros.alignment import IDENTITY, Sim3
from dvlt_ros.errors import InputError
from dvlt_ros.mapping.data.corrections import Correction, stacked
from dvlt_ros.mapping.data.frames import Cloud, Frame, Picture
from dvlt_ros.mapping.data.views import Anchor, View
from dvlt_ros.mapping.loops.config import PlaceIndexConfig
from dvlt_ros.mapping.loops.place_index import LONG_AGO_NS, Place, PlaceIndex
from dvlt_ros.mapping.mapper import Mapper
from dvlt_ros.mapping.maps.builder import MapBuilder
from dvlt_ros.mapping.maps.config import MapConfig
from dvlt_ros.mapping.maps.map_from_odom import MAX_STEP_M
from dvlt_ros.mapping.maps.map_part import MapSnapshot
from dvlt_ros.mapping.maps.saved_map import SavedMap, read_saved_map
from dvlt_ros.mapping.pose_graph.config import LoopClosure, RejectedLoop
from dvlt_ros.mapping.pose_graph.graph import PoseGraphConfig
from dvlt_ros.mapping.pose_graph.submap_graph import SubmapGraph
from dvlt_ros.mapping.sensors.odometry import CameraInOdom
from dvlt_ros.mapping.sensors.suite import Sensors
from dvlt_ros.mapping.submaps.submap import StoredSubmap, Submap

LAP = 36  # frames


def moved_by(x, scale=1.0):
    return Sim3.of(scale, np.eye(3), np.array([x, 0.0, 0.0]))


def an_anchor(number, size=(100, 140), intrinsics=INTRINSICS):
    shown = Picture(picture(number, size).image, intrinsics)
    rng = np.random.default_rng(number)
    frame = Frame(number + 1, f"cam{number % 2}", 0, lambda: shown, camera=f"side{number % 2}")
    depth, confidence = rng.uniform(1, 5, (2, *size)).astype(np.float32)
    return Anchor(View(number, frame, shown), depth, confidence, INTRINSICS + number, pose(rng.normal(size=3), number))


def a_visit(number, size=(100, 140), intrinsics=INTRINSICS):
    anchors = [an_anchor(4 * number + i, size, intrinsics) for i in range(4)]
    descriptor = np.random.default_rng(number).normal(size=(8, 16)).astype(np.float32)
    return StoredSubmap.of(number, anchors, 140, descriptor)


def a_saved_map(stored_submaps=(), checkpoint="abc", is_metric=False, num_points=500):
    rng = np.random.default_rng(0)
    points, colors = rng.uniform(-3, 3, (num_points, 3)), rng.integers(0, 255, (num_points, 3), np.uint8)
    cloud = Cloud(points.astype(np.float32), colors, rng.uniform(1, 9, num_points).astype(np.float32))
    poses = np.stack([pose(position) for position in rng.normal(size=(7, 3))])
    stored_submaps = stored_submaps or tuple(a_visit(n) for n in range(3))
    return SavedMap(checkpoint, is_metric, cloud, 0.01, np.arange(7) * FRAME_NS, poses, tuple(stored_submaps))


@pytest.fixture
def saved_file(tmp_path):
    path = tmp_path / "map.places.safetensors"
    path.write_bytes(a_saved_map().encoded())
    return path


# The file


def test_what_is_read_is_what_was_written(tmp_path):
    saved = a_saved_map([a_visit(0), a_visit(1, (24, 32)), a_visit(2, intrinsics=None)])
    (tmp_path / "map").write_bytes(saved.encoded())
    read = read_saved_map(tmp_path / "map")
    for name in ("checkpoint", "is_metric", "voxel_size"):
        assert getattr(read, name) == getattr(saved, name)
    for name in ("stamps_ns", "map_from_cam"):
        np.testing.assert_array_equal(getattr(read, name), getattr(saved, name))
    for found, expected in zip(read.cloud, saved.cloud, strict=True):
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == expected.dtype
    numbers = [view.anchor.view.number for stored_submap in read.stored_submaps for view in stored_submap.views]
    assert max(numbers) < 0  # a stream's views are numbered from 0
    assert len(set(numbers)) == len(numbers)
    for found, expected in zip(read.stored_submaps, saved.stored_submaps, strict=True):
        assert (found.image_format, found.image_size) == (expected.image_format, expected.image_size)
        np.testing.assert_array_equal(found.descriptor, expected.descriptor)
        for view, other in zip(found.views, expected.views, strict=True):
            frame, other_frame = view.anchor.view.frame, other.anchor.view.frame
            for name in ("stamp_ns", "frame_id", "camera"):
                assert getattr(frame, name) == getattr(other_frame, name)
            np.testing.assert_array_equal(view.view().picture.image, other.view().picture.image)
            if other.picture_intrinsics is None:
                assert view.picture_intrinsics is None
            else:
                np.testing.assert_array_equal(view.picture_intrinsics, other.picture_intrinsics)
            for field in fields(Anchor)[1:]:
                np.testing.assert_array_equal(getattr(view.anchor, field.name), getattr(other.anchor, field.name))


def test_a_visit_is_saved_where_the_map_has_it():
    """Points of a view, by depth and pose, move as the map's points do."""
    map_from_visual = Sim3.of(2.5, pose((0, 0, 0), 0.4)[:3, :3], np.ones(3))
    stored_submap, poses = a_visit(3), np.stack([pose((1, 2, 3))])
    empty = Cloud(np.zeros((1, 3), np.float32), np.zeros((1, 3), np.uint8), np.ones(1, np.float32))
    snapshot = MapSnapshot(0, empty, np.ones(1, np.int64), poses, 0.1, {3: map_from_visual, 9: IDENTITY})
    saved = SavedMap.of(snapshot, {3: stored_submap, 4: a_visit(4)}, "abc", is_metric=True)
    assert len(saved.stored_submaps) == 1
    for view, before in zip(saved.stored_submaps[0].views, stored_submap.views, strict=True):
        one, other = view.anchor, before.anchor
        points = [
            (a.depth[5, 7] * np.linalg.inv(a.intrinsics) @ [7.5, 5.5, 1]) @ a.map_from_cam[:3, :3].T
            + a.map_from_cam[:3, 3]
            for a in (one, other)
        ]
        np.testing.assert_allclose(points[0], map_from_visual.apply(points[1]), rtol=1e-5)
    with pytest.raises(InputError, match="no place of this map"):
        SavedMap.of(snapshot, {4: a_visit(4)}, "abc", is_metric=True)


def cut_off(path):
    path.write_bytes(path.read_bytes()[:-1000])


def of_another_version(path):
    save_file(load_file(path), path, {"format": "dvlt_ros map 0"})


def without_a_tensor(path):
    tensors = load_file(path)
    del tensors["view_jpeg"]
    rewrite(path, tensors)


def with_less_depth(path):
    tensors = load_file(path)
    rewrite(path, tensors | {"view_depth": tensors["view_depth"][:-5]})


def with_fewer_views(path):
    tensors = load_file(path)
    rewrite(path, tensors | {"num_views": tensors["num_views"] - 1})


def without_points(path):
    tensors = load_file(path)
    rewrite(path, tensors | {name: tensors[name][:0] for name in ("points", "colors", "confidence")})


def with_a_hole(name):
    def spoil(path):
        tensors = load_file(path)
        tensors[name].flat[-1] = np.nan
        rewrite(path, tensors)

    return spoil


def with_flat_poses(path):
    tensors = load_file(path)
    rewrite(path, tensors | {"map_from_cam": np.ascontiguousarray(tensors["map_from_cam"][:, :3])})


def rewrite(path, tensors):
    from safetensors import safe_open

    with safe_open(path, framework="np") as file:
        words = file.metadata()
    save_file(tensors, path, words)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (cut_off, "not a whole map"),
        (lambda path: path.write_bytes(b""), "not a whole map"),
        (lambda path: path.write_bytes(b"ply\nformat ascii 1.0\n" * 99), "not a whole map"),
        (lambda path: path.unlink(), "cannot be read"),
        (of_another_version, "this version reads 'dvlt_ros map 1'"),
        (without_a_tensor, "not a whole map.*view_jpeg"),
        (with_less_depth, "not a whole map"),
        (with_fewer_views, "not a whole map"),
        (without_points, "a saved map has places and voxels"),
        (with_flat_poses, "the path of a saved map must be finite"),
        *(
            (with_a_hole(name), f"the {what} of a saved map must be finite")
            for name, what in {
                "points": "points",
                "map_from_cam": "path",
                "descriptors": "descriptors",
                "view_map_from_cam": "places' cameras",
                "view_intrinsics": "places' intrinsics",
            }.items()
        ),
    ],
)
def test_a_file_that_is_no_whole_map_is_refused_by_its_name_and_reason(saved_file, spoil, reason):
    spoil(saved_file)
    with pytest.raises(InputError, match=f"(?s){saved_file.name}.*{reason}"):
        read_saved_map(saved_file)


def test_maps_of_another_checkpoint_or_another_unit_are_refused():
    saved = a_saved_map(checkpoint="abc", is_metric=True)
    saved.check("abc", is_metric=True)
    with pytest.raises(InputError, match="another checkpoint"):
        saved.check("xyz", is_metric=True)
    with pytest.raises(InputError, match="its lengths are in metres, this node's in a unit of its own"):
        saved.check("abc", is_metric=False)
    with pytest.raises(InputError, match="its lengths are in a unit of its own, this node's in metres"):
        a_saved_map().check("abc", is_metric=True)


# In the engine


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

    Unscaled, or with perfect wheels that have the world's frame at ``odom_from_world``.
    """

    def __init__(self, max_places=500, odom_from_world=None):
        pytest.importorskip("gtsam", reason="GTSAM is not here; `pip install 'dvlt_ros[loops]'` runs this")
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
    assert drive.relocalized == "no: no place of it has been recognised yet"
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


def test_a_running_stream_is_not_joined_before_it_is_recognised_and_a_reset_forgets_the_saved_map(first_drive):
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


def test_too_few_places_to_recognise_any_are_named_as_the_reason():
    drive = Drive()
    drive.load(a_saved_map())
    assert drive.relocalized == "no: with 3 places nobody knows what is alike, it takes 20"


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
    pytest.importorskip("gtsam", reason="GTSAM is not here; `pip install 'dvlt_ros[loops]'` runs this")
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


# Parts


def test_one_loop_joins_nothing_to_a_saved_map_and_two_never_move_it():
    pytest.importorskip("gtsam", reason="GTSAM is not here; `pip install 'dvlt_ros[loops]'` runs this")
    graph = SubmapGraph(is_metric=False)
    assert graph.load([5, 6, 7]) == graph.saved_id == -1
    for number in (8, 9):
        submap = Submap(number, 0, number * FRAME_NS, "cam", pose((number, 0, 0)), 3.0, number - 8)
        graph.add(submap, IDENTITY, 0, None)
    assert isinstance(graph.close(LoopClosure(6, 8, moved_by(10.0), 0.01)), RejectedLoop)
    correction = graph.close(LoopClosure(7, 9, moved_by(10.0), 0.01))
    assert isinstance(correction, Correction)
    assert (correction.map_id, correction.map_ids.tolist()) == (-1, [-1, 0, 0])
    np.testing.assert_allclose(correction.new_from_old.translation[:, 0], [0, 10, 10], atol=1e-3)
    torch.testing.assert_close(correction.new_from_old.matrix[0], torch.eye(4).double(), rtol=0, atol=1e-12)
    graph.forget()
    assert graph.saved_id is None
    assert graph.load([10]) == -2  # another one


def test_a_saved_map_stays_known_however_far_the_robot_drives():
    pytest.importorskip("gtsam", reason="GTSAM is not here; `pip install 'dvlt_ros[loops]'` runs this")
    graph = SubmapGraph(is_metric=True, config=PoseGraphConfig(max_submaps=12, max_loops=3))
    graph.load([0, 1, 2])
    for number in range(3, 60):
        forgotten = (0, 1) if number == 30 else ()
        submap = Submap(number, 0, number, "cam", pose((number, 0, 0)), 3.0, min(number - 3, 1), forgotten)
        graph.add(submap, moved_by(0.0, scale=2.0), 0, None)
    assert len(graph) == 12
    assert graph.expected_scale(2, 59) == pytest.approx(2.0)
    assert graph.expected_scale(1, 59) is None


def test_places_of_a_saved_map_need_no_places_in_between():
    index, rng = PlaceIndex(PlaceIndexConfig(min_age_s=20.0, min_apart=10)), np.random.default_rng(0)
    descriptors = rng.normal(size=(25, 8, 16)).astype(np.float32)
    for number, descriptor in enumerate(descriptors):
        index.add(Place(number, LONG_AGO_NS, -1 - number), descriptor)
    found = index.look_up(descriptors[24], stamp_ns=0)
    assert found[0].place.submap == 24


def test_submaps_move_with_their_map_and_are_forgotten():
    builder = MapBuilder(MapConfig(voxel_size=0.05))
    builder.load(MapSnapshot(-1, *saved_parts(), 0.01, {0: IDENTITY, 1: IDENTITY}), submap_id=0)
    places = {number: Submap(number, 0, number, "cam", np.eye(4), 3.0, 0, (1,) * (number == 3)) for number in (2, 3)}
    builder.add_submap(places[2], 4, None)
    assert builder.snapshot().map_from_visual.keys() == {0, 1}
    builder.place_waiting(moved_by(3.0, scale=2.0), 4)
    builder.add_submap(places[3], 4, moved_by(1.0))
    changes = stacked([IDENTITY, moved_by(10.0), moved_by(20.0)])
    builder.correct(Correction(-1, np.array([0, 2, 3]), np.array([-1, 4, 4]), changes))
    joined = builder.snapshot()
    assert {n: s.translation[0].item() for n, s in joined.map_from_visual.items()} == {0: 0.0, 2: 13.0, 3: 21.0}
    assert joined.map_from_visual[2].scale == 2.0


def saved_parts(num_points=500):
    saved = a_saved_map(num_points=num_points)
    return saved.cloud, saved.stamps_ns, saved.map_from_cam


def test_a_loaded_cloud_is_bounded_and_leaves_after_those_of_maps_that_have_ended():
    builder = MapBuilder(MapConfig(voxel_size=0.05, max_points=1000))
    builder.load(MapSnapshot(-1, *saved_parts(5000), 0.01, {}), submap_id=0)
    assert len(builder.snapshot().cloud.points) <= 1000
    for map_id in range(3):
        builder.load(MapSnapshot(map_id, *saved_parts(), 0.01, {}), submap_id=0)
    assert [kept.map_id for kept in builder.snapshots()[:-1]] == [-1]
