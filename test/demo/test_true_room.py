"""The demo's room: its truth fits the bundled images, and a map is drawn where it belongs."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from dvlt_ros.alignment import Sim3
from dvlt_ros.demo import DEMO_SEQUENCE
from dvlt_ros.demo.true_room import TrueRoom
from dvlt_ros.errors import AlignmentError
from dvlt_ros.export.from_above import BACKGROUND, EDGE_PX


@pytest.fixture(scope="module")
def room():
    return TrueRoom.load()


def test_each_bundled_image_has_its_pose(room):
    assert len(room.world_from_cam) == len(list(DEMO_SEQUENCE.glob("*.jpg")))
    rotations = room.world_from_cam[:, :3, :3]
    np.testing.assert_allclose(
        rotations @ rotations.transpose(0, 2, 1), np.broadcast_to(np.eye(3), (60, 3, 3)), atol=1e-5
    )


def test_a_map_of_another_origin_and_scale_is_laid_on_the_truth(room):
    """Its right half is the room; the left half has the map's points in the same places."""
    map_from_world = Sim3.of(0.3, Rotation.from_euler("xyz", [0.4, -1.0, 2.0]).as_matrix(), np.array([3.0, -1.0, 7.0]))
    indices = np.arange(0, 60, 3)
    map_from_cam = map_from_world.apply_to_poses(room.world_from_cam[indices])
    points = room.world_from_cam[:, :3, 3] + 0.5 * room.world_from_cam[:, :3, 2]
    colors = np.full((60, 3), (0, 255, 0), np.uint8)
    world_from_map = room.world_from_map(map_from_cam, indices)
    assert room.error(world_from_map, map_from_cam, indices) < 1e-6
    picture = room.beside(world_from_map, map_from_world.apply(points), colors, map_from_cam)
    assert picture.shape == (EDGE_PX, 2 * EDGE_PX, 3)
    below_its_name = slice(40, None)
    assert np.array_equal(picture[below_its_name, EDGE_PX:], room.picture[below_its_name])
    wanted = room.view.draw(points, colors, room.world_from_cam[indices, :3, 3])
    assert (picture[below_its_name, :EDGE_PX] == wanted[below_its_name]).mean() > 0.999
    assert (wanted == (0, 255, 0)).all(axis=-1).sum() > 50


def test_the_room_fills_its_picture_and_the_path_is_in_it(room):
    is_drawn = (room.picture != BACKGROUND).any(axis=-1)
    assert 0.3 < is_drawn.mean() < 1
    path = (room.world_from_cam[:, :3, 3] @ room.view.axes.T)[:, :2]
    assert ((path > room.view.low) & (path < room.view.low + EDGE_PX / room.view.scale)).all()


def test_a_camera_that_stood_still_tells_nothing(room):
    with pytest.raises(AlignmentError):
        room.world_from_map(np.repeat(np.eye(4)[None], 5, axis=0), np.arange(5))
