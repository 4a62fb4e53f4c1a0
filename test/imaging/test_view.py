"""Whatever moves the pixels moves the camera: a ray lands on the same thing before and after."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from dvlt_ros.errors import DataError
from dvlt_ros.imaging import View
from dvlt_ros.imaging.view import ORIENTATIONS, oriented_view
from dvlt_ros.lens import Lens

HEIGHT, WIDTH = 48, 64
DISTORTIONS = {
    "none": ("plumb_bob", ()),
    "plumb_bob": ("plumb_bob", (-0.2, 0.05, 0.01, -0.02, 0.01)),
    "rational": ("rational_polynomial", (-0.2, 0.05, 0.01, -0.02, 0.0, 0.1, 0.02, 0.001)),
    "thin prism": ("rational_polynomial", (-0.2, 0.05, 0.01, -0.02, 0, 0.1, 0.02, 0.001, 0.02, 0.01, -0.03, 0.005)),
    "fisheye": ("equidistant", (0.1, -0.05, 0.02, -0.01)),
}


def lens(name: str) -> Lens:
    model, distortion = DISTORTIONS[name]
    return Lens(50.0, 60.0, 27.0, 22.0, (HEIGHT, WIDTH), model, distortion)


def seen(lens: Lens, ray: np.ndarray) -> np.ndarray:
    """Where a ray (3,) lands, pixel (0, 0) centred at (0.5, 0.5)."""
    project = cv2.fisheye.projectPoints if lens.model == "equidistant" and lens.is_distorted else cv2.projectPoints
    distortion = np.array(lens.distortion if lens.is_distorted else (0.0,) * 4)
    return project(ray.reshape(1, 1, 3), np.zeros(3), np.zeros(3), lens.intrinsics, distortion)[0].reshape(2)


@settings(max_examples=25, deadline=None)
@given(name=st.sampled_from([*DISTORTIONS]), x=st.floats(-0.4, 0.4), y=st.floats(-0.3, 0.3), quarters=st.integers(0, 5))
def test_turned_pixels_have_turned_rays(name, x, y, quarters):
    before, ray = lens(name), np.array([x, y, 1.0])
    u, v = seen(before, ray)
    size = before.size
    for _ in range(quarters):  # a quarter turn clockwise: the left edge comes to the top
        (u, v), ray, size = (size[0] - v, u), np.array([-ray[1], ray[0], 1.0]), size[::-1]
    after = before.turned(quarters)
    assert after.size == size
    np.testing.assert_allclose(seen(after, ray), [u, v], atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(name=st.sampled_from([*DISTORTIONS]), x=st.floats(-0.4, 0.4), y=st.floats(-0.3, 0.3))
def test_mirrored_cropped_and_scaled_pixels(name, x, y):
    before, ray = lens(name), np.array([x, y, 1.0])
    u, v = seen(before, ray)
    np.testing.assert_allclose(seen(before.mirrored(), ray * [-1, 1, 1]), [WIDTH - u, v], atol=1e-6)
    np.testing.assert_allclose(seen(before.cropped(3, 5, 40, 50), ray), [u - 5, v - 3], atol=1e-6)
    np.testing.assert_allclose(seen(before.scaled(96, 32), ray), [u / 2, v * 2], atol=1e-6)


def test_four_quarters_are_none_and_a_tilted_sensor_is_refused():
    for name in DISTORTIONS:
        turned = lens(name).turned(4)
        assert turned == lens(name)
    tilted = Lens(50.0, 60.0, 27.0, 22.0, (HEIGHT, WIDTH), "rational_polynomial", (0.1,) + (0.0,) * 12 + (0.2,))
    for move in (lambda: tilted.turned(1), tilted.mirrored):
        with pytest.raises(DataError, match="tilted sensor cannot be turned"):
            move()
    assert tilted.turned(0) == tilted


def marked(u: int, v: int) -> np.ndarray:
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[v, u] = 255
    return image


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("name", ["none", "plumb_bob", "fisheye"])
def test_exif_turns_pixels_and_lens_together(orientation, name):
    """As Pillow turns them; the ray of the marked pixel lands on the mark."""
    view = View(marked(40, 11), lens(name)).oriented(orientation)
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(marked(40, 11)).save(file, "PNG", exif=exif)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(file)))
    np.testing.assert_array_equal(view.image, upright)
    v, u = np.argwhere(view.image[..., 0])[0]
    assert view.lens is not None
    undistort = cv2.fisheye.undistortPoints if name == "fisheye" else cv2.undistortPoints
    distortion = np.array(view.lens.distortion or (0.0,) * 4)
    x, y = undistort(np.array([[[u + 0.5, v + 0.5]]]), view.lens.intrinsics, distortion).reshape(2)
    before = undistort(np.array([[[40.5, 11.5]]]), lens(name).intrinsics, np.array(lens(name).distortion or (0.0,) * 4))
    assert np.hypot(x, y) == pytest.approx(np.linalg.norm(before), abs=1e-6)  # as far from the axis as it was


@pytest.mark.parametrize("orientation", [6, 8, 5, 7])
def test_a_lens_of_the_upright_size_belongs_to_the_upright_image(orientation):
    upright = Lens(50.0, 60.0, 20.0, 30.0, (WIDTH, HEIGHT))
    assert oriented_view(marked(1, 1), orientation, upright).lens == upright
    assert oriented_view(marked(1, 1), orientation, lens("none")).lens.size == (WIDTH, HEIGHT)
    with pytest.raises(DataError, match=r"it is 64 x 48, turned by its EXIF orientation, the camera of lens has 9 x 7"):
        oriented_view(marked(1, 1), orientation, Lens(5.0, 6.0, 2.0, 3.0, (7, 9)))


def test_parts_scales_and_pinholes_of_a_view():
    view = View(np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8), lens("plumb_bob"))
    part = view.cropped(4, 6, 30, 40)
    np.testing.assert_array_equal(part.image, view.image[4:34, 6:46])
    assert part.lens.cx == view.lens.cx - 6
    assert view.scaled(24, 32).image.shape == (24, 32, 3)
    assert not view.pinhole().lens.is_distorted
    assert view.pinhole().image.shape == view.image.shape
    for bad in ((-1, 0, 5, 5), (0, 0, 49, 5), (0, 60, 5, 5), (0, 0, 0, 5)):
        with pytest.raises(DataError, match=r"part of an image|beyond an image"):
            view.cropped(*bad)
    with pytest.raises(DataError, match="it is 64 x 48, the camera of lens has 48 x 64"):
        View(view.image, view.lens.turned(1))
