"""camera_info as a lens: where a ray lands in the delivered image is what counts."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from bags import camera_info
from hypothesis import given
from hypothesis import strategies as st

from dvlt_ros.errors import DataError, InputError
from dvlt_ros.lens import Lens, lens_of_camera_info, model_of, rectification

DISTORTIONS = [
    ("plumb_bob", (-0.2, 0.05, 0.002, -0.003, 0.0)),
    ("rational_polynomial", (-0.2, 0.05, 0.002, -0.003, 0.0, 0.01, 0.0, 0.001)),
    ("equidistant", (0.1, -0.05, 0.02, -0.01)),
]


@given(
    offset=st.tuples(st.integers(0, 100), st.integers(0, 100)),
    binning=st.tuples(st.integers(0, 4), st.integers(0, 4)),
    ray=st.tuples(st.floats(-1, 1), st.floats(-1, 1)),
)
def test_region_of_interest_and_binning_move_pixels_as_the_sensor_does(offset, binning, ray):
    (x, y), (bin_x, bin_y) = offset, binning
    info = camera_info(1, (480, 640), 500.0, roi=(x, y, 360, 480), binning_x=bin_x, binning_y=bin_y)
    info.k = np.array([500.0, 0, 320, 0, 400.0, 240, 0, 0, 1])
    lens = lens_of_camera_info(info, rectified=False)
    on_sensor = np.array([500 * ray[0] + 320.5, 400 * ray[1] + 240.5])  # pixel (0, 0) centred at (0.5, 0.5)
    delivered = (on_sensor - [x, y]) / [max(bin_x, 1), max(bin_y, 1)]
    np.testing.assert_allclose(lens.intrinsics[:2] @ [*ray, 1], delivered, atol=1e-9)
    assert lens.size == (360 // max(bin_y, 1), 480 // max(bin_x, 1))


def test_rectified_images_are_those_of_p():
    info = camera_info(1, fx=60.0, d=np.array([-0.3, 0.1, 0, 0, 0]))
    info.p = np.array([50.0, 0, 30, 7, 0, 51, 20, 0, 0, 0, 1, 0])
    lens = lens_of_camera_info(info, rectified=True)
    assert not lens.is_distorted
    np.testing.assert_array_equal(lens.intrinsics, [[50, 0, 30.5], [0, 51, 20.5], [0, 0, 1]])
    raw = lens_of_camera_info(info, rectified=False)
    assert (raw.fx, raw.distortion) == (60.0, (-0.3, 0.1, 0.0, 0.0, 0.0))
    info.p = np.zeros(12)
    assert lens_of_camera_info(info, rectified=True).fx == 60.0


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"k": np.zeros(9), "p": np.zeros(12)}, "camera_info is all zero: the camera is not calibrated"),
        ({"k": np.full(9, np.nan)}, "intrinsics must be finite"),
        ({"d": np.array([np.nan] * 5)}, "distortion coefficients must be finite"),
        ({"d": np.ones(3)}, "plumb_bob has .* distortion coefficients, got 3"),
        ({"distortion_model": "kannala"}, "distortion model 'kannala' is not one of"),
        ({"size": (0, 0)}, "the image size is 0 x 0"),
        ({"binning_x": 65}, "the image size is 0 x 48"),
    ],
)
def test_cameras_that_cannot_be_used_are_refused_by_name(fields, message):
    with pytest.raises(InputError, match=message):
        lens_of_camera_info(camera_info(1, **fields), rectified=False)


@pytest.mark.parametrize(("model", "d"), DISTORTIONS)
def test_a_rectified_pixel_shows_what_its_ray_meets_in_the_lens(model, d):
    lens = Lens(200.0, 210.0, 161.0, 118.0, (240, 320), model, d)
    pinhole = rectification(lens)
    v, u = np.mgrid[10:240:40, 10:320:40]
    centres = np.stack([u.ravel() + 0.5, v.ravel() + 0.5, np.ones(u.size)])
    rays = (np.linalg.inv(pinhole.intrinsics) @ centres).T.reshape(-1, 1, 3)
    k, project = lens.intrinsics, cv2.fisheye.projectPoints if model == "equidistant" else cv2.projectPoints
    seen = project(rays, np.zeros(3), np.zeros(3), k, np.array(d))[0].reshape(-1, 2) - 0.5
    found = np.stack([pinhole.columns[v, u].ravel(), pinhole.rows[v, u].ravel()], axis=-1)
    np.testing.assert_allclose(found, seen, atol=1e-3)
    assert seen.min() > -1  # the lens fills the picture
    assert (seen.max(axis=0) < [320, 240]).all()


@pytest.mark.parametrize(
    ("name", "model", "given", "found"),
    [
        ("PLUMB_BOB", "plumb_bob", (-0.1, 0.02, 0, 0.01), (-0.1, 0.02, 0, 0.01)),
        (" plumb_bob ", "plumb_bob", (-0.1, 0.02, 0, 0, 0), (-0.1, 0.02, 0, 0, 0)),
        ("radtan", "plumb_bob", (-0.1, 0.02, 0, 0.01), (-0.1, 0.02, 0, 0.01)),
        ("kannala_brandt4", "equidistant", (0.1, 0, 0, 0), (0.1, 0, 0, 0)),
        ("Fisheye", "equidistant", (0.1, 0, 0, 0), (0.1, 0, 0, 0)),
        ("rational_polynomial", "rational_polynomial", (-0.1, 0.02, 0, 0, 0.3), (-0.1, 0.02, 0, 0, 0.3, 0, 0, 0)),
        ("None", "plumb_bob", (0, 0, 0, 0, 0), ()),
    ],
)
def test_other_names_and_lengths_of_the_same_lens(name, model, given, found):
    assert model_of(name, given, "camera_info")[0] == model
    lens = Lens(50.0, 50.0, 32.0, 24.0, (48, 64), *model_of(name, given, "camera_info"))
    assert lens.distortion == found


@pytest.mark.parametrize(("skew", "is_read"), [(0.0, True), (0.01, True), (1.0, False), (-5.0, False)])
def test_a_skew_that_would_be_lost_is_named(skew, is_read):
    info = camera_info(1, (48, 64))
    info.k[1] = skew
    if is_read:
        assert lens_of_camera_info(info, rectified=False).fx > 0
        return
    with pytest.raises(DataError, match=f"a skew of {skew:g} in K"):
        lens_of_camera_info(info, rectified=False)
