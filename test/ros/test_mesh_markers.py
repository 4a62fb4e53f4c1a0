"""Meshes as serialized markers: the middleware reads what its own types would have written."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not here; `make venv` brings it, `make test` runs this")

from rclpy.serialization import deserialize_message, serialize_message
from visualization_msgs.msg import Marker, MarkerArray

from dvlt_ros.mapping.surfaces.grid import Grid
from dvlt_ros.mapping.surfaces.mesh import Mesh
from dvlt_ros.mapping.surfaces.surface_map import MeshChange
from dvlt_ros.mapping.surfaces.volume import keys_of
from dvlt_ros.ros import messages
from dvlt_ros.ros.outputs.mesh_markers import mesh_markers
from dvlt_ros.ros.outputs.surfaces import tiles_of


def mesh(count, seed=0):
    rng = np.random.default_rng(seed)
    vertices = rng.normal(size=(count + 2, 3)).astype(np.float32)
    colors = rng.integers(0, 255, (count + 2, 3), dtype=np.uint8)
    return Mesh(vertices, colors, rng.integers(0, count + 2, (count, 3)).astype(np.int32))


@pytest.mark.parametrize("frame", ["m", "map", "robot_1/map", "a_longer_frame"])
def test_markers_are_read_as_they_are_meant(frame):
    meshes = [(1, mesh(1)), (7, mesh(5, 1)), (2, mesh(100, 2))]
    head = messages.header(frame, 1_500_000_001)
    found = deserialize_message(mesh_markers(head, meshes), MarkerArray)
    assert [marker.id for marker in found.markers] == [1, 7, 2]
    for marker, (_, shown) in zip(found.markers, meshes, strict=True):
        assert (marker.header, marker.ns) == (head, "mesh")
        assert (marker.type, marker.action) == (Marker.TRIANGLE_LIST, Marker.ADD)
        assert (marker.pose.orientation.w, marker.scale.x, marker.color.a) == (1.0, 1.0, 1.0)
        points = [(p.x, p.y, p.z) for p in marker.points]
        np.testing.assert_allclose(points, shown.vertices[shown.triangles.reshape(-1)])
        colors = [(c.r, c.g, c.b, c.a) for c in marker.colors]
        assert np.allclose(np.array(colors)[:, :3] * 255, shown.colors[shown.triangles.reshape(-1)], atol=1e-3)
        assert {c[3] for c in colors} == {1.0}
    again = deserialize_message(serialize_message(found), MarkerArray)
    assert again == found


def test_only_changed_tiles_are_sent_and_empty_ones_are_said():
    here, far = (keys_of(np.array(place)) for place in ((0, 0, 0), (40, 0, 0)))
    beside = keys_of(np.array((1, 0, 0)))
    change = MeshChange(object(), {int(here): mesh(2), int(beside): mesh(3, 1), int(far): mesh(4, 2)}, None)
    assert sorted(len(tile.triangles) for tile in tiles_of(change).values()) == [4, 5]
    gone = keys_of(np.array((80, 0, 0)))
    some = MeshChange(change.state, change.of_block, np.array([here, gone]))
    assert sorted(len(tile.triangles) for tile in tiles_of(some).values()) == [0, 5]


def test_a_grid_keeps_what_nav2_s_static_layer_requires():
    """Row-major from the origin, -1 or 0 to 100, as many cells as width times height, a resolution above 0."""
    cells = np.array([[-1, 0, 100], [0, 0, 100]], np.int8)
    message = messages.grid_message(Grid(cells, 0.05, (-1.0, 2.0), -0.1), messages.header("map", 5))
    assert (message.info.width, message.info.height) == (3, 2)
    assert len(message.data) == message.info.width * message.info.height
    assert list(message.data) == [-1, 0, 100, 0, 0, 100]
    assert message.info.resolution == pytest.approx(0.05)
    origin = message.info.origin
    assert (origin.position.x, origin.position.y, origin.position.z) == pytest.approx((-1.0, 2.0, -0.1))
    assert (origin.orientation.x, origin.orientation.y, origin.orientation.z, origin.orientation.w) == (0, 0, 0, 1)
    assert message.header.frame_id == "map"
