"""Folders as people have them: every file is read, refused by name, or said to be of another kind."""

from __future__ import annotations

import io
import os

import cv2
import numpy as np
import pytest
import yaml
from PIL import Image

from dvlt_ros.errors import DataError
from dvlt_ros.sources import open_source

HEIGHT, WIDTH = 48, 64


def picture(seed: int = 0) -> np.ndarray:
    small = np.random.default_rng(seed).integers(30, 220, (6, 8, 3), dtype=np.uint8)
    return cv2.resize(small, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)


def jpeg(seed: int = 0, orientation: int = 1) -> bytes:
    file, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(picture(seed)).save(file, "JPEG", quality=95, exif=exif)
    return file.getvalue()


def calibration(folder, size=(HEIGHT, WIDTH), center=(20.0, 30.0), **changes) -> None:
    content = {
        "image_width": size[1],
        "image_height": size[0],
        "camera_matrix": {"rows": 3, "cols": 3, "data": [60, 0, center[0], 0, 60, center[1], 0, 0, 1]},
        "distortion_model": "plumb_bob",
        "distortion_coefficients": {"rows": 1, "cols": 5, "data": [-0.3, 0.1, 0.01, 0.0, 0.0]},
    }
    (folder / "camera_info.yaml").write_text(yaml.safe_dump(content | changes))


def test_every_file_is_accounted_for(tmp_path):
    for index, name in enumerate(["1.jpg", "2.JPG", "3.jfif", "4.jpe", "5", "6.txt"]):
        (tmp_path / name).write_bytes(jpeg(index))  # by content, whatever the name
    for name in ("7.heic", "8.HEIC", "9.jpg"):
        (tmp_path / name).write_bytes(b"\0\0\0\x18ftypheic" + bytes(100) if "he" in name.lower() else b"no picture")
    (tmp_path / "notes.md").write_text("words")
    (tmp_path / "walk.mp4").write_bytes(b"\0\0\0\x18ftypisom" + bytes(100))
    (tmp_path / "10.dng").write_bytes(b"II*\0" + bytes(100))
    source = open_source(tmp_path)
    assert len(list(source)) == 6
    assert (len(source), source.refusals.count) == (10, 4)
    assert source.remarks == ["not images: 1 .md, 1 .mp4"]
    for name, cause in {"7.heic": "HEI", "9.jpg": "no image", "10.dng": "a raw photo (.dng): develop it"}.items():
        assert any(name in example and cause in example for _, example in source.refusals.kinds.values()), name


def test_what_is_no_file_is_accounted_for_too(tmp_path):
    (tmp_path / "0.jpg").write_bytes(jpeg())
    (tmp_path / "1.jpg").symlink_to(tmp_path / "0.jpg")
    (tmp_path / "2.png").symlink_to("/nowhere/2.png")
    os.mkfifo(tmp_path / "3.png")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / ".trash.jpg").write_bytes(jpeg())
    (tmp_path / "more").mkdir()
    (tmp_path / "others.png").mkdir()
    source = open_source(tmp_path)
    assert len(list(source)) == 2
    assert source.refusals.count == 2
    assert "2.png: a link to /nowhere/2.png, which is not there" in str(source.refusals)
    assert "3.png: not a regular file" in str(source.refusals)
    assert source.remarks == ["not images: 1 hidden, 1 without a suffix; folders in it: more, others.png"]


@pytest.mark.parametrize("count", [1, 2, 5])
def test_refusals_name_the_first_of_each_kind(tmp_path, count):
    (tmp_path / "0.jpg").write_bytes(jpeg())
    for index in range(count):
        (tmp_path / f"{index + 1}.jpg").write_bytes(b"")
        (tmp_path / f"{index + 1}_cut.jpg").write_bytes(jpeg()[:-100])
    source = open_source(tmp_path)
    assert len(list(source)) == 1
    text = str(source.refusals)
    assert text.startswith(f"{2 * count} refused, e.g. {tmp_path}/1.jpg: 0 bytes")
    assert f"{tmp_path}/1_cut.jpg: {len(jpeg()) - 100} bytes that are only a part of a JPEG image" in text
    assert (f"({count})" in text) == (count > 1)


