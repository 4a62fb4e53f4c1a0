"""Folders give the same images, stamps and lenses that went into them."""

from __future__ import annotations

import numpy as np
import pytest
import yaml
from pictures import HEIGHT, WIDTH, check, save, write_camera_info

from dvlt_ros.demo import DEMO_SEQUENCE
from dvlt_ros.errors import InputError
from dvlt_ros.lens import Lens
from dvlt_ros.sources import open_source


def test_a_folder_is_sorted_as_people_count(tmp_path):
    names = ["frame2", "frame10", "frame1"]
    for index, name in enumerate(names):
        save(tmp_path / f"{name}.png", index)
    (tmp_path / "notes.txt").touch()
    (tmp_path / ".hidden.png").touch()
    source = open_source(tmp_path, rate_hz=4.0)
    assert len(source) == 3
    check(source, [2, 0, 1], [0, 250_000_000, 500_000_000])
    first = next(iter(source))
    assert (first.frame_id, first.lens) == ("camera_optical_frame", None)


@pytest.mark.parametrize(
    ("names", "stamps_ns"),
    [
        (["1305031102.2", "1305031102.1753", "999999999.9"], [1305031102_200000000, 1305031102_175300000, 999999999_9]),
        (["1403636579763555584", "1403636579763555583"], [1403636579763555584, 1403636579763555583]),
    ],
)
def test_names_can_be_times(tmp_path, names, stamps_ns):
    stamps_ns = [stamp * 10**8 if stamp < 10**12 else stamp for stamp in stamps_ns]
    for index, name in enumerate(names):
        save(tmp_path / f"{name}.png", index)
    order = np.argsort(stamps_ns)
    check(open_source(tmp_path), order, np.array(stamps_ns)[order])


def test_a_listing_tells_times_and_files(tmp_path):
    for index in range(3):
        save(tmp_path / "rgb" / f"{index}.png", index)
    (tmp_path / "rgb.txt").write_text("# time file\n\n12.25 rgb/1.png\n12.000000001 rgb/0.png\n13 rgb/gone.png\n")
    source = open_source(tmp_path)
    check(source, [0, 1], [12_000_000_001, 12_250_000_000])
    assert len(source) == 3
    assert "gone.png: cannot be read: No such file" in source.refusals.first


@pytest.mark.parametrize("times", [(0, 1, 2), ("0.000000", "0.033333", "0.066667")])
def test_a_listing_may_begin_at_0(tmp_path, times):
    for index in range(3):
        save(tmp_path / f"{index}.png", index)
    (tmp_path / "rgb.txt").write_text("".join(f"{time} {index}.png\n" for index, time in enumerate(times)))
    source = open_source(tmp_path)
    np.testing.assert_allclose([image.stamp_ns * 1e-9 for image in source], [float(time) for time in times])
    assert source.refusals.count == 0


def test_names_may_begin_at_0(tmp_path):
    for index in range(3):
        save(tmp_path / f"{index:06}.500000.png", index)
    (tmp_path / "000000.500000.png").rename(tmp_path / "000000.000000.png")
    check(open_source(tmp_path), [0, 1, 2], [0, 1_500_000_000, 2_500_000_000])


@pytest.mark.parametrize("text", ["now rgb/0.png\n", "1.0\n", "", "nan a.png\n", "-1 a.png\n2 b.png\n"])
def test_bad_listings_are_refused(tmp_path, text):
    (tmp_path / "rgb.txt").write_text(text)
    with pytest.raises(InputError, match=r"rgb\.txt"):
        open_source(tmp_path)


@pytest.mark.parametrize("above", [False, True])
def test_a_calibration_file_describes_the_lens(tmp_path, above):
    save(tmp_path / "images" / "0.png")
    d = [-0.2, 0.05, 0.001, 0.002, 0.0]
    write_camera_info(tmp_path if above else tmp_path / "images", distortion_coefficients={"data": d})
    lens = next(iter(open_source(tmp_path / "images"))).lens
    k = yaml.safe_load((DEMO_SEQUENCE / "camera_info.yaml").read_text())["camera_matrix"]["data"]
    assert lens == Lens(k[0], k[4], k[2] + 0.5, k[5] + 0.5, (HEIGHT, WIDTH), "plumb_bob", tuple(d))


def test_given_intrinsics_win_over_recorded_ones(tmp_path):
    save(tmp_path / "0.png")
    save(tmp_path / "1.png", size=(10, 20))
    write_camera_info(tmp_path, image_width=999)
    source = open_source(tmp_path, intrinsics=(60.0, 61.0, 31.5, 23.5))
    assert [image.lens for image in source] == [Lens(60.0, 61.0, 32.0, 24.0, (HEIGHT, WIDTH))]
    assert "it is 20 x 10, the camera of the given intrinsics has 64 x 48" in source.refusals.first
    with pytest.raises(InputError, match="intrinsics must be finite and above 0"):
        open_source(tmp_path, intrinsics=(-1.0, 61.0, 31.5, 23.5))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[1, 2", "not a camera calibration"),
        ("", "not a camera calibration"),
        ("camera_matrix: {data: [1, 2]}", "not a camera calibration"),
        ({"distortion_model": "kannala"}, "distortion model 'kannala'"),
        ({"image_width": 65}, "it is 64 x 48, the camera of .*camera_info.yaml has 65 x 48"),
    ],
)
def test_bad_calibration_files_are_refused(tmp_path, content, message):
    save(tmp_path / "0.png")
    if isinstance(content, str):
        (tmp_path / "camera_info.yaml").write_text(content)
    else:
        write_camera_info(tmp_path, **content)
    with pytest.raises(InputError, match=message):
        open_source(tmp_path)


def test_bad_images_are_left_out_and_counted(tmp_path):
    for index in range(3):
        save(tmp_path / f"{index}.png", index)
    write_camera_info(tmp_path)
    save(tmp_path / "3.jpg")
    whole = (tmp_path / "3.jpg").read_bytes()
    (tmp_path / "0a.jpg").write_bytes(whole[:-10])  # cv2.imread makes the rest grey
    (tmp_path / "1a.png").touch()
    (tmp_path / "1b.png").write_bytes(b"this is no picture")
    save(tmp_path / "1c.png", size=(10, 20))
    (tmp_path / "3.jpg").unlink()
    source = open_source(tmp_path, rate_hz=1.0)
    check(source, [0, 1, 2], np.array([0, 2, 6]) * 10**9)
    assert (len(source), source.refusals.count) == (7, 4)
    assert source.refusals.first.endswith("0a.jpg: 4220 bytes that are only a part of a JPEG image")
    assert str(source.refusals).startswith(f"4 refused, e.g. {tmp_path}/0a.jpg")
