"""glTF files: opened again by trimesh, which shares no code with the writer."""

import json
import struct

import numpy as np
import pytest

from dvlt_ros.errors import InputError
from dvlt_ros.export.glb import GLTF_FROM_OPENCV, FrustumCameras, camera_overlay, frustum_corners, write_glb

trimesh = pytest.importorskip("trimesh", reason="opens glTF files again; pip install trimesh")


def ring(count: int, seed: int = 0) -> FrustumCameras:
    """Cameras on a ring, all turned differently."""
    generator = np.random.default_rng(seed)
    poses = np.tile(np.eye(4), (count, 1, 1))
    for pose in poses:
        rotation, _ = np.linalg.qr(generator.normal(size=(3, 3)))
        pose[:3, :3] = rotation * np.sign(np.linalg.det(rotation))
        pose[:3, 3] = generator.normal(size=3)
    intrinsics = np.tile([[50.0, 0.0, 31.0], [0.0, 55.0, 25.0], [0.0, 0.0, 1.0]], (count, 1, 1))
    return FrustumCameras(poses, intrinsics, (48, 64))


def parts(path):
    """The document and the buffer."""
    data = path.read_bytes()
    (length,) = struct.unpack_from("<I", data, 12)
    return json.loads(data[20 : 20 + length]), data[28 + length :]


@pytest.fixture
def cloud():
    generator = np.random.default_rng(1)
    return generator.normal(size=(500, 3)).astype(np.float32), generator.integers(0, 256, (500, 3), dtype=np.uint8)


def test_reopened_it_has_the_points_in_glTF_axes_with_their_colours(tmp_path, cloud):  # noqa: N802
    points, colors = cloud
    write_glb(tmp_path / "scene.glb", points, colors, ring(4), 0.2)
    scene = trimesh.load(tmp_path / "scene.glb")
    assert set(scene.geometry) == {"points", "camera_overlay"}
    found = scene.geometry["points"]
    assert np.allclose(found.vertices, points * [1, -1, -1], atol=1e-6)
    document, buffer = parts(tmp_path / "scene.glb")  # trimesh has 8 bits for a colour
    accessor = document["accessors"][document["meshes"][0]["primitives"][0]["attributes"]["COLOR_0"]]
    start = document["bufferViews"][accessor["bufferView"]]["byteOffset"]
    linear = np.frombuffer(buffer, "<u2", 4 * len(points), start).reshape(-1, 4)[:, :3] / 65535
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    assert np.abs(255 * srgb - colors).max() < 0.5


def test_nothing_is_lit_and_every_accessor_lies_within_the_buffer(tmp_path, cloud):
    write_glb(tmp_path / "scene.glb", *cloud, ring(3), 0.1)
    data = (tmp_path / "scene.glb").read_bytes()
    magic, version, length = struct.unpack_from("<4sII", data)
    document, buffer = parts(tmp_path / "scene.glb")
    assert (magic, version, length) == (b"glTF", 2, len(data))
    assert all("KHR_materials_unlit" in material["extensions"] for material in document["materials"])
    ends = [view["byteOffset"] + view["byteLength"] for view in document["bufferViews"]]
    assert max(ends) == document["buffers"][0]["byteLength"] == len(buffer)
    assert all(view["byteOffset"] % 4 == 0 for view in document["bufferViews"])


@pytest.mark.parametrize("seed", range(5))
def test_frustum_corners_project_to_the_corners_of_the_image(seed):
    cameras = ring(6, seed)
    corners = frustum_corners(cameras, 0.7)
    cam_from_world = np.linalg.inv(cameras.world_from_cam)
    in_camera = corners @ cam_from_world[:, :3, :3].transpose(0, 2, 1) + cam_from_world[:, None, :3, 3]
    assert np.allclose(in_camera[:, 0], 0, atol=1e-9)
    assert np.allclose(in_camera[:, 1:, 2], 0.7)
    pixels = in_camera[:, 1:] @ cameras.intrinsics.transpose(0, 2, 1) / 0.7
    assert np.allclose(pixels[..., :2], [[0, 0], [64, 0], [64, 48], [0, 48]])


@pytest.mark.parametrize("count", [1, 2, 7])
def test_the_overlay_surrounds_frusta_and_path(count):
    cameras = ring(count)
    vertices, colors, triangles = camera_overlay(cameras, 0.3)
    assert len(vertices) == len(colors) == 6 * (8 * count + count - 1)
    assert triangles.max() == len(vertices) - 1
    corners = frustum_corners(cameras, 0.3).reshape(-1, 3)
    distance = np.linalg.norm(corners[:, None] - vertices, axis=-1).min(axis=1)
    assert distance.max() < 0.3 * 0.05
    assert len(np.unique(colors, axis=0)) == count


def test_cameras_are_left_out_where_frusta_have_no_size(tmp_path, cloud):
    write_glb(tmp_path / "scene.glb", *cloud, ring(3), 0.0)
    assert list(trimesh.load(tmp_path / "scene.glb").geometry) == ["points"]


def test_axes_are_a_rotation():
    assert np.linalg.det(GLTF_FROM_OPENCV) == pytest.approx(1.0)


def test_what_is_no_cloud_is_refused_with_the_name_of_the_file(tmp_path, cloud):
    points, colors = cloud
    path = tmp_path / "scene.glb"
    with pytest.raises(InputError, match=r"scene\.glb.*N > 0"):
        write_glb(path, points[:0], colors[:0], ring(2), 0.1)
    with pytest.raises(InputError, match="uint8"):
        write_glb(path, points, colors / 255, ring(2), 0.1)
    with pytest.raises(InputError, match="not finite"):
        write_glb(path, np.where(points > 1, np.nan, points), colors, ring(2), 0.1)
    assert not path.exists()
