"""Image files, and the compressed images of messages, as arrays."""

from __future__ import annotations

import importlib
import importlib.util
import io
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ..errors import DataError
from .headers import HEAD_BYTES, ImageHeader, check_claimed_size, image_kind, read_header
from .view import ORIENTATIONS

INSTALL_HEIF = "pip install 'pillow-heif>=1.1,<2'"
ENDS = {"JPEG": b"\xff\xd9", "PNG": b"IEND"}  # without them only a part is there
TAIL_BYTES = 1 << 16  # cameras put other things behind the picture
ORIENTATION = 0x0112  # EXIF's tag


def decode_pixels(data: np.ndarray) -> np.ndarray:
    """The bytes of an image file as (H, W, 3) RGB, uint8, uint16 or float32, as they are stored: not turned.

    Raises:
        DataError: no image, a truncated one, or one that claims more pixels than are read.
    """
    view = np.ascontiguousarray(data, dtype=np.uint8).data
    header = read_header(view)
    if header.kind in ("HEIF", "AVIF"):
        return _decode_with_pillow(view, header.kind)
    if (end := ENDS.get(header.kind)) is not None and end not in bytes(view[-TAIL_BYTES:]):
        raise DataError(f"{len(view)} bytes that are only a part of a {header.kind} image")
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        image = cv2.imdecode(data, flags)
    except cv2.error as error:
        if error.code == cv2.Error.StsNoMem:
            raise _no_memory(header) from error
        raise DataError(f"a damaged {header.kind} image: {error.err}") from error
    if image is None:
        _check_memory(header)  # some decoders give up without a word
        raise DataError(f"{len(view)} bytes that are no {header.kind} image, or only a part of one")
    image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    return _turned_back(image, orientation_of(data)) if header.kind == "TIFF" else image


def _turned_back(upright: np.ndarray, orientation: int) -> np.ndarray:
    """The pixels as they are stored: OpenCV turns TIFF whatever it is asked for."""
    mirrored, quarters = ORIENTATIONS[orientation]
    stored = np.rot90(upright, quarters)
    return np.ascontiguousarray(stored[:, ::-1] if mirrored else stored)


def read_pixels(path: str | os.PathLike[str], flags: int) -> np.ndarray | None:
    """As cv2.imread, of any path: OpenCV itself crashes on names that are no UTF-8. None: it cannot be read."""
    try:
        return cv2.imdecode(np.fromfile(path, np.uint8), flags)
    except (OSError, cv2.error):
        return None


def write_pixels(path: str | os.PathLike[str], pixels: np.ndarray, quality: Sequence[int] = ()) -> bool:
    """As cv2.imwrite, at any path; False: the disk does not take it."""
    try:
        Path(path).write_bytes(cv2.imencode(Path(path).suffix, pixels, quality)[1].tobytes())
    except OSError:
        return False
    return True


def decode_stored(data: np.ndarray) -> np.ndarray | None:
    """The bytes of an image file with its own channels and depth (of depth images); None: it cannot be decoded.

    Raises:
        DataError: no image, or one that claims more pixels than are read.
    """
    read_header(np.ascontiguousarray(data, dtype=np.uint8).data)
    try:
        return cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise DataError(f"a damaged image: {error.err}") from error


def orientation_of(data: np.ndarray) -> int:
    """EXIF's orientation, 1 to 8; 1 where the file tells none. HEIF is turned by its own decoder."""
    from PIL import Image

    kind = image_kind(data[:HEAD_BYTES].tobytes())
    if kind not in ("JPEG", "PNG", "TIFF", "WebP", "AVIF"):
        return 1
    try:
        with Image.open(io.BytesIO(data.tobytes())) as image:
            found = image.getexif().get(ORIENTATION, 1)
    except Exception:  # EXIF that Pillow cannot read tells no orientation
        return 1
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def _check_memory(header: ImageHeader) -> None:
    """Raises DataError: the pixels that the file claims do not fit into memory."""
    if header.size is not None:
        try:
            np.empty((*header.size, 3), np.uint8)
        except MemoryError as error:
            raise _no_memory(header) from error


def _no_memory(header: ImageHeader) -> DataError:
    shown = "many" if header.size is None else f"{header.size[1]} x {header.size[0]}"
    return DataError(f"no memory for a {header.kind} image of {shown} pixels")


def _decode_with_pillow(view: memoryview, kind: str) -> np.ndarray:
    with _opened(view, kind) as image:
        check_claimed_size(image.height, image.width)
        return np.asarray(image.convert("RGB"))


@contextmanager
def _opened(view: memoryview, kind: str) -> Iterator[Any]:
    """A HEIF or AVIF image; whatever the decoder raises is one error."""
    from PIL import Image, features

    if kind == "AVIF" and not features.check("avif"):
        raise DataError("an AVIF image: this Pillow was built without AVIF")
    if kind == "HEIF":
        if importlib.util.find_spec("pillow_heif") is None:
            raise DataError(f"a HEIC image, which needs pillow-heif: {INSTALL_HEIF}")
        importlib.import_module("pillow_heif").register_heif_opener()
    try:
        with Image.open(io.BytesIO(view)) as image:
            yield image
    except DataError:
        raise
    except Exception as error:  # of Pillow, libheif and libavif
        raise DataError(f"a damaged {kind} image, or only a part of one: {error}") from error
