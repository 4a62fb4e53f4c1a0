"""What is handed out: one geometry in depth image, camera and points, and no depth where there is none."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from dvlt_ros.geometry import project
from dvlt_ros.mapping.data.frames import Picture, Reconstruction
from dvlt_ros.mapping.outputs.rendering import RenderedFrame, packed_rgb
from dvlt_ros.model import prepare_images

SIZE = (96, 128)


@pytest.fixture
def make_reconstruction():
    def make(depth=None, image_size=56, size=SIZE):
        rng = np.random.default_rng(0)
        image = cv2.resize(rng.integers(0, 255, (6, 8, 3), dtype=np.uint8), size[::-1])
        mapping = prepare_images([image], image_size).mappings[0]
        shape = mapping.network_size
        k = torch.tensor([[110.0, 0, 60.0], [0, 108.0, 50.0], [0, 0, 1]], dtype=torch.float64)
        if depth is None:
            depth = (2 + np.linspace(0, 1, shape[1])[None] + np.linspace(0, 0.5, shape[0])[:, None]).astype(np.float32)
        return Reconstruction(
            5, "cam", 0, 0, Picture(image, None), np.broadcast_to(depth, shape).astype(np.float32).copy(),
            1 + rng.random(shape, np.float32), mapping.intrinsics_to_network(k).numpy(), np.eye(4), mapping,
        )  # fmt: skip

    return make


@pytest.mark.parametrize("size", [SIZE, (48, 64), (240, 320)])
@pytest.mark.parametrize("stride", [1, 3])
def test_points_are_the_depth_image_through_its_camera(make_reconstruction, size, stride):
    frame = RenderedFrame(make_reconstruction(), size)
    cloud = frame.points(stride, organized=True)
    assert cloud.shape == tuple((n - stride // 2 - 1) // stride + 1 for n in size)
    xyz = torch.from_numpy(np.stack([cloud[axis] for axis in "xyz"], axis=-1)).double()
    pixels = project(xyz, torch.from_numpy(frame.intrinsics))
    rows, columns = np.mgrid[: size[0], : size[1]][:, stride // 2 :: stride, stride // 2 :: stride]
    seen = np.isfinite(cloud["z"])
    assert seen.mean() > 0.9
    np.testing.assert_allclose(pixels.numpy()[seen], (np.stack([columns, rows], -1) + 0.5)[seen], atol=1e-3)
    np.testing.assert_array_equal(cloud["z"], frame.depth[stride // 2 :: stride, stride // 2 :: stride])


def test_rendered_points_lie_on_the_surface_of_the_networks_own(make_reconstruction):
    source = make_reconstruction()
    frame = RenderedFrame(source, (192, 256))
    points = torch.from_numpy(source.cloud().points).double()  # the camera is where the map begins
    pixels = project(points, torch.from_numpy(frame.intrinsics)).numpy().reshape(*source.depth.shape, 2)[2:-2, 2:-2]
    rows, columns = pixels[..., 1].astype(int), pixels[..., 0].astype(int)
    np.testing.assert_allclose(frame.depth[rows, columns], source.depth[2:-2, 2:-2], rtol=5e-3)


def test_edges_are_not_bridged(make_reconstruction):
    depth = np.ones((42, 56), np.float32)
    depth[:, 28:] = 3
    assert set(np.unique(RenderedFrame(make_reconstruction(depth), (192, 256)).depth)) == {1.0, 3.0}


def test_what_is_not_trusted_or_not_seen_is_nan(make_reconstruction):
    depth = np.ones((42, 56), np.float32)
    depth[10:20, 10:20] = np.nan
    frame = RenderedFrame(make_reconstruction(depth), SIZE)
    share = np.isnan(frame.depth).mean()
    assert share == pytest.approx(100 / (42 * 56), abs=0.01)
    assert np.isfinite(frame.confidence).all()
    assert len(frame.points()) == np.isfinite(frame.depth).sum()
    cropped = RenderedFrame(make_reconstruction(size=(100, 128)), (100, 128))  # 44 rows, of which 42 are seen
    assert np.isnan(cropped.depth[[0, -1]]).all()
    assert np.isfinite(cropped.depth[5:-5]).all()


def test_the_output_keeps_its_size_and_the_camera_follows(make_reconstruction):
    source = make_reconstruction()
    small, large = (RenderedFrame(source, size) for size in ((48, 64), (96, 128)))
    np.testing.assert_allclose(large.intrinsics[:2], 2 * small.intrinsics[:2])
    np.testing.assert_allclose(large.intrinsics, [[110, 0, 60], [0, 108, 50], [0, 0, 1]], rtol=1e-6)
    assert small.rgb.shape == (48, 64, 3)
    assert large.rgb is source.picture.image


def test_colours_are_packed_the_way_viewers_read_them():
    assert hex(packed_rgb(np.array([[[1, 2, 3]]], np.uint8))[0, 0]) == "0x10203"
