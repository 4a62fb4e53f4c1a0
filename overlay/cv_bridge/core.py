"""Image messages to OpenCV arrays and back."""

from __future__ import annotations

import sys
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from .encodings import CvBridgeError, Encoding, convert, parse_encoding

Array = NDArray[Any]
COMPRESSED_COLOURS = {1: "mono", 3: "bgr", 4: "bgra"}
NATIVE_IS_BIG = sys.byteorder == "big"


class CvBridge:
    def imgmsg_to_cv2(self, img_msg: Image, desired_encoding: str = "passthrough") -> Array:
        """(H, W) or (H, W, C); shares the message's memory where nothing has to change."""
        source = parse_encoding(img_msg.encoding)
        target = source if desired_encoding == "passthrough" else parse_encoding(desired_encoding)
        try:
            return convert(pixels(img_msg, source), source, target)
        except cv2.error as error:
            raise CvBridgeError(f"[{source.name}] to [{target.name}]: {error}") from None

    def cv2_to_imgmsg(self, cvim: Array, encoding: str = "passthrough", header: Header | None = None) -> Image:
        if not isinstance(cvim, np.ndarray):
            raise TypeError("Your input type is not a numpy array")
        if cvim.ndim not in (2, 3):
            raise CvBridgeError(f"an image has 2 or 3 dimensions, got {cvim.ndim}")
        cv_type = Encoding("", cvim.dtype, 1 if cvim.ndim == 2 else cvim.shape[2], None).cv_type
        if encoding == "passthrough":
            encoding = cv_type
        if parse_encoding(encoding).cv_type != cv_type:
            raise CvBridgeError(f"encoding specified as {encoding}, but image has incompatible type {cv_type}")
        message = Image() if header is None else Image(header=header)
        message.height, message.width, message.encoding = cvim.shape[0], cvim.shape[1], encoding
        message.is_bigendian = int(cvim.dtype.byteorder == ">" or (cvim.dtype.byteorder == "=" and NATIVE_IS_BIG))
        message.step = cvim.shape[1] * cvim.itemsize * (1 if cvim.ndim == 2 else cvim.shape[2])
        message.data.frombytes(as_bytes(cvim))
        return message

    def compressed_imgmsg_to_cv2(self, cmprs_img_msg: CompressedImage, desired_encoding: str = "passthrough") -> Array:
        data = np.frombuffer(cmprs_img_msg.data, np.uint8)
        image = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if data.size else None
        if image is None:
            raise CvBridgeError(
                f"cannot decode a compressed image of format [{cmprs_img_msg.format}], {data.size} bytes"
            )
        if desired_encoding == "passthrough":
            return image
        colour = COMPRESSED_COLOURS[1 if image.ndim == 2 else image.shape[2]]
        return convert(image, parse_encoding(f"{colour}{image.itemsize * 8}"), parse_encoding(desired_encoding))

    def cv2_to_compressed_imgmsg(self, cvim: Array, dst_format: str = "jpg") -> CompressedImage:
        if not isinstance(cvim, np.ndarray):
            raise TypeError("Your input type is not a numpy array")
        try:
            encoded = cv2.imencode(f".{dst_format}", cvim)[1]
        except cv2.error as error:
            raise CvBridgeError(f"[{dst_format}]: {error}") from None
        message = CompressedImage(format=dst_format)
        message.data.frombytes(as_bytes(encoded))
        return message


def pixels(message: Image, encoding: Encoding) -> Array:
    """The message's pixels without row padding, in native byte order."""
    row_bytes = message.width * encoding.channels * encoding.dtype.itemsize
    data = np.frombuffer(message.data, np.uint8)
    if message.step < row_bytes or data.size < message.height * message.step:
        raise CvBridgeError(
            f"Image is wrongly formed: [{encoding.name}] {message.width} x {message.height} needs rows of {row_bytes} "
            f"bytes, got a step of {message.step} and {data.size} bytes"
        )
    rows = data[: message.height * message.step].reshape(message.height, message.step)[:, :row_bytes]
    dtype = encoding.dtype.newbyteorder(">" if message.is_bigendian else "<")
    shape = (message.height, message.width) + ((encoding.channels,) if encoding.channels > 1 else ())
    image = np.ascontiguousarray(rows).view(dtype).reshape(shape)
    return image.astype(encoding.dtype, copy=False)


def as_bytes(array: Array) -> NDArray[np.uint8]:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)
