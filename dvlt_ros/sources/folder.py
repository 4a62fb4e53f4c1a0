"""A folder of images."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..errors import DataError
from ..imaging.files import decode_pixels, orientation_of
from ..imaging.grey_levels import GreyLevels
from ..imaging.headers import HEAD_BYTES, image_kind
from ..imaging.view import View, oriented_view
from ..lens import Lens
from .border import border
from .calibration import CAMERA_INFO, read_camera_info
from .containers import IMAGE_SUFFIXES as SUFFIXES
from .containers import natural_order
from .images import Refusals, SourceImage
from .masks import MASKS, Masks
from .times import DEFAULT_RATE_HZ, MAX_NS, read_times
from .tum import read_listing

RAW_SUFFIXES = {".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf", ".pef", ".srw", ".gpr"}
UNREAD_SUFFIXES = {".gif", ".jp2", ".j2k", ".jxl", ".exr", ".hdr", ".tga", ".psd", ".dds", ".pcx"}
LISTING = "rgb.txt"  # of TUM's RGB-D data: a time and a file name per line
SECONDS = re.compile(r"\d{6,}\.\d+")  # as TUM names images
SINCE_1970 = re.compile(r"[1-9](\d{12}|\d{15}|\d{18})")  # milli-, micro- and nanoseconds; the last as EuRoC names them
MAX_BYTES = 1 << 30  # of an image file


class FolderSource:
    """Images of a folder.

    With times from an ``rgb.txt`` or from names that are times they are sorted by time. Else they are sorted as people
    count, and are photos of one scene, or with ``rate_hz`` a stream with one image every 1 / ``rate_hz``, the first at
    0. A ``camera_info.yaml`` as ROS's camera_calibration writes it, in the folder or above it, describes the lens that
    took the pixels as they are stored; where EXIF turns an image, the lens is turned with it. A folder ``masks`` in it
    or beside it says what is no part of the map, see `Masks`.
    """

    def __init__(self, folder: Path, rate_hz: float | None, frame_id: str, read_lens: bool = True) -> None:
        """``read_lens``: look for a camera_info.yaml.

        Raises:
            DataError: no image, or an rgb.txt or camera_info.yaml that cannot be used.
        """
        self.refusals, self.camera_problem = Refusals(), ""
        self.remarks: list[str] = []
        self._frame_id = frame_id
        if (folder / LISTING).is_file():
            self._images, remark = read_listing(folder / LISTING)
            self.has_times = True
        else:
            self._images, remark, told = find_images(folder, rate_hz or DEFAULT_RATE_HZ)
            self.has_times = told or rate_hz is not None
        self.remarks += [remark] if remark else []
        self._masks = Masks(folder)
        self.remarks += [self._masks.remark] if self._masks.remark else []
        found = [path for path in (folder / CAMERA_INFO, folder.parent / CAMERA_INFO) if path.is_file()]
        self._lens = read_camera_info(found[0]) if found and read_lens else None

    def __len__(self) -> int:
        return len(self._images)

    def __iter__(self) -> Iterator[SourceImage]:
        self.refusals.clear()
        levels = GreyLevels()
        for stamp_ns, path in self._images:
            try:
                view = read_view(path, self._lens, levels)
                masked = self._masks.of(path.name, view)
            except DataError as error:
                self.refusals.add(error, name=str(path))
                continue
            yield SourceImage(stamp_ns, self._frame_id, view.image, view.lens, name=path.name, masked=masked)


def find_images(folder: Path, rate_hz: float) -> tuple[list[tuple[int, Path]], str, bool]:
    """(stamp in ns, path) of the images in a folder, whatever their suffix; a remark on what else lies there; and
    whether their names tell the times.

    A file whose suffix is an image's and whose content is not is one of them: it is refused when it is read.
    """
    with border(folder, "cannot be read"):
        entries = sorted(folder.iterdir(), key=natural_order)
        shown = [path for path in entries if not path.name.startswith(".") and not path.is_dir()]
        paths = [path for path in shown if is_image(path)]
    taken = {*paths, folder / CAMERA_INFO, folder / MASKS}
    remark = _ignored([path for path in entries if path not in taken])
    if not paths:
        others = f"; {remark}" if remark else ""
        raise DataError(f"{folder}: no images ({', '.join(sorted(SUFFIXES))}){others}")
    stamps = _times_of_names(paths)
    if stamps is None:
        return [(round(index * 1e9 / rate_hz), path) for index, path in enumerate(paths)], remark, False
    return sorted(zip(stamps, paths, strict=True)), remark, True


def is_image(path: Path) -> bool:
    """Whether a file should be one, by its content or its suffix. One that cannot be read may be: reading it says."""
    if path.suffix.lower() in SUFFIXES | RAW_SUFFIXES | UNREAD_SUFFIXES:
        return True
    if path.exists() and not path.is_file():  # a pipe would be waited for
        return False
    try:
        with path.open("rb") as file:
            return image_kind(file.read(HEAD_BYTES)) is not None
    except OSError:
        return True


def read_view(path: Path, lens: Lens | None = None, levels: GreyLevels | None = None) -> View:
    """An image file upright, as its EXIF orientation says, with the lens of the stored pixels turned likewise.

    ``levels`` are those of the stream that the image is of.

    Raises:
        DataError: it cannot be read, or the lens is of another size; the path is not in the message.
    """
    if path.suffix.lower() in RAW_SUFFIXES:
        raise DataError(f"a raw photo ({path.suffix.lower()}): develop it to JPEG or TIFF")
    with border("it", "cannot be read"):
        data = _read(path)
        if path.suffix.lower() in UNREAD_SUFFIXES and image_kind(data[:HEAD_BYTES].tobytes()) is None:
            raise DataError(f"a format that is not read ({path.suffix.lower()}): convert it to PNG or JPEG")
        stored = (levels or GreyLevels()).to_uint8(decode_pixels(data))
        return oriented_view(stored, orientation_of(data), lens)


def read_image(path: Path) -> np.ndarray:
    """(H, W, 3) uint8 RGB, upright. Raises DataError as `read_view`."""
    return read_view(path).image


def _read(path: Path) -> np.ndarray:
    try:
        if path.is_symlink() and not path.exists():
            raise DataError(f"a link to {os.readlink(path)}, which is not there")
        if path.exists() and not path.is_file():
            raise DataError("not a regular file")
        if path.is_file() and path.stat().st_size > MAX_BYTES:
            raise DataError(f"{path.stat().st_size} bytes are too many for an image")
        return np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}") from error


def _times_of_names(paths: list[Path]) -> list[int] | None:
    """Stamps in ns, if all names are times."""
    stems = [path.stem for path in paths]
    if not (all(map(SECONDS.fullmatch, stems)) or all(map(SINCE_1970.fullmatch, stems))):
        return None
    try:
        stamps: list[int] = read_times(stems, str(paths[0].parent)).stamps_ns.tolist()
    except DataError:  # numbers of another meaning
        return None
    return stamps if all(0 <= stamp < MAX_NS for stamp in stamps) else None


def _ignored(entries: list[Path]) -> str:
    """How many entries of other kinds there are, folders by name; empty: none."""
    others = [path for path in entries if not path.is_dir()]
    kinds = Counter(
        "hidden" if path.name.startswith(".") else path.suffix.lower() or "without a suffix" for path in others
    )
    counted = [f"{count} {kind}" for kind, count in sorted(kinds.items())]
    folders = [path.name for path in entries if path.is_dir()]
    found = [f"not images: {', '.join(counted)}"] if counted else []
    return "; ".join([*found, f"folders in it: {', '.join(folders)}"] if folders else found)
