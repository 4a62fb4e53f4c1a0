"""Bags give the same images, stamps and lenses that went into them."""

from __future__ import annotations

import bags
import cv2
import numpy as np
import pytest
from pictures import check, picture

from dvlt_ros.errors import InputError
from dvlt_ros.sources import open_source

START_NS = 1_700_000_000_123_456_789
IMAGE, INFO = "/camera/image_raw", "/camera/camera_info"


@pytest.mark.parametrize("plugin", [bags.StoragePlugin.MCAP, bags.StoragePlugin.SQLITE3])
@pytest.mark.parametrize("transport", ["raw", "compressed"])
def test_a_bag_gives_images_with_stamps_frames_and_lenses(tmp_path, plugin, transport):
    stamps_ns = [START_NS + 50_000_000 * index for index in range(4)]
    records = []
    for index, stamp_ns in enumerate(stamps_ns):
        png = cv2.imencode(".png", cv2.cvtColor(picture(index), cv2.COLOR_RGB2BGR))[1].tobytes()
        shown = bags.image(stamp_ns, picture(index)) if transport == "raw" else bags.compressed(stamp_ns, png, "png")
        records.append((IMAGE if transport == "raw" else f"{IMAGE}/compressed", shown))
        if index in (1, 2):
            records.insert(-1, (INFO, bags.camera_info(stamp_ns, fx=60.0 + index)))
    bag = bags.write(tmp_path / "bag", records, plugin)
    for path in (bag, next(bag.glob("*.mcap")) if plugin == bags.StoragePlugin.MCAP else bag):
        source = open_source(path)
        assert len(source) == 4
        check(source, range(4), stamps_ns)
        images = list(source)
        assert {image.frame_id for image in images} == {"cam"}
        assert [image.lens.fx for image in images] == [61.0, 61.0, 62.0, 62.0]  # each holds until the next
    assert source.camera_problem == ""


def test_rectified_topics_have_the_camera_of_p(tmp_path):
    p = np.array([50.0, 0, 31.5, 0, 0, 50, 23.5, 0, 0, 0, 1, 0])
    info = bags.camera_info(START_NS, d=np.full(5, 0.1), p=p)
    bag = bags.write(tmp_path / "bag", [(INFO, info), ("/camera/image_rect_color", bags.image(START_NS, picture(0)))])
    lens = next(iter(open_source(bag))).lens
    assert (lens.fx, lens.is_distorted) == (50.0, False)


@pytest.mark.parametrize(
    ("info", "problem"),
    [
        ({"k": np.zeros(9)}, "/camera/camera_info: camera_info is all zero"),
        ({"size": (480, 640)}, "/camera/camera_info: it is 64 x 48, the camera of camera_info has 640 x 480"),
    ],
)
def test_a_useless_camera_info_is_named_and_the_images_come_without(tmp_path, info, problem):
    records = [(INFO, bags.camera_info(START_NS, **info)), (IMAGE, bags.image(START_NS, picture(0)))]
    source = open_source(bags.write(tmp_path / "bag", records))
    assert [image.lens for image in source] == [None]
    assert problem in source.camera_problem


def test_bad_messages_are_left_out_and_counted(tmp_path):
    odd = bags.image(START_NS + 2, picture(0), encoding="nonsense")
    short = bags.image(START_NS + 3, picture(0))
    short.data = short.data[:100]
    records = [bags.image(START_NS, picture(0)), bags.image(0, picture(1)), odd, short, bags.image(1, picture(4))]
    source = open_source(bags.write(tmp_path / "bag", [(IMAGE, message) for message in records]))
    check(source, [0, 4], [START_NS, 1])  # a clock that was set back is not repaired
    assert source.refusals.count == 3
    assert "stamp is zero" in source.refusals.first


def test_a_damaged_bag_gives_what_is_before_the_damage(tmp_path):
    big = (240, 320)
    records = [(IMAGE, bags.image(START_NS + index, picture(index, big))) for index in range(12)]
    bag = bags.write(tmp_path / "bag", records)
    path = next(bag.glob("*.mcap"))
    data = bytearray(path.read_bytes())
    start = data.find(picture(7, big).tobytes()[:200]) - 100  # among them the length of the record
    data[start : start + 60] = bytes([255]) * 60
    path.write_bytes(data)
    source = open_source(bag)
    readable = len(list(source))
    assert 2 < readable < 12
    assert source.refusals.count == 12 - readable
    assert "damaged bag" in source.refusals.first


def test_several_cameras_are_listed_and_one_can_be_chosen(tmp_path):
    records = [("/left/image", bags.image(START_NS, picture(0))), ("/right/image", bags.image(START_NS, picture(1)))]
    bag = bags.write(tmp_path / "bag", records)
    with pytest.raises(InputError, match=r"several topics could be .*'/left/image', '/right/image'"):
        open_source(bag)
    check(open_source(bag, topic="/right/image"), [1], [START_NS])
    with pytest.raises(InputError, match="no messages on /up/image; topics:"):
        open_source(bag, topic="/up/image")
