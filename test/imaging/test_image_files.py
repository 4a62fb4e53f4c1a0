"""Image files: told by their content, never larger than is read, whole or refused with the cause."""

from __future__ import annotations

import io
import struct
import sys
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps, features

from dvlt_ros.errors import DataError
from dvlt_ros.imaging.files import decode_pixels, orientation_of, read_pixels, write_pixels
from dvlt_ros.imaging.headers import KINDS, image_kind, read_header
from dvlt_ros.imaging.view import oriented_view

SIZE = (24, 40)
SUFFIXES = {"JPEG": ".jpg", "PNG": ".png", "BMP": ".bmp", "TIFF": ".tiff", "WebP": ".webp", "PNM": ".ppm"}


def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)


def encoded(kind: str, image: np.ndarray | None = None) -> np.ndarray:
    return cv2.imencode(SUFFIXES[kind], picture() if image is None else image)[1].reshape(-1)


def huge(kind: str, height: int = 65500, width: int = 65500) -> np.ndarray:
    """A few bytes that claim a lot."""
    if kind == "PNG":
        head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
        data = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head))
        return np.frombuffer(data + struct.pack(">I4sI", 0, b"IEND", zlib.crc32(b"IEND")), np.uint8)
    if kind == "PNM":
        return np.frombuffer(f"P6 {width} {height} 255\n".encode(), np.uint8)
    data = bytearray(encoded(kind))
    place, form, values = {
        "BMP": (18, "<ii", (width, height)),
        "JPEG": (data.find(b"\xff\xc0") + 5, ">HH", (height, width)),
    }[kind]
    struct.pack_into(form, data, place, *values)
    return np.frombuffer(bytes(data), np.uint8)


@pytest.mark.parametrize("kind", SUFFIXES)
def test_kinds_and_sizes_are_told_by_content(kind):
    header = read_header(encoded(kind).data)
    assert (header.kind, header.size) == (kind, SIZE)
    assert kind in KINDS
    found = decode_pixels(encoded(kind))
    assert found.shape == (*SIZE, 3)
    if kind not in ("JPEG", "WebP"):
        np.testing.assert_array_equal(found[..., ::-1], picture())


@pytest.mark.parametrize("lossless", [True, False])
@pytest.mark.parametrize("alpha", [True, False])
def test_all_forms_of_webp(lossless, alpha):
    mode, file = "RGBA" if alpha else "RGB", io.BytesIO()
    image = np.dstack([picture(), np.full(SIZE, 200, np.uint8)]) if alpha else picture()
    Image.fromarray(image, mode).save(file, "WEBP", lossless=lossless, exif=Image.Exif() if alpha else b"")
    assert read_header(np.frombuffer(file.getvalue(), np.uint8).data).size == SIZE


@pytest.mark.parametrize("kind", ["PNG", "PNM", "BMP", "JPEG"])
@pytest.mark.parametrize("size", [(65500, 65500), (60000, 3000), (12_300, 12_300)])
def test_a_claim_of_many_pixels_is_refused_before_decoding(kind, size):
    data = huge(kind, *size)
    with pytest.raises(DataError, match=f"its header says {size[1]} x {size[0]} pixels, more than the 150 million"):
        decode_pixels(data)


@pytest.mark.parametrize("kind", SUFFIXES)
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
def test_a_part_is_refused_or_gives_a_picture_of_the_size(kind, share):
    data = encoded(kind)
    try:
        shape = decode_pixels(data[: int(share * len(data))]).shape
    except DataError as error:
        assert kind in str(error) or "no image" in str(error)  # noqa: PT017
    else:
        assert kind in ("BMP", "PNM", "TIFF")  # formats without an end
        assert shape == (*SIZE, 3)


@settings(max_examples=60, deadline=None)
@given(kind=st.sampled_from([*SUFFIXES]), place=st.floats(0, 1), noise=st.binary(min_size=1, max_size=20))
def test_damage_is_a_picture_or_one_line(kind, place, noise):
    data = bytearray(encoded(kind))
    start = int(place * (len(data) - len(noise)))
    data[start : start + len(noise)] = noise
    problem = ""
    try:
        found = decode_pixels(np.frombuffer(bytes(data), np.uint8))
        assert found.ndim == 3
    except DataError as error:
        problem = str(error)
    assert "\n" not in problem


@pytest.mark.parametrize("data", [b"", b"\0", b"GIF89a" + bytes(90), b"this is no picture", b"\xff\xd8\xff", b"BM"])
def test_what_is_no_image(data):
    with pytest.raises(DataError, match=f"{len(data)} bytes"):
        decode_pixels(np.frombuffer(data, np.uint8))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_orientation(orientation, form):
    file, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(picture()).save(file, form, exif=exif)
    assert orientation_of(np.frombuffer(file.getvalue(), np.uint8)) == orientation


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("form", "kind"), [("PNG", np.uint8), ("TIFF", np.uint8), ("TIFF", np.uint16)])
def test_pixels_come_as_they_are_stored_and_orientation_turns_them_once(orientation, form, kind):
    """OpenCV turns TIFF by itself, also where it is told not to."""
    shown, exif, file = picture()[..., 0].astype(kind), Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    Image.fromarray(shown).save(file, form, exif=exif)
    data = np.frombuffer(file.getvalue(), np.uint8)
    np.testing.assert_array_equal(decode_pixels(data)[..., 0], shown)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(file)))
    view = oriented_view(decode_pixels(data).astype(np.uint8), orientation_of(data), None)
    np.testing.assert_array_equal(view.image[..., 0], upright)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["HEIF", "AVIF"])
