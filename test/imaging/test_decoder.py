"""Every encoding of sensor_msgs/Image gives the picture that went in, however its rows are stored."""

from __future__ import annotations

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dvlt_ros.errors import DataError
from dvlt_ros.imaging import ImageDecoder, colour_image, depth_image
from dvlt_ros.imaging.encodings import ENCODINGS

HEIGHT, WIDTH = 12, 16


def picture(seed: int = 0, size: tuple[int, int] = (HEIGHT, WIDTH)) -> np.ndarray:
    """Smooth, so that colours at half the resolution lose little, (H, W, 3) RGB."""
    small = np.random.default_rng(seed).integers(40, 216, (3, 4, 3), dtype=np.uint8)
    return cv2.resize(small, size[::-1], interpolation=cv2.INTER_CUBIC)


def message(rows: np.ndarray, encoding: str, padding: int = 0, big: int = 0, size=(HEIGHT, WIDTH), **changes):
    """Rows of any type, each with ``padding`` bytes of noise behind it."""
    stored = rows.astype(rows.dtype.newbyteorder(">" if big else "<"))
    plain = np.ascontiguousarray(stored).reshape(len(rows), -1).view(np.uint8)
    noise = np.random.default_rng(9).integers(0, 256, (len(rows), padding), dtype=np.uint8)
    data = np.hstack([plain, noise])
    values = {
        "height": size[0], "width": size[1], "encoding": encoding, "is_bigendian": big, "step": data.shape[1],
        "data": data.tobytes(),
    }  # fmt: skip
    return SimpleNamespace(**values | changes)


