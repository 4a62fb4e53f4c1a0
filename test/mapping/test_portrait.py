"""Portrait images: turned for the network, everything turned back, and mixed with landscape ones in one map."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from configs import mapper_config
from room import FRAME_NS, INTRINSICS, SIZE, WALLS, FakePredictor, picture, walk

from dvlt_ros.mapping.data.frames import Frame, Picture
from dvlt_ros.mapping.data.turn import PORTRAIT, Turn
from dvlt_ros.mapping.mapper import Mapper
from dvlt_ros.mapping.sensors.gravity import Gravity
from dvlt_ros.mapping.sensors.odometry import CameraInOdom
from dvlt_ros.mapping.sensors.suite import Sensors

PLAIN = {"keyframes_min_change": 0.0, "confidence_cut_share": 0.0, "loops_mode": "never"}
COUNT = 12


class Watching(FakePredictor):
    """Remembers the shapes of the images that it gets."""

    def predict(self, views, *args):
        self.shapes = getattr(self, "shapes", set()) | {view.picture.image.shape[:2] for view in views}
        for view in views:
            if view.picture.image.shape[:2] == SIZE:
                np.testing.assert_allclose(view.picture.intrinsics, INTRINSICS, atol=1e-9)
        return super().predict(views, *args)


def stream(turns):
    """Frames as their cameras took them, and a predictor that knows the network's, which are turned by ``turns``."""
    frames, poses = [], {}
    for number, (turn, pose) in enumerate(zip(turns, walk(len(turns)), strict=True), start=1):
        stamp_ns = number * FRAME_NS
        poses[stamp_ns] = pose.copy()
        poses[stamp_ns][:3, :3] = pose[:3, :3] @ turn.turned_from_cam.T
        taken = turn.restored_picture(picture(number))
        frames.append(Frame(stamp_ns, "cam", stamp_ns, lambda taken=taken: taken))
    return frames, Watching(poses)


def reconstructed(frames, predictor, sensors=None, **changes):
    said = []
    mapper = Mapper(mapper_config(**PLAIN | changes), predictor, sensors, said.append)
    updates = [update for frame in frames if (update := mapper.add(frame)) is not None] + [*mapper.finish()]
    placed = [update for update in updates if update.is_placed]
    return [found for update in placed for found in update.frames], mapper, said


def assert_as_taken(found, frames, optical_from_first):
    """Pictures, maps, cameras and points are those of the frames, in the room that they saw."""
    true = [optical_from_first @ pose for pose in walk(len(frames))]
    far = np.linalg.norm(true[-1][:3, 3] - true[0][:3, 3])
    unit = np.linalg.norm(found[-1].map_from_cam[:3, 3] - found[0].map_from_cam[:3, 3]) / far
    first_from_map = np.linalg.inv(found[0].map_from_cam)
    for reconstruction, frame, pose in zip(found, frames, true, strict=True):
        taken = frame.load()
        np.testing.assert_array_equal(reconstruction.picture.image, taken.image)
        np.testing.assert_allclose(reconstruction.picture.intrinsics, taken.intrinsics, atol=1e-9)
        assert reconstruction.picture.image.flags.c_contiguous
        size = taken.image.shape[:2]
        assert reconstruction.depth.shape == reconstruction.confidence.shape == size
        assert (reconstruction.mapping.original_size, reconstruction.mapping.network_size) == (size, size)
        np.testing.assert_allclose(reconstruction.intrinsics, taken.intrinsics, atol=1e-6)
        relative = first_from_map @ reconstruction.map_from_cam
        expected = np.linalg.inv(true[0]) @ pose
        np.testing.assert_allclose(relative[:3, :3], expected[:3, :3], atol=1e-4)
        np.testing.assert_allclose(relative[:3, 3] / unit, expected[:3, 3], atol=1e-3)
        cloud = reconstruction.cloud()
        in_first = (cloud.points - found[0].map_from_cam[:3, 3]) @ found[0].map_from_cam[:3, :3] / unit
        in_room = in_first @ walk(1)[0][:3, :3].T + walk(1)[0][:3, 3]
        on_wall = np.abs(in_room[:, None] - WALLS[None]).min(axis=(1, 2))
        assert np.median(on_wall) < 1e-2
        np.testing.assert_array_equal(cloud.colors[:5], taken.image[0, :5])


