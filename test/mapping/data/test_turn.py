"""Turning images and turning back leaves pixels, rays and poses where they were."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dvlt_ros.mapping.data.turn import Turn
from dvlt_ros.model import prepare_images

ROTATIONS = [0, 90, 180, 270]
K = np.array([[50.0, 0.0, 21.0], [0.0, 45.0, 13.0], [0.0, 0.0, 1.0]])
SIZE = (30, 40)


@pytest.mark.parametrize("rotation", ROTATIONS)
def test_maps_come_back(rotation):
    maps = np.random.default_rng(0).normal(size=(2, *SIZE))
    turned = np.stack([Turn(rotation).image(m) for m in maps])
    assert turned.shape[1:] == (SIZE if rotation % 180 == 0 else SIZE[::-1])
    np.testing.assert_array_equal(Turn(rotation).restored(turned), maps)


def test_90_degrees_are_clockwise():
    image = np.zeros((*SIZE, 3), np.uint8)
    image[0, 0] = 255
    assert Turn(90).image(image)[0, -1].all()


@pytest.mark.parametrize("rotation", ROTATIONS)
def test_a_point_is_seen_at_the_turned_pixel(rotation):
    upright = Turn(rotation)
    point = np.array([0.13, -0.09, 1.0])
    column, row, _ = K @ point
    image = np.zeros(SIZE)
    image[int(row), int(column)] = 1
    seen = upright.intrinsics(K, SIZE) @ upright.turned_from_cam @ point
    turned = upright.image(image)
    assert turned[int(seen[1]), int(seen[0])] == 1
    assert seen[2] == pytest.approx(1)


@pytest.mark.parametrize("rotation", ROTATIONS)
def test_intrinsics_come_back(rotation):
    upright = Turn(rotation)
    np.testing.assert_allclose(upright.restored_intrinsics(upright.intrinsics(K, SIZE), SIZE), K, atol=1e-9)


@pytest.mark.parametrize("rotation", ROTATIONS)
def test_the_mapping_is_that_of_the_cameras_own_pixels(rotation):
    upright = Turn(rotation)
    image = np.random.default_rng(0).integers(0, 255, (30, 40, 3), dtype=np.uint8)
    mapping = prepare_images([upright.image(image)], 28).mappings[0]
    restored = upright.restored_mapping(mapping)
    size = restored.network_size
    carried = restored.intrinsics_to_original(torch.tensor(K)).numpy()
    assert restored.original_size == SIZE
    # The same camera through the upright images: down to the network, and back.
    network = upright.intrinsics(K, size)
    through = mapping.intrinsics_to_original(torch.tensor(network)).numpy()
    np.testing.assert_allclose(upright.restored_intrinsics(through, SIZE), carried, atol=1e-9)
