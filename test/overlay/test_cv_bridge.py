"""Images to arrays and back, against OpenCV and against plain arithmetic."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("rclpy", reason="ROS 2 is not here; `make venv` brings it, `make test` runs this")

from cv_bridge import CvBridge, CvBridgeError
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

BRIDGE = CvBridge()
HEIGHT, WIDTH = 6, 8
BAYER = {"rggb": "BG", "bggr": "RG", "gbrg": "GR", "grbg": "GB"}


def image_message(array, encoding, padding=0, big_endian=False):
    """Rows with some bytes behind them, as drivers send them."""
    rows = array.astype(array.dtype.newbyteorder(">" if big_endian else "<")).reshape(len(array), -1).view(np.uint8)
    message = Image(height=array.shape[0], width=array.shape[1], encoding=encoding, is_bigendian=int(big_endian))
    padded = np.pad(rows, ((0, 0), (0, padding)), constant_values=77)
    message.step = padded.shape[1]
    message.data.frombytes(np.ascontiguousarray(padded).reshape(-1))
    return message


def random_image(channels, dtype=np.uint8, seed=0):
    shape = (HEIGHT, WIDTH, channels) if channels > 1 else (HEIGHT, WIDTH)
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


COLOURS = [
    *[(f"{name}{bits}", channels, bits) for bits in (8, 16)
      for name, channels in (("rgb", 3), ("bgr", 3), ("rgba", 4), ("bgra", 4), ("mono", 1))],
    *[(f"bayer_{pattern}{bits}", 1, bits) for pattern in BAYER for bits in (8, 16)],
    *[(name, 2, 8) for name in ("yuv422", "yuv422_yuy2")],
]  # fmt: skip


def opencv_code(source, target):
    target = {"mono8": "GRAY", "rgb8": "RGB", "bgr8": "BGR"}[target]
    if source.startswith("bayer"):
        return getattr(cv2, f"COLOR_Bayer{BAYER[source[6:10]]}2{target}")
    if source.startswith("yuv"):
        return getattr(cv2, f"COLOR_YUV2{target}_{'YUY2' if source.endswith('yuy2') else 'UYVY'}")
    layout = source.rstrip("0123456789").upper().replace("MONO", "GRAY")
    return None if layout == target else getattr(cv2, f"COLOR_{layout}2{target}")


@pytest.mark.parametrize("target", ["rgb8", "bgr8", "mono8"])
@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize(("encoding", "channels", "bits"), COLOURS)
def test_every_colour_encoding_against_opencv(encoding, channels, bits, padding, target):
    array = random_image(channels, np.uint8 if bits == 8 else np.uint16)
    code = opencv_code(encoding, target)
    expected = array if code is None else cv2.cvtColor(array, code)
    if bits == 16:
        expected = np.rint(expected.astype(np.float64) * 255 / 65535).astype(np.uint8)
    for big_endian in (False, True) if bits == 16 else (False,):
        converted = BRIDGE.imgmsg_to_cv2(image_message(array, encoding, padding, big_endian), target)
        np.testing.assert_array_equal(converted, expected)
        assert converted.dtype == np.uint8


def test_known_colours():
    """Against arithmetic, not OpenCV: BT.601 with 16..235 for packed YUV, and a red-only Bayer pattern."""
    grey = np.full((2, 4, 2), 128, np.uint8)
    grey[..., 1] = 126  # UYVY: chroma first
    np.testing.assert_allclose(
        BRIDGE.imgmsg_to_cv2(image_message(grey, "yuv422"), "rgb8"), (126 - 16) * 255 / 219, atol=1
    )
    np.testing.assert_allclose(
        BRIDGE.imgmsg_to_cv2(image_message(grey[..., ::-1].copy(), "yuv422_yuy2"), "rgb8"),
        (126 - 16) * 255 / 219,
        atol=1,
    )
    red = np.zeros((8, 8), np.uint8)
    red[::2, ::2] = 200
    np.testing.assert_array_equal(BRIDGE.imgmsg_to_cv2(image_message(red, "bayer_rggb8"), "rgb8")[3, 3], [200, 0, 0])


@given(
    kind=st.sampled_from(["8U", "8S", "16U", "16S", "32S", "32F", "64F"]), channels=st.integers(1, 4),
    padding=st.sampled_from([0, 8, 24]), big_endian=st.booleans(), seed=st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_passthrough_keeps_every_value(kind, channels, padding, big_endian, seed):
    dtype = {"U": "u", "S": "i", "F": "f"}[kind[-1]] + str(int(kind[:-1]) // 8)
    shape = (HEIGHT, WIDTH, channels) if channels > 1 else (HEIGHT, WIDTH)
    array = (np.random.default_rng(seed).normal(size=shape) * 100).clip(0, 255).astype(dtype)
    found = BRIDGE.imgmsg_to_cv2(image_message(array, f"{kind}C{channels}", padding, big_endian))
    np.testing.assert_array_equal(found, array)
    assert found.dtype == array.dtype
    assert found.dtype.isnative


def test_depth_with_holes_survives():
    depth = np.array([[1.5, np.nan], [np.inf, 0.0]], np.float32)
    message = BRIDGE.cv2_to_imgmsg(depth, "32FC1")
    np.testing.assert_array_equal(BRIDGE.imgmsg_to_cv2(message, "passthrough"), depth)


@pytest.mark.parametrize(("encoding", "channels", "dtype"), [
    ("rgb8", 3, np.uint8), ("bgra8", 4, np.uint8), ("mono16", 1, np.uint16), ("32FC1", 1, np.float32),
    ("16UC1", 1, np.uint16), ("passthrough", 3, np.uint8),
])  # fmt: skip
@pytest.mark.parametrize("contiguous", [True, False])
def test_there_and_back(encoding, channels, dtype, contiguous):
    array = random_image(channels, np.uint8).astype(dtype)
    array = array if contiguous else array[:, ::-1]
    message = BRIDGE.cv2_to_imgmsg(array, encoding, Header(frame_id="camera"))
    assert message.header.frame_id == "camera"
    assert (message.height, message.width) == (HEIGHT, WIDTH)
    assert message.step == len(message.data) // HEIGHT == WIDTH * channels * np.dtype(dtype).itemsize
    assert message.encoding == ("8UC3" if encoding == "passthrough" else encoding)
    np.testing.assert_array_equal(BRIDGE.imgmsg_to_cv2(message), array)


@pytest.mark.parametrize("encoding", ["nv21", "nv24", "rgb10", "", "8UC", "bayer_rgbg8"])
def test_unknown_encodings_are_named(encoding):
    message = image_message(random_image(1), "mono8")
    message.encoding = encoding
    with pytest.raises(CvBridgeError, match=rf"\[{encoding}\]"):
        BRIDGE.imgmsg_to_cv2(message, "rgb8")


@pytest.mark.parametrize(("source", "target", "channels"), [
    ("16UC1", "rgb8", 1), ("8UC3", "bgr8", 3), ("rgb8", "8UC1", 3), ("rgb8", "bayer_rggb8", 3), ("rgb8", "yuv422", 3),
    ("bayer_rggb8", "rgba8", 1),
])  # fmt: skip
def test_conversions_without_a_meaning_are_refused(source, target, channels):
    array = random_image(channels, np.uint16 if source.startswith("16") else np.uint8)
    with pytest.raises(CvBridgeError, match=rf"\[{source}\].*\[{target}\]"):
        BRIDGE.imgmsg_to_cv2(image_message(array, source), target)


def test_wrong_sizes_are_refused():
    message = image_message(random_image(3), "rgb8")
    message.width += 1
    with pytest.raises(CvBridgeError, match=r"\[rgb8\] 9 x 6 needs rows of 27 bytes, got a step of 24"):
        BRIDGE.imgmsg_to_cv2(message)
    message = image_message(random_image(3), "rgb8")
    message.height += 1
    with pytest.raises(CvBridgeError, match="144 bytes"):
        BRIDGE.imgmsg_to_cv2(message)
    with pytest.raises(CvBridgeError, match=r"mono8.*8UC3"):
        BRIDGE.cv2_to_imgmsg(random_image(3), "mono8")


@pytest.mark.parametrize("channels", [1, 3])
def test_compressed_images(channels):
    array = cv2.resize(random_image(channels), (64, 48), interpolation=cv2.INTER_CUBIC)
    lossless = BRIDGE.cv2_to_compressed_imgmsg(array, "png")
    assert lossless.format == "png"
    np.testing.assert_array_equal(BRIDGE.compressed_imgmsg_to_cv2(lossless), array)
    rgb = BRIDGE.compressed_imgmsg_to_cv2(lossless, "rgb8")
    np.testing.assert_array_equal(rgb, cv2.cvtColor(array, cv2.COLOR_GRAY2RGB) if channels == 1 else array[..., ::-1])
    lossy = BRIDGE.compressed_imgmsg_to_cv2(BRIDGE.cv2_to_compressed_imgmsg(array))
    assert lossy.shape == array.shape


def test_compressed_garbage_is_refused():
    for data in (b"", b"not an image"):
        with pytest.raises(CvBridgeError, match=r"\[jpeg\]"):
            BRIDGE.compressed_imgmsg_to_cv2(CompressedImage(format="jpeg", data=data))
