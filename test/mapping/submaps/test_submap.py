"""Views as they are stored in a submap."""

from __future__ import annotations

import numpy as np
import pytest
from room import INTRINSICS
from submap_samples import an_anchor

from dvlt_ros.errors import InputError
from dvlt_ros.mapping.data.frames import Picture
from dvlt_ros.mapping.submaps.submap import StoredView, stride_of, thinned_intrinsics

pytest.importorskip("gtsam", reason="GTSAM is not here; `pip install '.[loops]'` runs this")


def test_a_stored_views_pixels_look_where_they_did():
    anchor = an_anchor(0)
    stored = StoredView.of(anchor, image_size=140).anchor
    stride = stride_of(anchor.depth.shape)
    assert stride > 1
    rows, columns = (np.arange(n) for n in stored.depth.shape)
    full = np.stack(np.meshgrid(columns * stride + stride // 2, rows * stride + stride // 2), -1) + 0.5
    thin = np.stack(np.meshgrid(columns, rows), -1) + 0.5
    for grid, intrinsics in ((full, anchor.intrinsics), (thin, thinned_intrinsics(anchor.intrinsics, stride))):
        rays = np.concatenate([grid, np.ones((*grid.shape[:2], 1))], -1) @ np.linalg.inv(intrinsics).T
        np.testing.assert_allclose(rays[..., :2], (full - anchor.intrinsics[:2, 2]) / np.diag(anchor.intrinsics)[:2])
    np.testing.assert_array_equal(stored.depth, anchor.depth[stride // 2 :: stride, stride // 2 :: stride])


def test_a_stored_picture_is_as_large_as_the_network_looks_and_its_frame_is_let_go():
    gradient = np.linspace(0, 255, 640).astype(np.uint8)
    shown = Picture(np.tile(gradient[None, :, None], (480, 1, 3)), INTRINSICS)
    stored = StoredView.of(an_anchor(0, shown=shown), image_size=140)
    view = stored.view()
    assert view.picture.image.shape == (105, 140, 3)
    np.testing.assert_allclose(view.picture.intrinsics, np.diag([140 / 640, 105 / 480, 1]) @ INTRINSICS)
    assert abs(view.picture.image[50, 70].astype(int) - 128).max() < 4
    with pytest.raises(InputError, match="no frame to load"):
        view.frame.load()
