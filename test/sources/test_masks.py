"""A folder of masks beside images."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from dvlt_ros.sources import open_source
from dvlt_ros.sources.masks import MASKS


def write(path, value, size=(24, 32)):
    path.parent.mkdir(exist_ok=True)
    image = np.full((*size, 3), 90, np.uint8)
    image[:, :8] = value
    assert cv2.imwrite(str(path), image)


@pytest.fixture
def folder(tmp_path):
    images = tmp_path / "images"
    for name in ("1.png", "2.png", "3.png"):
        write(images / name, 10)
    return images


@pytest.mark.parametrize("place", ["in it", "beside it"])
@pytest.mark.parametrize("name", ["2.png", "2.png.png"])
def test_what_is_not_0_is_masked_and_an_image_without_a_mask_is_used_as_it_is(folder, place, name):
    masks = (folder if place == "in it" else folder.parent) / MASKS
    image = np.zeros((24, 32), np.uint8)
    image[3, 4] = 1
    masks.mkdir()
    assert cv2.imwrite(str(masks / name), image)
    source = open_source(folder)
    assert any(remark == f"1 masks in {masks}" for remark in source.remarks)
    found = [image.masked for image in source]
    assert found[0] is None
    assert found[2] is None
    assert np.argwhere(found[1]).tolist() == [[3, 4]]


def test_a_mask_of_another_size_or_that_is_none_refuses_its_image_by_name(folder):
    write(folder / MASKS / "1.png", 0, size=(4, 6))
    (folder / MASKS / "3.png").write_bytes(b"no image")
    source = open_source(folder)
    assert [image.name for image in source] == ["2.png"]
    assert source.refusals.count == 2
    first, third = source.refusals.listed
    assert first.endswith("1.png: its mask is 6 x 4 pixels, the image 32 x 24")
    assert "3.png: its mask 3.png: " in third