@pytest.mark.parametrize(
    ("orientation", "center"), [(1, (20.5, 30.5)), (3, (43.5, 17.5)), (2, (43.5, 30.5)), (4, (20.5, 17.5))]
)
def test_a_turn_that_keeps_the_size_turns_the_lens(tmp_path, orientation, center):
    (tmp_path / "0.jpg").write_bytes(jpeg(0, orientation))
    calibration(tmp_path)
    lens = next(iter(open_source(tmp_path))).lens
    assert (lens.cx, lens.cy) == center


@pytest.mark.parametrize(("orientation", "center"), [(6, (17.5, 20.5)), (8, (30.5, 43.5)), (5, (30.5, 20.5))])
def test_a_quarter_turn_turns_the_lens_of_the_stored_size(tmp_path, orientation, center):
    (tmp_path / "0.jpg").write_bytes(jpeg(0, orientation))
    calibration(tmp_path)
    image = next(iter(open_source(tmp_path)))
    assert image.image.shape[:2] == image.lens.size == (WIDTH, HEIGHT)
    assert (image.lens.cx, image.lens.cy) == center
    calibration(tmp_path, (WIDTH, HEIGHT))  # one of the upright images
    assert next(iter(open_source(tmp_path))).lens.cx == 20.5


def test_another_size_names_that_of_the_file(tmp_path):
    (tmp_path / "0.jpg").write_bytes(jpeg(0, 6))
    calibration(tmp_path, (480, 640))
    with pytest.raises(DataError, match=r"0\.jpg: it is 64 x 48, turned by its EXIF orientation, the camera of"):
        open_source(tmp_path)


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_infrared_in_sixteen_bits(tmp_path, bits):
    grey = cv2.cvtColor(picture(), cv2.COLOR_RGB2GRAY)
    grey[0, 0] = 255
    values = (grey / 255 * (2**bits - 1)).round().astype(np.uint16)
    for index in range(3):
        cv2.imwrite(str(tmp_path / f"{index}.png"), values // (index + 1))
    images = [image.image for image in open_source(tmp_path)]
    np.testing.assert_allclose(images[0][..., 0], grey, atol=1)
    np.testing.assert_allclose(images[2][..., 0], grey / 3, atol=1)  # the range is kept


@pytest.mark.parametrize("unit", [10**6, 10**3, 1])
def test_names_are_times_in_any_unit(tmp_path, unit):
    stamps = [1403636579763555584 // 10**6 * 10**6 + 50_000_000 * index for index in range(3)]
    for stamp in stamps:
        (tmp_path / f"{stamp // unit}.jpg").write_bytes(jpeg())
    assert [image.stamp_ns for image in open_source(tmp_path)] == stamps


@pytest.mark.parametrize("names", [["1", "2"], ["0001403636579", "0001403636580"], ["9403636579763555584"]])
def test_other_numbers_are_no_times(tmp_path, names):
    for name in names:
        (tmp_path / f"{name}.jpg").write_bytes(jpeg())
    assert [image.stamp_ns for image in open_source(tmp_path, rate_hz=1.0)] == [10**9 * i for i in range(len(names))]


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"image_width": float("inf")}, "image_width is inf"),
        ({"image_width": 10**400}, "image_width is a number of many digits"),
        ({"image_height": [48]}, "image_height is a list"),
        ({"image_height": True}, "image_height is True"),
        ({"camera_matrix": {"data": [1, 2]}}, "not a camera calibration"),
        ({"camera_matrix": [1]}, "not a camera calibration"),
        ({"camera_matrix": {"data": [float("nan")] * 9}}, "intrinsics must be finite"),
        ({"camera_matrix": {"data": [10**400] * 9}}, "not a camera calibration: OverflowError"),
        ({"distortion_coefficients": None}, "not a camera calibration"),
        ({"distortion_model": ["plumb_bob"]}, "its distortion model is a list"),
        ({"distortion_model": 5}, "its distortion model is 5"),
        ({"distortion_model": "none"}, "distortion model 'none', but its coefficients are"),
    ],
)
def test_calibrations_that_are_none_are_named(tmp_path, changes, cause):
    (tmp_path / "0.jpg").write_bytes(jpeg())
    calibration(tmp_path, **changes)
    with pytest.raises(DataError, match=rf"camera_info\.yaml: .*{cause}") as error:
        open_source(tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"- a\n- b\n", b"\xff\xfe\0", b"{", b"", b"a: &a [*a]\n", b"x: " + b"[" * 5000])