@pytest.mark.parametrize(
    "portraits", [{3, 5}, {0}, {11}, set(range(0, COUNT, 2)), set(range(COUNT))],
    ids=["two of them", "the first", "the last", "every other one", "all"],
)  # fmt: skip
def test_mixed_orientations_are_one_map_and_come_back_as_they_were_taken(portraits):
    frames, predictor = stream([PORTRAIT if i in portraits else Turn() for i in range(COUNT)])
    found, _, said = reconstructed(frames, predictor)
    assert len(found) == COUNT
    assert {reconstruction.map_id for reconstruction in found} == {0}
    assert said == []
    assert predictor.shapes == {SIZE}
    assert_as_taken(found, frames, np.eye(4))
    up = found[0].map_from_cam[:3, :3] @ [0, -1, 0]  # the top of the first image
    np.testing.assert_allclose(up, [0, 0, 1], atol=1e-6)


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_a_camera_mounted_sideways_or_upside_down_is_turned_as_it_is_told(rotation):
    frames, predictor = stream([Turn(rotation)] * COUNT)
    found, _, _ = reconstructed(frames, predictor, model_image_rotation=rotation)
    assert {reconstruction.map_id for reconstruction in found} == {0}
    assert predictor.shapes == {SIZE}
    assert_as_taken(found, frames, np.eye(4))


def test_without_the_rotation_each_change_of_orientation_begins_a_map():
    frames, predictor = stream([Turn()] * COUNT)
    shown = [picture(i, SIZE[::-1] if i in (3, 5) else SIZE) for i in range(COUNT)]
    frames = [replace(frame, load=lambda shown=shown: shown) for frame, shown in zip(frames, shown, strict=True)]
    found, _, said = reconstructed(frames, predictor, model_image_rotation=0)
    assert {reconstruction.map_id for reconstruction in found} == {0, 1, 2, 3, 4}
    assert sum("a new map begins: images are now" in sentence for sentence in said) == 4


def test_another_size_begins_another_map_whatever_its_orientation():
    frames, predictor = stream([Turn()] * COUNT)
    larger = Picture(np.random.default_rng(0).integers(0, 255, (64, 48, 3), dtype=np.uint8), INTRINSICS)
    frames[6] = replace(frames[6], load=lambda: larger)
    found, _, said = reconstructed(frames, predictor)
    assert len({reconstruction.map_id for reconstruction in found}) == 3
    assert "images are now 64 x 48, they were 32 x 24" in said[0]


@pytest.mark.parametrize("size", [SIZE, SIZE[::-1], (32, 32), (33, 32)])
def test_auto_turns_what_is_higher_than_wide_and_nothing_else(size):
    assert Turn.of("auto", size).rotation == (270 if size[0] > size[1] else 0)


def test_gravity_and_odometry_are_asked_for_the_camera_as_it_is_mounted():
    """Half portrait: what they answer is of the camera's own axes, and the map is level and in metres by it."""
    frames, predictor = stream([PORTRAIT if i % 2 else Turn() for i in range(COUNT)])
    poses = {frame.stamp_ns: pose for frame, pose in zip(frames, walk(COUNT), strict=True)}
    level_from_world = np.array([[0, 0, 1.0], [-1, 0, 0], [0, -1, 0]])

    def level_from_cam(stamp_ns, _):
        return level_from_world @ poses[stamp_ns][:3, :3]

    sensors = Sensors(
        odometry=lambda stamp_ns, _: CameraInOdom(poses[stamp_ns], 0), gravity=Gravity("imu", level_from_cam)
    )
    _, mapper, _ = reconstructed(frames, predictor, sensors, scale_min_windows=2, window_size=4, window_overlap=2)
    assert mapper.status.values["scale_state"] == "locked"
    path = mapper.snapshot()
    assert path.stamps_ns.tolist() == [*poses]
    for (first, earlier), (second, later) in itertools.pairwise(zip(path.stamps_ns, path.map_from_cam, strict=True)):
        moved = np.linalg.inv(earlier) @ later
        np.testing.assert_allclose(moved, np.linalg.inv(poses[first]) @ poses[second], atol=2e-3)