def stored(rgb: np.ndarray, encoding: str) -> np.ndarray:
    """Rows of 8 or 16 bits as a driver would send the picture, or its grey values where it has no colours."""
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    wide = np.uint16(257) if encoding.endswith("16") or encoding.startswith("16") else np.uint8(1)
    alpha = np.full((*rgb.shape[:2], 1), 255, np.uint8)
    name = encoding.removesuffix("16").removesuffix("8")
    if encoding in ("8UC3", "16UC3"):
        name = "bgr"
    colours = {
        "rgb": rgb, "bgr": rgb[..., ::-1], "rgba": np.dstack([rgb, alpha]),
        "bgra": np.dstack([rgb[..., ::-1], alpha]), "8UC4": np.dstack([rgb[..., ::-1], alpha]),
    }  # fmt: skip
    if name in colours:
        return colours[name] * wide
    if name in ("mono", "8UC1") or name.startswith("bayer"):
        return grey * wide
    yuv = cv2.cvtColor(rgb, cv2.COLOR_RGB2YUV_I420)
    u, v = (plane.reshape(HEIGHT // 2, WIDTH // 2) for plane in np.split(yuv[HEIGHT:].reshape(-1), 2))
    if name in ("nv12", "nv21"):
        pairs = np.stack([u, v] if name == "nv12" else [v, u], axis=-1)
        return np.vstack([yuv[:HEIGHT], pairs.reshape(HEIGHT // 2, WIDTH)])
    full = [plane.repeat(2, axis=0).repeat(2, axis=1) for plane in (u, v)]
    if name in ("nv24", "nv42"):
        pairs = np.stack(full if name == "nv24" else full[::-1], axis=-1)
        return np.vstack([yuv[:HEIGHT], pairs.reshape(2 * HEIGHT, WIDTH)])
    packed = np.empty((HEIGHT, WIDTH, 2), np.uint8)
    first = name in ("yuyv", "yuv422_yuy2")
    packed[..., 0 if first else 1] = yuv[:HEIGHT]
    packed[:, ::2, 1 if first else 0], packed[:, 1::2, 1 if first else 0] = full[0][:, ::2], full[1][:, ::2]
    return packed


def difference(found: np.ndarray, rgb: np.ndarray, encoding: str) -> float:
    """Of grey values where the encoding has no colours of its own."""
    if ENCODINGS[encoding].layout in ("grey", "Bayer"):
        rgb = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)[..., None].repeat(3, axis=2)
    return float(np.abs(found.astype(float) - rgb).mean())


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("padding", [0, 4, 64])
def test_every_encoding_with_and_without_padding(encoding, padding):
    rgb = picture()
    if ENCODINGS[encoding].dtype == "u2":  # so that the range is that of 16 bits
        rgb[0, 0] = 255
    rows = stored(rgb, encoding)
    found = colour_image(message(rows, encoding, padding))
    assert (found.shape, found.dtype) == ((HEIGHT, WIDTH, 3), np.uint8)
    limit = {"colour": 0.0, "grey": 0.0, "Bayer": 8.0}.get(ENCODINGS[encoding].layout, 8.0)
    assert difference(found, rgb, encoding) <= limit
    np.testing.assert_array_equal(found, colour_image(message(rows, encoding)))


def sheared(image) -> np.ndarray:
    """What the Python cv_bridge of the distributions makes of rgb8: a row is as wide as ``step`` says."""
    data = np.frombuffer(image.data, np.uint8)
    return np.ndarray((image.height, image.width, 3), np.uint8, data[: image.height * image.width * 3].tobytes())


@pytest.mark.parametrize(("width", "padding"), [(16, 4), (15, 3), (13, 9), (7, 11)])
def test_rows_with_padding_are_not_sheared(width, padding):
    rgb = picture(size=(HEIGHT, width))
    padded = message(rgb, "rgb8", padding, size=(HEIGHT, width))
    np.testing.assert_array_equal(colour_image(padded), rgb)
    assert np.abs(sheared(padded).astype(int) - rgb).max() > 50  # the fault that is avoided


@pytest.mark.parametrize(
    "change", [{"step": 0}, {"step": WIDTH}, {"step": 10**6}, {"last": 0}, {"last": 3}, {"more": 100}]
)
def test_steps_that_say_something_else(change):
    """Rows without padding need no step, and the last row may lack its own."""
    rgb, last, more = picture(), change.pop("last", None), change.pop("more", 0)
    whole = message(rgb, "rgb8", 8 if last is not None else 0)
    cut = len(whole.data) - (8 - last) if last is not None else len(whole.data)
    image = SimpleNamespace(**vars(whole) | change | {"data": whole.data[:cut] + bytes(more)})
    np.testing.assert_array_equal(colour_image(image), rgb)


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"data": b""}, "truncated: 0 bytes of 576"),
        ({"data": bytes(300)}, "truncated: 300 bytes of 576"),
        ({"height": 0}, "size 16 x 0"),
        ({"width": 2**31, "height": 2**31}, "size 2147483648 x 2147483648"),
        ({"width": 60_000, "height": 60_000}, "size 60000 x 60000"),
        ({"height": 1, "width": 200, "step": 2**32 - 1}, "truncated"),
        ({"encoding": "nonsense"}, "encoding 'nonsense' is not read"),
        ({"encoding": "32FC1"}, "encoding '32FC1' is not read"),
        ({"encoding": "nv21", "width": 15}, "both must be even"),
        ({"encoding": "yuyv", "width": 9, "step": 18}, "yuyv of 9 x 12 pixels"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_cause(change, cause):
    image = SimpleNamespace(**vars(message(picture(), "rgb8")) | change)
    with pytest.raises(DataError, match=cause):
        colour_image(image)


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
@pytest.mark.parametrize("big", [0, 1])
@pytest.mark.parametrize("encoding", ["mono16", "bayer_rggb16", "rgb16"])
def test_sixteen_bits_are_scaled_by_the_range_of_the_sensor(bits, big, encoding):
    rgb = picture()
    rgb[0, 0] = 255
    values = (stored(rgb, encoding).astype(np.float64) / 65535 * (2**bits - 1)).round().astype(np.uint16)
    found = colour_image(message(values, encoding, 6, big))
    assert difference(found, rgb, encoding) <= (8 if "bayer" in encoding else 0.5)


def test_the_range_is_kept_over_the_stream():
    """A dark frame after a bright one stays dark, and a bright one after a dark one is not cut."""
    decoder = ImageDecoder()
    scene = np.full((HEIGHT, WIDTH), 3000, np.uint16)  # 12 bits
    bright = decoder.colour(message(scene, "mono16"))
    dark = decoder.colour(message(scene // 10, "mono16"))
    assert (bright.max(), dark.max()) == (187, 19)
    assert ImageDecoder().colour(message(scene // 10, "mono16")).max() == 75  # alone it would be taken for 10 bits
    assert decoder.colour(message(scene * 20, "mono16")).max() == 233


@pytest.mark.parametrize("first", ["rgb16", "bayer_rggb16", "compressed"])
def test_the_range_of_one_encoding_is_not_that_of_another(first):
    decoder, wide = ImageDecoder(), np.full((HEIGHT, WIDTH, 3), 60_000, np.uint16)
    if first == "compressed":
        png = cv2.imencode(".png", wide)[1].tobytes()
        decoder.colour(SimpleNamespace(format="rgb16; png compressed", data=png))
    else:
        decoder.colour(message(wide if first == "rgb16" else wide[..., 0], first))
    scene = np.full((HEIGHT, WIDTH), 3000, np.uint16)  # 12 bits
    assert decoder.colour(message(scene, "mono16")).max() == 187


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_compressed_images_of_sixteen_bits(bits, channels):
    """Which the distributions' cv_bridge does not convert."""
    rgb = picture()
    rgb[0, 0] = 255
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    alpha = np.full((HEIGHT, WIDTH), 255, np.uint8)
    shown = {1: grey, 3: rgb[..., ::-1], 4: np.dstack([rgb[..., ::-1], alpha])}[channels]
    png = cv2.imencode(".png", (shown / 255 * (2**bits - 1)).round().astype(np.uint16))[1].tobytes()
    found = colour_image(SimpleNamespace(format="mono16; png compressed", data=png))
    assert difference(found, rgb, "mono8" if channels == 1 else "rgb8") <= 0.5


@pytest.mark.parametrize(("encoding", "unit"), [("32FC1", 1.0), ("16UC1", 1e-3), ("mono16", 1e-3)])
@pytest.mark.parametrize("padding", [0, 4, 32])
@pytest.mark.parametrize("big", [0, 1])
def test_depth_in_metres(encoding, unit, padding, big):
    metres = np.random.default_rng(0).uniform(0.5, 9, (HEIGHT, WIDTH)).astype(np.float32)
    metres[0, 0], metres[1, 1] = 0, np.nan if encoding == "32FC1" else 0
    values = metres if encoding == "32FC1" else (metres * 1000).astype(np.uint16)
    found = depth_image(message(values, encoding, padding, big))
    np.testing.assert_allclose(found, np.nan_to_num(metres), atol=unit)
    assert found[1, 1] == 0


@settings(max_examples=80)
@given(
    encoding=st.sampled_from([*ENCODINGS, "32FC1", "", "rgb", "\x00"]),
    height=st.integers(0, 2**32 - 1) | st.integers(0, 9), width=st.integers(0, 2**32 - 1) | st.integers(0, 9),
    step=st.integers(0, 2**32 - 1) | st.integers(0, 30), big=st.integers(0, 255), data=st.binary(max_size=300),
)  # fmt: skip
def test_any_message_is_an_image_of_its_size_or_one_line(encoding, height, width, step, big, data):
    fields = {"encoding": encoding, "height": height, "width": width, "step": step, "is_bigendian": big, "data": data}
    try:
        shape, problem = colour_image(SimpleNamespace(**fields)).shape, "unreadable image: "
    except DataError as error:
        shape, problem = (height, width, 3), str(error)
    assert shape == (height, width, 3)
    assert problem.startswith("unreadable image: ")
    assert "\n" not in problem