def test_what_phones_write_is_turned_once(orientation, form):
    """Their files keep the turn in a property of their own, and some in EXIF, too."""
    if form == "HEIF":
        pytest.importorskip("pillow_heif", reason="an extra; pip install '.[heif]' runs this").register_heif_opener()
    elif not features.check("avif"):
        pytest.skip("this Pillow has no AVIF; newer wheels of it have")
    shown, exif, file = cv2.resize(picture()[:4, :6], (64, 48)), Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    Image.fromarray(shown).save(file, form, quality=90, exif=exif.tobytes())
    data = np.frombuffer(file.getvalue(), np.uint8)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(file)))
    assert upright.shape[:2] == ((48, 64) if orientation < 5 else (64, 48))
    np.testing.assert_array_equal(oriented_view(decode_pixels(data), orientation_of(data), None).image, upright)


@pytest.mark.parametrize("name", ["a.png", "\udcff.png", "b\nc.png", "ä.png"])
def test_any_name_is_written_and_read(tmp_path, name):
    path = str(tmp_path / name)
    assert read_pixels(path, cv2.IMREAD_UNCHANGED) is None
    assert write_pixels(path, picture())
    np.testing.assert_array_equal(read_pixels(path, cv2.IMREAD_UNCHANGED), picture())
    assert not write_pixels(tmp_path / "nowhere" / name, picture())
    (tmp_path / name).write_bytes(b"")
    assert read_pixels(path, cv2.IMREAD_UNCHANGED) is None


@pytest.mark.parametrize("found", [0, 9, 4000])
def test_an_orientation_that_is_none_turns_nothing(found):
    file, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = found
    Image.fromarray(picture()).save(file, "JPEG", exif=exif)
    assert orientation_of(np.frombuffer(file.getvalue(), np.uint8)) == 1
    assert orientation_of(np.frombuffer(b"nothing", np.uint8)) == 1


HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200)


def test_heic_without_its_decoder_says_what_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert image_kind(HEIC) == "HEIF"
    with pytest.raises(DataError, match="a HEIC image, which needs pillow-heif: pip install"):
        decode_pixels(np.frombuffer(HEIC, np.uint8))


@pytest.mark.parametrize("quality", [50, 90, -1])
def test_heic_gives_the_picture(quality):
    heif = pytest.importorskip("pillow_heif", reason="pillow-heif is an extra; pip install '.[heif]' runs this")
    smooth = cv2.resize(picture()[:4, :6], SIZE[::-1] * np.array([4, 4]))
    file = io.BytesIO()
    heif.from_pillow(Image.fromarray(smooth)).save(file, quality=quality)
    found = decode_pixels(np.frombuffer(file.getvalue(), np.uint8))
    assert found.shape == smooth.shape
    assert np.abs(found.astype(int) - smooth).mean() < 8
    with pytest.raises(DataError, match="a damaged HEIF image"):
        decode_pixels(np.frombuffer(file.getvalue()[:300], np.uint8))


def test_avif_gives_the_picture():
    smooth, file = cv2.resize(picture()[:4, :6], (160, 96)), io.BytesIO()
    try:
        Image.fromarray(smooth).save(file, "AVIF", quality=90)
    except (KeyError, OSError):
        pytest.skip("this Pillow has no AVIF; newer wheels of it have")
    found = decode_pixels(np.frombuffer(file.getvalue(), np.uint8))
    assert np.abs(found.astype(int) - smooth).mean() < 8


@pytest.mark.parametrize("size", [(1000, 1000), (12000, 12000), (3000, 40000)])
@pytest.mark.parametrize("is_grey", [False, True])
def test_a_jpeg_that_claims_more_pixels_than_its_bytes_can_hold_is_refused_at_once(size, is_grey):
    shown = picture()[..., 0] if is_grey else picture()
    data = bytearray(cv2.imencode(".jpg", shown)[1].tobytes())
    place = data.index(b"\xff\xc0") + 5
    data[place : place + 4] = struct.pack(">HH", *size)
    with pytest.raises(DataError, match=f"says {size[1]} x {size[0]} pixels, of which {len(data)} bytes are"):
        decode_pixels(np.frombuffer(bytes(data), np.uint8))


@pytest.mark.parametrize("value", [0, 128, 255])
def test_a_jpeg_of_one_colour_is_read_however_small_its_file_is(value):
    plain = np.full((1600, 1600), value, np.uint8)
    data = cv2.imencode(".jpg", plain, [cv2.IMWRITE_JPEG_OPTIMIZE, 1, cv2.IMWRITE_JPEG_QUALITY, 1])[1]
    assert np.abs(decode_pixels(data)[..., 0].astype(int) - value).max() <= 8
