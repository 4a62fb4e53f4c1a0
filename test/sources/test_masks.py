"""Masks beside images: a folder, or a topic of a bag."""

from __future__ import annotations

import bags
import cv2
import numpy as np
import pytest
from pictures import picture

from dvlt_ros.errors import DataError
from dvlt_ros.sources import open_source
from dvlt_ros.sources.masks import MASKS
from dvlt_ros.sources.open import open_rig

SIZE = (48, 64)


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


START_NS, STEP_NS = 1_700_000_000_123_456_789, 50_000_000
IMAGES, IMAGE_MASKS = "/front/image_raw", "/front/mask/image"


def a_mask(stamp_ns, column, size=SIZE, encoding="mono8"):
    shown = np.zeros(size, np.uint8)
    shown[:, column] = 7
    return bags.image(stamp_ns, shown, encoding)


def stamped(index):
    return START_NS + STEP_NS * index


def a_bag(folder, masks, topic=IMAGE_MASKS):
    """Images at four stamps; masks are recorded after them, as a segmentation node is slow."""
    records = [(IMAGES, bags.image(stamped(index), picture(index))) for index in range(4)]
    return bags.write(folder / "bag", [*records, *((topic, mask) for mask in masks)])


def test_masks_of_a_bag_belong_to_the_images_with_their_stamps(tmp_path):
    masks = [a_mask(stamped(0), 3), a_mask(stamped(1) + 25_000_000, 5), a_mask(stamped(2) + 1_000_000, 6)]
    bag = a_bag(tmp_path, masks)
    source = open_source(bag)
    assert f"3 masks on {IMAGE_MASKS}" in source.remarks
    for _ in range(2):
        found = [image.masked for image in source]
        assert found[1] is None
        assert found[3] is None
        for masked, column in ((found[0], 3), (found[2], 6)):
            assert np.flatnonzero(masked.any(axis=0)).tolist() == [column]
            assert masked[:, column].all()
    assert source.refusals.count == 0


def test_a_mask_of_a_bag_that_does_not_fit_refuses_its_image(tmp_path):
    bag = a_bag(tmp_path, [a_mask(stamped(0), 0, (4, 6)), a_mask(stamped(1), 0, encoding="mono16")])
    source = open_source(bag)
    assert [image.stamp_ns for image in source] == [stamped(2), stamped(3)]
    first, second = source.refusals.listed
    assert first.endswith("its mask is 6 x 4 pixels, the image 64 x 48")
    assert second.endswith("its mask is encoded as 'mono16', what is read is mono8 or 8UC1")


def test_which_topic_has_the_masks_is_chosen_or_asked(tmp_path):
    bag = a_bag(tmp_path, [a_mask(stamped(0), 0)], "/people")
    assert next(iter(open_source(bag, topic=IMAGES))).masked is None
    assert next(iter(open_source(bag, mask_topic="/people"))).masked.any()
    with pytest.raises(DataError, match="/nobody: no messages"):
        open_source(bag, mask_topic="/nobody")
    with pytest.raises(DataError, match="not a bag, so it has no topic /people of masks"):
        open_source(tmp_path, mask_topic="/people")
    records = [(IMAGES, bags.image(stamped(0), picture(0)))]
    records += [(f"/{name}/mask/image", a_mask(stamped(0), 0)) for name in ("left", "right")]
    several = bags.write(tmp_path / "several", records)
    source = open_source(several)
    assert next(iter(source)).masked is None
    assert any("several topics have masks, none is used" in remark for remark in source.remarks)


def test_every_camera_of_a_rig_has_masks_of_its_own(tmp_path):
    records = []
    for column, name in enumerate(("left", "right")):
        records += [
            (f"/{name}/image_raw", bags.image(stamped(0), picture(0))),
            (f"/{name}/mask/image", a_mask(stamped(0), column)),
        ]
    rig = open_rig(bags.write(tmp_path / "rig", records), ["/left/image_raw", "/right/image_raw"])
    masked = {image.camera: np.flatnonzero(image.masked.any(axis=0)).tolist() for image in rig}
    assert masked == {"left": [0], "right": [1]}
