"""Bags that hold what no recorder writes: each is read as far as it is a bag, or named with its cause."""

from __future__ import annotations

import sqlite3
import struct
from pathlib import Path

import bags
import numpy as np
import pytest
from bags import StoragePlugin

from dvlt_ros.errors import DataError
from dvlt_ros.sources import open_source
from dvlt_ros.sources.bags.part import zstd

IMAGE = "/cam/image_raw"
PLUGINS = {"mcap": StoragePlugin.MCAP, "db3": StoragePlugin.SQLITE3}
MCAP_MAGIC = b"\x89MCAP0\r\n"


def four_images(path: Path, kind: str) -> Path:
    """The bag's only file."""
    shown = [bags.image(10**8 * (index + 1), np.full((6, 8, 3), index, np.uint8)) for index in range(4)]
    bag = bags.write(path, [(IMAGE, image) for image in shown], PLUGINS[kind])
    return next(file for file in bag.iterdir() if file.suffix == f".{kind}")


@pytest.mark.parametrize("kind", PLUGINS)
@pytest.mark.parametrize("named", ["[NAME, NAME, NAME]", "NAME", "[*a12]", "*a12", "[7]", "{NAME: 1}"])
def test_metadata_that_name_a_file_again_or_nothing_that_is_a_name(tmp_path, kind, named):
    """``a12`` would be 10^12 words, in a few lines of YAML."""
    file = four_images(tmp_path / "bag", kind)
    lines = ["a0: &a0 [x]", *(f"a{i + 1}: &a{i + 1} [{', '.join([f'*a{i}'] * 10)}]" for i in range(12))]
    lines += [f"rosbag2_bagfile_information: {{relative_file_paths: {named.replace('NAME', file.name)}}}"]
    (file.parent / "metadata.yaml").write_text("\n".join(lines))
    assert [image.stamp_ns // 10**8 for image in open_source(file.parent)] == [1, 2, 3, 4]


@pytest.mark.parametrize("kind", PLUGINS)
@pytest.mark.parametrize("content", [b"no bag at all", bytes(1 << 22), b"PK\x03\x04", b"", MCAP_MAGIC])
def test_what_is_compressed_and_no_bag_is_named_by_its_own_name(tmp_path, kind, content):
    """Before all of it is unpacked: a few bytes may be any number of them."""
    path = tmp_path / f"walk.{kind}.zstd"
    path.write_bytes(zstd().compress(content))
    with pytest.raises(DataError, match=rf"^{path}: ") as error:
        open_source(path)
    assert "dvlt_bag_" not in str(error.value)


@pytest.mark.parametrize("value", [7_000_000_000, 3, 1.5, "words", None])
@pytest.mark.parametrize("column", ["data", "timestamp"])
def test_rows_of_a_database_that_hold_something_else_are_passed_over(tmp_path, column, value):
    file = four_images(tmp_path / "bag", "db3")
    database = sqlite3.connect(file)
    database.execute("CREATE TABLE rows (id INTEGER PRIMARY KEY, topic_id, timestamp, data)")
    database.execute("INSERT INTO rows SELECT id, topic_id, timestamp, data FROM messages")
    database.execute("DROP TABLE messages")
    database.execute("ALTER TABLE rows RENAME TO messages")
    database.execute(f"UPDATE messages SET {column} = ? WHERE id = 2", (value,))
    database.commit()
    database.close()
    source = open_source(file)
    stamps = sorted(image.stamp_ns // 10**8 for image in source)
    is_odd = not (column == "timestamp" and isinstance(value, int))  # a time of recording may be any number
    assert stamps == ([1, 3, 4] if is_odd else [1, 2, 3, 4])
    assert ("rows that hold no message: 1" in str(source.refusals)) == is_odd


def string(data: bytes) -> bytes:
    return struct.pack("<I", len(data)) + data


@pytest.mark.parametrize(
    ("kind", "form"),
    [
        ("sensor_msgs/Image", "ros1msg"), ("foxglove.CompressedImage", "protobuf"), ("Image", "jsonschema"),
        ("foxglove_msgs/msg/CompressedVideo", "ros2msg"),
    ],
)  # fmt: skip
def test_messages_that_are_not_read_are_named(tmp_path, kind, form):
    schema = struct.pack("<H", 1) + string(kind.encode()) + string(form.encode()) + string(b"uint8[] data\n")
    channel = struct.pack("<HH", 1, 1) + string(IMAGE.encode()) + string(b"other") + struct.pack("<I", 0)
    message = struct.pack("<HIQQ", 1, 0, 1, 1) + bytes(40)
    records = ((3, schema), (4, channel), (5, message), (2, bytes(20)))
    packed = b"".join(struct.pack("<BQ", opcode, len(record)) + record for opcode, record in records)
    (tmp_path / "walk.mcap").write_bytes(MCAP_MAGIC + packed + MCAP_MAGIC)
    shown = kind if form == "ros2msg" else f"{kind} as {form}, which is not read"
    with pytest.raises(DataError, match=rf"no topic with a colour image; topics: {IMAGE} \({shown}\)"):
        open_source(tmp_path / "walk.mcap")
