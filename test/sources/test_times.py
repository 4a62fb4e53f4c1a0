"""Times of text files: in the unit that their magnitude tells, or refused at the first that cannot be one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dvlt_ros.errors import DataError
from dvlt_ros.mapping.sensors.odometry import OdometryConfig
from dvlt_ros.offline.sensors import CameraOdometry
from dvlt_ros.sources.odometry import open_odometry
from dvlt_ros.sources.times import UNITS, read_times
from dvlt_ros.sources.tum import read_listing, trajectory_rows

START_NS = 1403636579763555584
LATEST_NS = 2**31 * 10**9 - 1


@given(stamps=st.lists(st.integers(10**18, LATEST_NS), min_size=1, max_size=5), unit=st.sampled_from([*UNITS]))
def test_clocks_since_1970_are_read_in_every_unit(stamps, unit):
    """All digits stay; also with a fraction that says nothing, as numpy.savetxt and ORB-SLAM write it."""
    digits = {"s": 9, "ms": 6, "µs": 3, "ns": 0}[unit]
    texts = [f"{stamp // UNITS[unit]}.{stamp % UNITS[unit]:0{digits}d}" for stamp in stamps]
    texts = [f"{text}000000" if unit == "ns" else text for text in texts]
    times = read_times(texts, "file")
    assert times.unit == unit
    assert times.stamps_ns.tolist() == stamps


@pytest.mark.parametrize("text", ["1.403636579763555584e18", "1403636579763555584.000000", "+1403636579763555584"])
def test_ways_to_write_nanoseconds(text):
    assert read_times([text], "file").stamps_ns.tolist() == [START_NS]


@pytest.mark.parametrize("texts", [["0", "0.1", "0.2"], ["12.25", "12.000000001"], ["0"], ["99999", "100000.5"]])
def test_clocks_that_begin_at_zero_are_in_seconds(texts):
    assert read_times(texts, "file").stamps_ns.tolist() == [round(float(text) * 1e9) for text in texts]


@pytest.mark.parametrize(
    ("texts", "cause"),
    [
        (["1.0", "now"], "'now' is not a time"),
        (["nan"], "'nan' is not a time"),
        (["inf"], "'inf' is not a time"),
        (["1e999999"], "'1e999999' is not a time"),
        (["1" * 400], "is not a time"),
        (["1403636579763555584", "1403636579.8"], "'1403636579.8' is in s, other times are in ns"),
        (["9403636579763555584"], "is not a time: read in ns, it is beyond the year 2038"),
        (["4403636579.0"], "is not a time: read in s, it is beyond the year 2038"),
        (["0", "50000000", "100000000"], "'0', '50000000': times in seconds cannot be 50000000 s apart"),
        (["1\x00"], "is not a time"),
    ],
)
def test_what_is_no_time_is_refused(texts, cause):
    with pytest.raises(DataError, match=rf"^file: .*{cause}"):
        read_times(texts, "file")


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("separator", [" ", "\t", ",", ", "])
def test_trajectories_in_every_unit(tmp_path, unit, separator):
    path, stamps = tmp_path / "poses.txt", [START_NS // 10**6 * 10**6 + 50_000_000 * index for index in range(4)]
    rows = [separator.join([f"{stamp / UNITS[unit]:.3f}", "1", "2", "3", "0", "0", "0", "1"]) for stamp in stamps]
    path.write_text("# time x y z qx qy qz qw\n" + "\n".join(rows))
    found, translations, _ = trajectory_rows(path)
    np.testing.assert_allclose(found, stamps, atol=10**6 if unit == "s" else 10**3)
    np.testing.assert_array_equal(translations, [[1, 2, 3]] * 4)


@pytest.mark.parametrize("unit", UNITS)
def test_odometry_says_the_unit_of_its_file(tmp_path, unit):
    path = tmp_path / "poses.txt"
    path.write_text("\n".join(f"{(START_NS + 10**9 * i) / UNITS[unit]:.3f} {i} 0 0 0 0 0 1" for i in range(3)))
    said: list[str] = []
    CameraOdometry(open_odometry(tmp_path, str(path), "odom", "cam"), OdometryConfig(), said.append)
    assert said == ([] if unit == "s" else [f"{path}: times are read in {unit}"])


@pytest.mark.parametrize("unit", UNITS)
def test_listings_in_every_unit(tmp_path, unit):
    rows = [f"{(START_NS + 10**9 * index) // UNITS[unit]} rgb\\{index}.png" for index in range(3)]
    (tmp_path / "rgb.txt").write_text("\n".join(rows))
    images, remark = read_listing(tmp_path / "rgb.txt")
    assert [path for _, path in images] == [tmp_path / "rgb" / f"{index}.png" for index in range(3)]
    assert remark == ("" if unit == "s" else f"{tmp_path / 'rgb.txt'}: times are read in {unit}")


@pytest.mark.parametrize("content", [b"1.0 a\x00.png\n", b"\xff\xfe1\x00", b"1e999999 a.png\n", b"1.0\n", b"-1 a.png"])
def test_damaged_listings_are_named(tmp_path, content):
    (tmp_path / "rgb.txt").write_bytes(content)
    with pytest.raises(DataError, match=r"rgb\.txt: ") as error:
        read_listing(tmp_path / "rgb.txt")
    assert "\n" not in str(error.value)
