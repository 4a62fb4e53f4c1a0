"""Masks beside images."""

from __future__ import annotations

import numpy as np
import pytest

from dvlt_ros.errors import DataError
from dvlt_ros.imaging.masks import mask_for
from dvlt_ros.lens import Lens, rectification


def test_whatever_is_not_0_is_masked():
    mask = np.zeros((4, 6, 3), np.uint8)
    mask[1, 2, 0], mask[3, 5, 2] = 1, 255
    assert np.argwhere(mask_for(mask, (4, 6), None)).tolist() == [[1, 2], [3, 5]]
    assert np.argwhere(mask_for(mask[..., 0], (4, 6), None)).tolist() == [[1, 2]]


def test_a_mask_is_undistorted_as_its_image_is():
    lens = Lens(40.0, 40.0, 32.0, 24.0, (48, 64), "plumb_bob", (-0.3, 0.05, 0.0, 0.0, 0.0))
    mask = np.zeros((48, 64), np.uint8)
    mask[:, 40:] = 7
    image = rectification(lens).image(np.repeat(mask[..., None] * 30, 3, axis=2))[..., 0]
    masked = mask_for(mask, (48, 64), lens)
    certain = (image == 0) | (image == 210)
    np.testing.assert_array_equal(masked[certain], image[certain] > 0)


def test_a_mask_of_another_size_is_refused_in_one_line():
    with pytest.raises(DataError, match=r"^its mask is 6 x 4 pixels, the image 64 x 48$"):
        mask_for(np.zeros((4, 6), np.uint8), (48, 64), None)
