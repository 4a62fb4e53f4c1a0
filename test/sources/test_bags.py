"""Bags as they are left: in parts, without metadata, compressed, cut off, with claims that are not true."""

from __future__ import annotations

import random
import shutil
import sqlite3
import struct
from pathlib import Path

import bags
import cv2
import numpy as np
import pytest
import yaml
from bags import CompressionMode, StoragePlugin

from dvlt_ros.errors import DataError
from dvlt_ros.sources import open_source
from dvlt_ros.sources.messages import is_colour
from dvlt_ros.sources.recording import IMAGES, open_recording

HEIGHT, WIDTH = 24, 32
IMAGE, INFO = "/cam/image_raw", "/cam/camera_info"
PLUGINS = {"mcap": StoragePlugin.MCAP, "db3": StoragePlugin.SQLITE3}
PACKED = {"mcap": CompressionMode.STORAGE, "db3": CompressionMode.MESSAGE}
MCAP_STATISTICS = 0x0B


def picture(seed: int, size: tuple[int, int] = (HEIGHT, WIDTH)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def records(count: int, first: int = 0, size: tuple[int, int] = (HEIGHT, WIDTH)) -> list[bags.Record]:
    found: list[bags.Record] = []
    for index in range(first, first + count):
        stamp_ns = (index + 1) * 10**8
        found.append((INFO, bags.camera_info(stamp_ns, size)))
        found.append((IMAGE, bags.image(stamp_ns, picture(index, size))))
    return found


def file_of(bag: Path) -> Path:
    return next(path for path in bag.iterdir() if path.name != "metadata.yaml")


def check(path: Path, count: int) -> None:
    """The first ``count`` pictures, all of them, twice."""
    source = open_source(path)
    for _ in range(2):
        images = list(source)
        assert [image.stamp_ns for image in images] == [(index + 1) * 10**8 for index in range(count)]
        for index, image in enumerate(images):
            np.testing.assert_array_equal(image.image, picture(index))
            assert image.lens is not None


@pytest.mark.parametrize("kind", PLUGINS)
class TestWithoutMetadata:
    @pytest.mark.parametrize("names", [("rec_0", "rec_1", "rec_2"), ("rec_8", "rec_9", "rec_10"), ("a", "b", "c")])
    def test_parts_are_read_in_order_of_name(self, tmp_path, kind, names):
        (tmp_path / "split").mkdir()
        for index, name in enumerate(names):
            part = bags.write(tmp_path / f"part_{index}", records(3, 3 * index), PLUGINS[kind])
            shutil.copy(file_of(part), tmp_path / "split" / f"{name}.{kind}")
        check(tmp_path / "split", 9)
        (remark,) = open_source(tmp_path / "split").remarks
        assert "no metadata.yaml" in remark
        assert "ros2 bag reindex" in remark

    @pytest.mark.parametrize("content", ["", "\0", "[", "a: 1", "rosbag2_bagfile_information: 7"])
    def test_a_damaged_one_is_as_none(self, tmp_path, kind, content):
        bag = bags.write(tmp_path / "bag", records(4), PLUGINS[kind])
        (bag / "metadata.yaml").write_text(content)
        check(bag, 4)

    def test_one_that_counts_no_messages(self, tmp_path, kind):
        bag = bags.write(tmp_path / "bag", records(4), PLUGINS[kind])
        content = yaml.safe_load((bag / "metadata.yaml").read_text())
        information = content["rosbag2_bagfile_information"]
        for topic in information["topics_with_message_count"]:
            topic["message_count"] = 0
        information["message_count"] = 0
        (bag / "metadata.yaml").write_text(yaml.safe_dump(content))
        check(bag, 4)

    @pytest.mark.parametrize("name", ["renamed", "2024-05-01T12:30:00", "wörk"])
    def test_files_of_other_names(self, tmp_path, kind, name):
        bag = bags.write(tmp_path / "bag", records(4), PLUGINS[kind])
        file_of(bag).rename(bag / f"{name}.{kind}")
        check(bag, 4)
        check(bag / f"{name}.{kind}", 4)
        (bag / f"{name}.{kind}").rename(tmp_path / "without_a_suffix")
        check(tmp_path / "without_a_suffix", 4)


@pytest.mark.parametrize(
    ("kind", "mode"),
    [
        ("mcap", CompressionMode.FILE), ("mcap", CompressionMode.STORAGE), ("db3", CompressionMode.FILE),
        ("db3", CompressionMode.MESSAGE),
    ],
)  # fmt: skip
@pytest.mark.parametrize("alone", [False, True])
def test_compressed_bags(tmp_path, kind, mode, alone):
    bag = bags.write(tmp_path / "bag", records(5), PLUGINS[kind], mode)
    check(file_of(bag) if alone else bag, 5)
    if mode == CompressionMode.FILE:
        whole = file_of(bag).read_bytes()
        file_of(bag).write_bytes(whole[: len(whole) // 2])
        with pytest.raises(DataError, match="compressed, and cannot be unpacked"):
            open_source(file_of(bag))


@pytest.mark.parametrize("kind", PLUGINS)
@pytest.mark.parametrize("is_packed", [False, True])
@pytest.mark.parametrize("share", [0.3, 0.5, 0.8, 0.95, 0.999])
def test_a_bag_that_was_cut_gives_what_is_before_the_cut(tmp_path, kind, is_packed, share):
    size = (120, 160) if is_packed and kind == "mcap" else (HEIGHT, WIDTH)  # zstd packs 128 kB at a time
    bag = bags.write(tmp_path / "bag", records(40, size=size), PLUGINS[kind], PACKED[kind] if is_packed else None)
    file, data = file_of(bag), file_of(bag).read_bytes()
    (bag / "metadata.yaml").unlink()
    file.write_bytes(data[: int(share * len(data))])
    source = open_source(bag)
    images = list(source)
    assert len(images) >= 40 * share - 8
    for index, image in enumerate(images):
        np.testing.assert_array_equal(image.image, picture(index, size))
    assert any(word in " ".join(source.remarks) for word in ("cut off", "damaged")) or len(images) == 40


@pytest.mark.parametrize("claim", [10**15, 2**63, 2**64 - 1, 0])
def test_statistics_are_a_claim(tmp_path, claim):
    bag = bags.write(tmp_path / "bag", records(6))
    data = bytearray(file_of(bag).read_bytes())
    place = data.rfind(struct.pack("<BQ", MCAP_STATISTICS, len(data))[:1] + struct.pack("<Q", 46 + 10 * 2))
    assert place > 0
    struct.pack_into("<Q", data, place + 9, claim)
    for channel in range(2):
        struct.pack_into("<Q", data, place + 9 + 46 + 2 + 10 * channel, claim)
    file_of(bag).write_bytes(data)
    check(bag, 6)
    assert len(open_source(bag)) == 6


def test_what_a_crash_left_in_the_log_is_read(tmp_path):
    bag = bags.write(tmp_path / "bag", records(4), StoragePlugin.SQLITE3)
    file, copy = file_of(bag), tmp_path / "crashed"
    writer = sqlite3.connect(file)
    writer.execute("PRAGMA journal_mode = WAL")
    writer.execute("DELETE FROM messages WHERE id > 6")
    writer.commit()
    copy.mkdir()
    for path in (file, file.with_name(f"{file.name}-wal")):
        shutil.copy(path, copy / path.name)
    writer.close()
    check(copy, 3)
    assert sorted(path.name for path in copy.iterdir()) == sorted([file.name, f"{file.name}-wal"])  # nothing is written


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("kind", PLUGINS)
def test_damage_anywhere_is_pictures_or_one_line(tmp_path, seed, kind):
    bag = bags.write(tmp_path / "bag", records(4), PLUGINS[kind], PACKED[kind] if seed % 2 else None)
    file, rng = file_of(bag), random.Random(seed)
    data = bytearray(file.read_bytes())
    for _ in range(rng.randint(1, 4)):
        place, length = rng.randrange(16, len(data)), rng.choice([1, 4, 8, 60])
        data[place : place + length] = rng.randbytes(len(data[place : place + length]))
    file.write_bytes(data)
    problem = f"{bag}"
    try:
        source = open_source(bag)
        accepted = len(list(source))
        assert accepted <= 4
        assert source.refusals.count <= 2 * (len(source) + 1)
    except DataError as error:
        problem = str(error)
    assert str(bag) in problem
    assert "\n" not in problem


# What is in the messages


@pytest.mark.parametrize("encoding", ["nonsense", "jpeg", "32FC4", "nv99"])
def test_an_encoding_that_is_not_read_is_named(tmp_path, encoding):
    shown = bags.image(10**8, picture(0), encoding)
    bag = bags.write(tmp_path / "bag", [(IMAGE, shown)] * 3)
    with pytest.raises(DataError, match=rf"no topic with a colour image; {IMAGE}: encoding '{encoding}' is not read"):
        open_source(bag)
    with pytest.raises(DataError, match=rf"none of 3 images can be used; 3 refused.*encoding '{encoding}'"):
        open_source(bag, topic=IMAGE)


@pytest.mark.parametrize("other", ["rgb8", "bayer_rggb8", "nv21", "mono8"])
def test_of_a_camera_and_a_depth_of_16_bits_the_camera_is_taken(tmp_path, other):
    rows = {"rgb8": picture(0), "nv21": np.full((HEIGHT * 3 // 2, WIDTH), 128, np.uint8)}
    shown = bags.image(10**8, rows.get(other, picture(0)[..., 0]), other, size=(HEIGHT, WIDTH))
    depth = bags.image(10**8, np.full((HEIGHT, WIDTH), 2000, np.uint16), "mono16")
    bag = bags.write(tmp_path / "bag", [("/depth/image", depth), (IMAGE, shown)])
    with open_recording(bag) as recording:
        assert recording.choose(None, "a colour image", "topic", IMAGES, is_colour) == IMAGE
    alone = bags.write(tmp_path / "alone", [("/ir/image", depth)])
    assert len(list(open_source(alone))) == 1


@pytest.mark.parametrize("seconds", [-1, -(2**31), 0])
def test_stamps_that_are_none_are_refused_one_by_one(tmp_path, seconds):
    shown = bags.image(10**8, picture(1))
    shown.header.stamp.sec, shown.header.stamp.nanosec = seconds, 0
    source = open_source(
        bags.write(tmp_path / "bag", [(IMAGE, bags.image(10**8, picture(0))), (IMAGE, shown), (IMAGE, shown)])
    )
    assert len(list(source)) == 1
    assert source.refusals.count == 2
    expected = "zero" if seconds == 0 else f"{seconds}.000 s"
    assert f"{IMAGE}, image 2: " in source.refusals.first
    assert f"an image's stamp is {expected}" in source.refusals.first


@pytest.mark.parametrize("frame", ["/cam", "//cam", " cam", "cam"])
def test_frame_names_are_normalised(tmp_path, frame):
    source = open_source(bags.write(tmp_path / "bag", [(IMAGE, bags.image(10**8, picture(0), frame_id=frame))]))
    assert next(iter(source)).frame_id == "cam"
    assert next(iter(open_source(tmp_path / "bag", frame_id="/other"))).frame_id == "cam"


@pytest.mark.parametrize("missing", ["uint32 step", "string encoding", "uint8[] data"])
def test_messages_of_the_same_name_with_other_fields(tmp_path, missing):
    from rosbags.rosbag2 import Writer
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore

    name, store = "sensor_msgs/msg/Image", get_typestore(Stores.ROS2_JAZZY)
    fields = ["std_msgs/Header header", "uint32 height", "uint32 width", "string encoding", "uint8 is_bigendian"]
    fields = [field for field in [*fields, "uint32 step", "uint8[] data"] if field != missing]
    own = get_typestore(Stores.EMPTY)
    own.register({kind: definition for kind, definition in store.fielddefs.items() if kind != name})
    own.register(get_types_from_msg("\n".join(fields), name))
    with Writer(tmp_path / "bag", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connection = writer.add_connection(IMAGE, name, typestore=own)
        writer.write(connection, 1, bytes([0, 1, 0, 0]) + bytes(80))
    with pytest.raises(DataError, match=rf"{IMAGE}.* of this bag has other fields: no {missing.split()[-1]}"):
        open_source(tmp_path / "bag")


@pytest.mark.parametrize("size", [(65500, 65500), (30_000, 30_000), (1, 2**31 - 1)])
def test_a_compressed_image_that_claims_much_is_refused(tmp_path, size):
    good = cv2.imencode(".png", picture(0))[1].tobytes()
    bad = bytearray(good)
    struct.pack_into(">II", bad, 16, size[1], size[0])
    topic = f"{IMAGE}/compressed"
    messages = [bags.compressed(10**8 * (i + 1), bytes(bad) if i == 1 else good, "png") for i in range(3)]
    source = open_source(bags.write(tmp_path / "bag", [(topic, message) for message in messages]))
    assert len(list(source)) == 2
    assert f"its header says {size[1]} x {size[0]} pixels" in source.refusals.first


@pytest.mark.parametrize(
    ("fields", "cause"),
    [
        ({"k": np.array([0, 0, 15.5, 0, 60, 11.5, 0, 0, 1])}, "camera_info has fx = 0 in K"),
        ({"k": np.array([60, 0, 15.5, 0, 60, 0, 0, 0, 1])}, "camera_info has cy = 0 in K"),
        ({"k": np.array([0, 0, 0, 0, 60, 11.5, 0, 0, 1.0])}, "camera_info has fx = 0, cx = 0 in K"),
        ({"k": np.zeros(9)}, "camera_info is all zero: the camera is not calibrated"),
        ({"distortion_model": "none", "d": np.full(5, 0.1)}, "distortion model 'none', but its coefficients"),
        ({"d": np.array([0.1, 0, 0, 0, 0, 0, 0, 0.2])}, "plumb_bob has .* distortion coefficients, got 8"),
    ],
)
def test_calibrations_that_are_dropped_say_why(tmp_path, fields, cause):
    info = bags.camera_info(10**8, (HEIGHT, WIDTH), **fields)
    source = open_source(bags.write(tmp_path / "bag", [(INFO, info), (IMAGE, bags.image(10**8, picture(0)))]))
    (image,) = source
    assert image.lens is None
    import re

    assert re.search(rf"{INFO}: .*{cause}", source.camera_problem)


@pytest.mark.parametrize(
    ("fields", "distortion"),
    [
        ({"d": np.array([0.1, 0.2, 0, 0, 0, 0, 0, 0])}, (0.1, 0.2, 0.0, 0.0)),
        ({"d": np.array([0.1, 0.2, 0, 0, 0.3, 0, 0, 0, 0, 0, 0, 0])}, (0.1, 0.2, 0.0, 0.0, 0.3)),
        ({"distortion_model": "none"}, ()),
        ({"distortion_model": "none", "d": np.zeros(0)}, ()),
        ({"distortion_model": "", "d": np.zeros(0)}, ()),
        ({"distortion_model": "equidistant", "d": np.array([0.1, 0, 0, 0, 0])}, (0.1, 0.0, 0.0, 0.0)),
        ({"distortion_model": "rational_polynomial", "d": np.array([0.1] * 8 + [0.0])}, (0.1,) * 8),
    ],
)
def test_calibrations_of_which_nothing_is_lost_are_kept(tmp_path, fields, distortion):
    info = bags.camera_info(10**8, (HEIGHT, WIDTH), **fields)
    source = open_source(bags.write(tmp_path / "bag", [(INFO, info), (IMAGE, bags.image(10**8, picture(0)))]))
    (image,) = source
    assert source.camera_problem == ""
    assert image.lens.distortion == distortion
