"""What an image file says of itself in its first bytes: its kind and its size, before anything is decoded."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

from ..errors import DataError

MAX_PIXELS = 150_000_000  # of one image; medium-format cameras have so many
HEAD_BYTES = 64  # enough to tell the kind
HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
AVIF_BRANDS = {b"avif", b"avis"}
SEQUENTIAL = {0xC0, 0xC1}  # JPEG that has at least two bits for each 8 x 8 pixels
MOST_JPEG_PIXELS = 512  # to a byte of such a JPEG; of one colour it has half as many
JPEG_SIZES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # markers of a frame's header


@dataclass(frozen=True)
class ImageHeader:
    """What the file claims."""

    kind: str  # one of KINDS
    size: tuple[int, int] | None  # (height, width); None: only the decoder knows


KINDS = ("JPEG", "PNG", "BMP", "TIFF", "WebP", "PNM", "HEIF", "AVIF")


def image_kind(head: bytes) -> str | None:
    """One of `KINDS` by its first bytes (at least `HEAD_BYTES` of them, if the file has so many); None: no image."""
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if head.startswith(b"BM") and len(head) >= 26 and head[6:10] == b"\0\0\0\0":
        return "BMP"
    if head[:4] in (b"II*\0", b"MM\0*"):
        return "TIFF"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WebP"
    if re.match(rb"P[1-6][\s#]", head):
        return "PNM"
    if head[4:8] == b"ftyp":
        brands = {head[8:12], *(head[i : i + 4] for i in range(16, len(head) - 3, 4))}
        if head[8:12] in AVIF_BRANDS or (head[8:12] == b"mif1" and brands & AVIF_BRANDS):
            return "AVIF"
        if head[8:12] in HEIF_BRANDS:
            return "HEIF"
    return None


def read_header(data: memoryview) -> ImageHeader:
    """Kind and claimed size of an image file.

    Raises:
        DataError: no image, a damaged header, or more than `MAX_PIXELS` claimed.
    """
    kind = image_kind(bytes(data[:HEAD_BYTES]))
    if kind is None:
        raise DataError(f"{len(data)} bytes that are no image, or only a part of one")
    try:
        size = SIZES[kind](data) if kind in SIZES else None
    except DataError:
        raise
    except (struct.error, IndexError, ValueError) as error:
        raise DataError(f"{len(data)} bytes of {kind} with a damaged header, or only a part of one") from error
    if size is not None:
        check_claimed_size(*size)
    return ImageHeader(kind, size)


def check_claimed_size(height: int, width: int) -> None:
    """Raises DataError: nothing, or more than anybody's memory should be asked for."""
    if height < 1 or width < 1:
        raise DataError(f"its header says {width} x {height} pixels")
    if height * width > MAX_PIXELS:
        raise DataError(f"its header says {width} x {height} pixels, more than the {MAX_PIXELS / 1e6:.0f} million read")


def _png(data: memoryview) -> tuple[int, int]:
    width, height = struct.unpack_from(">II", data, 16)
    return height, width


def _bmp(data: memoryview) -> tuple[int, int]:
    if struct.unpack_from("<I", data, 14)[0] == 12:
        width, height = struct.unpack_from("<HH", data, 18)
    else:
        width, height = struct.unpack_from("<ii", data, 18)
    return abs(height), width


def _jpeg(data: memoryview) -> tuple[int, int]:
    place = 2
    while True:
        while data[place] == 0xFF and data[place + 1] == 0xFF:  # fill bytes
            place += 1
        if data[place] != 0xFF:
            raise ValueError("no marker")
        marker, length = data[place + 1], struct.unpack_from(">H", data, place + 2)[0]
        if marker in JPEG_SIZES:
            height, width = struct.unpack_from(">HH", data, place + 5)
            if marker in SEQUENTIAL and MOST_JPEG_PIXELS * len(data) < height * width <= MAX_PIXELS:
                raise DataError(
                    f"its header says {width} x {height} pixels, of which {len(data)} bytes are only a part"
                )
            return height, width
        if length < 2:
            raise ValueError("an empty segment")
        place += 2 + length


def _webp(data: memoryview) -> tuple[int, int]:
    form = bytes(data[12:16])
    if form == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return height & 0x3FFF, width & 0x3FFF
    if form == b"VP8L":
        bits = struct.unpack_from("<I", data, 21)[0]
        return (bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1
    width, height = (int.from_bytes(data[start : start + 3], "little") + 1 for start in (24, 27))
    if len(data) < 30:
        raise ValueError("cut")
    return height, width


def _tiff(data: memoryview) -> tuple[int, int]:
    order = "<" if data[0] == ord("I") else ">"
    start = struct.unpack_from(f"{order}I", data, 4)[0]
    found: dict[int, int] = {}
    for index in range(struct.unpack_from(f"{order}H", data, start)[0]):
        tag, kind = struct.unpack_from(f"{order}HH", data, start + 2 + 12 * index)
        if tag in (256, 257):
            found[tag] = struct.unpack_from(f"{order}{'H' if kind == 3 else 'I'}", data, start + 10 + 12 * index)[0]
    if len(found) < 2:
        raise ValueError("no size")
    return found[257], found[256]


def _pnm(data: memoryview) -> tuple[int, int]:
    text = re.sub(rb"#[^\n]*", b"", bytes(data[2:2048]))
    match = re.match(rb"\s+(\d{1,9})\s+(\d{1,9})\s", text)
    if match is None:
        raise ValueError("no size")
    return int(match[2]), int(match[1])


SIZES = {"PNG": _png, "JPEG": _jpeg, "BMP": _bmp, "WebP": _webp, "TIFF": _tiff, "PNM": _pnm}
