"""Random bags, images, calibrations, poses and files: the right answer, or one line that names thing and cause."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path

import bags
import cv2
import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dvlt_ros.errors import DataError
from dvlt_ros.imaging.encodings import ENCODINGS
from dvlt_ros.sources import open_source
from dvlt_ros.sources.calibration import read_camera_info
from dvlt_ros.sources.odometry import open_odometry
from dvlt_ros.sources.tum import read_listing, trajectory_rows

QUICK = settings(max_examples=40, deadline=None, suppress_health_check=[*HealthCheck])
NUMBERS = st.floats(-2, 2) | st.sampled_from([0.0, 1.0, float("nan"), float("inf"), 1e300, -1.0])
FRAMES = st.sampled_from(["cam", "/cam", "base_link", "odom", "", "map"])
WORDS = ("1", "0", "-1", "nan", "inf", "1e999999", "1403636579763555584", "1403636579.76", "x", "#", ",", "\0", "é")

NAMES = ("a", "1403636579763555584", "x.mp4", "b.png", "rgb.txt", "camera_info.yaml", "é.jpg", "m.mcap")


@contextmanager
def folder():
    """One for each example; a fixture would be shared by all."""
    with tempfile.TemporaryDirectory(prefix="fuzz_") as name:
        yield Path(name)


def problem_of(act, path: Path) -> str:
    """What ``act`` is refused with: one line that names a file, empty if it goes well. Other errors pass through."""
    try:
        act()
    except DataError as error:
        assert str(path) in str(error)  # noqa: PT017
        assert "\n" not in str(error)  # noqa: PT017
        return str(error)
    return ""


def check_source(path: Path, is_damaged: bool = False) -> None:
    """Every image is one, and every image is accounted for."""
    source = open_source(path)
    accepted = 0
    for image in source:
        accepted += 1
        assert image.stamp_ns >= 0
        assert (image.image.dtype, image.image.ndim, image.image.shape[2]) == (np.uint8, 3, 3)
        assert image.lens is None or image.lens.size == image.image.shape[:2]
        assert not image.frame_id.startswith("/")
    assert accepted > 0  # else it was refused when it was opened
    assert is_damaged or accepted + source.refusals.count == len(source)
    assert "\n" not in f"{source.refusals} {source.camera_problem}"


@st.composite
def messages(draw):
    """Records of images, of cameras, of odometry and TF; many of them impossible."""
    records = []
    stamp_ns = draw(st.sampled_from([10**8, 1_700_000_000 * 10**9]))
    for _ in range(draw(st.integers(1, 4))):
        stamp_ns += draw(st.sampled_from([10**8, 10**8, 10**8, -(10**7), 0]))
        encoding = draw(st.sampled_from([*ENCODINGS, "rgb8", "rgb8", "nonsense", ""]))
        height, width = draw(st.tuples(st.integers(0, 8), st.integers(0, 8)))
        data = np.frombuffer(draw(st.binary(min_size=0, max_size=3 * 64)), np.uint8)
        step = draw(st.integers(0, 40))
        shown = bags.image(stamp_ns, data, encoding, draw(FRAMES), (max(height, 1), width), step, draw(st.booleans()))
        shown.height = height
        records.append(("/cam/image_raw", shown))
    fields = {"k": np.array(draw(st.lists(NUMBERS, min_size=9, max_size=9)))} if draw(st.booleans()) else {}
    fields["d"] = np.array(draw(st.lists(NUMBERS, max_size=15)))
    fields["distortion_model"] = draw(st.sampled_from(["plumb_bob", "equidistant", "", "none", "x"]))
    size = draw(st.tuples(st.integers(0, 8), st.integers(0, 8)))
    records.insert(0, ("/cam/camera_info", bags.camera_info(stamp_ns, size, **fields)))
    return records


@QUICK
@given(
    records=messages(), kind=st.sampled_from([*bags.StoragePlugin]), damage=st.binary(max_size=12), at=st.floats(0, 1)
)
def test_bags(records, kind, damage, at):
    with folder() as path:
        bag = bags.write(path / "bag", records, kind)
        file = next(entry for entry in bag.iterdir() if entry.suffix in (".mcap", ".db3"))
        data = bytearray(file.read_bytes())
        start = 8 + int(at * (len(data) - 8 - len(damage)))
        is_damaged = bool(damage)
        data[start : start + len(damage)] = damage
        file.write_bytes(data)
        problem_of(lambda: check_source(bag, is_damaged), path)


@QUICK
@given(
    poses=st.lists(st.tuples(FRAMES, FRAMES, st.lists(NUMBERS, min_size=7, max_size=7)), max_size=5),
    asked=st.sampled_from(["auto", "tf", "/odom", "/nothing"]),
)  # fmt: skip
def test_odometry(poses, asked):
    with folder() as path:
        types, records = bags.STORE.types, [("/cam/image_raw", bags.image(10**8, np.zeros((2, 2, 3), np.uint8)))]
        for index, (parent, child, values) in enumerate(poses):
            head = bags.header(10**8 * (index + 1), parent)
            turn = types["geometry_msgs/msg/Quaternion"](*values[3:])
            shift = types["geometry_msgs/msg/Vector3"](*values[:3])
            transform = types["geometry_msgs/msg/Transform"](shift, turn)
            stamped = types["geometry_msgs/msg/TransformStamped"](head, child, transform)
            records.append(("/tf", types["tf2_msgs/msg/TFMessage"]([stamped])))
        bag = bags.write(path / "bag", records)

        def look_up():
            odometry = open_odometry(bag, asked, "odom", "/cam")
            for sample in odometry.samples:
                pose = odometry.base_from_cam("cam", sample.stamp_ns, 10**9)
                np.testing.assert_allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3), atol=1e-6)

        try:
            look_up()
        except DataError as error:
            assert "\n" not in str(error)  # noqa: PT017


@QUICK
@given(rows=st.lists(st.lists(st.sampled_from(WORDS), max_size=9), max_size=5), noise=st.binary(max_size=8))
def test_text_files(rows, noise):
    with folder() as path:
        content = "\n".join(" ".join(row) for row in rows).encode() + noise
        for name, read in (("poses.txt", trajectory_rows), ("rgb.txt", read_listing)):
            (path / name).write_bytes(content)
            problem_of(lambda name=name, read=read: read(path / name), path / name)


@QUICK
@given(
    content=st.recursive(
        st.none() | st.booleans() | st.integers() | NUMBERS | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=9) | st.dictionaries(st.sampled_from(
            ["camera_matrix", "distortion_coefficients", "image_width", "image_height", "distortion_model", "data"]
        ), inner, max_size=6),
        max_leaves=20,
    )
)  # fmt: skip
def test_calibrations(content):
    with folder() as path:
        file = path / "camera_info.yaml"
        file.write_text(yaml.safe_dump(content))
        problem_of(lambda: read_camera_info(file), file)


@QUICK
@given(
    files=st.lists(
        st.tuples(
            st.sampled_from(NAMES),
            st.sampled_from(["jpg", "png", "cut", "noise", "empty"]),
        ),
        max_size=5,
    ),
    noise=st.binary(min_size=1, max_size=40),
)  # fmt: skip
def test_folders(files, noise):
    picture = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    whole = {end: cv2.imencode(f".{end}", picture)[1].tobytes() for end in ("jpg", "png")}
    contents = whole | {"cut": whole["jpg"][:-20], "noise": noise, "empty": b""}
    with folder() as path:
        for name, content in files:
            (path / name).write_bytes(contents[content])
        problem_of(lambda: check_source(path, is_damaged="m.mcap" in dict(files)), path)
        for name, _ in files:
            problem_of(lambda name=name: check_source(path / name, is_damaged=True), path)


@pytest.mark.parametrize("count", [3, 8])
def test_a_good_bag_is_read_whole(tmp_path, count):
    """So that the tests above do not pass because everything is refused."""
    records = [("/cam/image_raw", bags.image(10**8 * (i + 1), np.zeros((4, 6, 3), np.uint8))) for i in range(count)]
    check_source(bags.write(tmp_path / "bag", records))
    assert len(list(open_source(tmp_path / "bag"))) == count
    shutil.rmtree(tmp_path / "bag")