def test_files_that_are_no_calibration_are_named(tmp_path, content):
    (tmp_path / "0.jpg").write_bytes(jpeg())
    (tmp_path / "camera_info.yaml").write_bytes(content)
    with pytest.raises(DataError, match=r"camera_info\.yaml: not a camera calibration") as error:
        open_source(tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("place", ["image_width", "image_height", "distortion_model", "camera_matrix"])
def test_lists_that_grow_tenfold_with_every_line_are_not_written_out(tmp_path, place):
    """A few lines of YAML that would be 10^12 words."""
    (tmp_path / "0.jpg").write_bytes(jpeg())
    calibration(tmp_path)
    lines = ["a0: &a0 [x]", *(f"a{i + 1}: &a{i + 1} [{', '.join([f'*a{i}'] * 10)}]" for i in range(12))]
    content = yaml.safe_load((tmp_path / "camera_info.yaml").read_text())
    del content[place]
    (tmp_path / "camera_info.yaml").write_text("\n".join([*lines, f"{place}: *a12", yaml.safe_dump(content)]))
    with pytest.raises(DataError, match=r"camera_info\.yaml: not a camera calibration: .*list"):
        open_source(tmp_path)


@pytest.mark.parametrize("suffix", [".gif", ".jp2", ".jxl", ".EXR", ".psd"])
def test_formats_that_are_not_read_are_refused_and_not_called_something_else(tmp_path, suffix):
    (tmp_path / "0.jpg").write_bytes(jpeg())
    (tmp_path / f"1{suffix}").write_bytes(b"of another format")
    (tmp_path / f"2{suffix}").write_bytes(jpeg(1))  # by content it is read
    source = open_source(tmp_path)
    assert len(list(source)) == 2
    assert str(source.refusals) == (
        f"1 refused, e.g. {tmp_path}/1{suffix}: a format that is not read ({suffix.lower()}): convert it to PNG or JPEG"
    )
    assert source.remarks == []


@pytest.mark.parametrize(
    "names", [["1", "2", "10", "a"], ["0_x", "IMG_9", "IMG_10"], ["01", "1", "1a"], ["p1_9", "p1_10", "p2_1"]]
)
def test_photos_come_as_people_count(tmp_path, names):
    for name in reversed(names):
        (tmp_path / f"{name}.jpg").write_bytes(jpeg())
    assert [image.name for image in open_source(tmp_path)] == [f"{name}.jpg" for name in names]


def test_photos_on_a_path_that_is_no_utf8(tmp_path):
    folder = tmp_path / "photos_\udcff"
    folder.mkdir()
    (folder / "b\udcfe.jpg").write_bytes(jpeg())
    assert len(list(open_source(folder))) == 1


def test_neither_file_nor_folder(tmp_path):
    import os

    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="pipe: neither a file nor a folder"):
        open_source(tmp_path / "pipe")
    (tmp_path / "0.jpg").write_bytes(jpeg())
    assert len(list(open_source(tmp_path))) == 1  # the pipe beside it is not waited for
