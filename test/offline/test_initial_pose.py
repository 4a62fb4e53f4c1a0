"""The pose hint of a command line."""

from __future__ import annotations

import numpy as np

from dvlt_ros.offline.saved_maps import looking


def test_a_camera_that_looks_along_x_or_y_stands_upright():
    ahead, left = looking(1.0, 2.0, 0.0), looking(0.0, 0.0, 90.0)
    np.testing.assert_allclose(ahead[:3, 2], [1, 0, 0], atol=1e-12)
    np.testing.assert_allclose(left[:3, 2], [0, 1, 0], atol=1e-12)
    np.testing.assert_allclose(left[:3, 1], [0, 0, -1], atol=1e-12)  # the image's down
    np.testing.assert_allclose(ahead[:3, 3], [1, 2, 0])
