"""What a run will write, before it begins: depth images and recordings of long videos fill disks."""

from __future__ import annotations

import shutil
from pathlib import Path

from ..errors import InputError
from .results import OutputOptions

# Bytes of a frame's pixel, a little above those of the demo's frames.
DEPTH = 4.2
RECORDING = 12.0  # with every second point; zstd packs colours, not the last bits of floats
POINT = 20.0  # of the recording's points, each
VIEWER = 2.5  # of Rerun's images, at most 480 pixels wide
TWICE = 2  # the recording is corrected in a second copy
MAPS = 2**25  # clouds, pages and paths, of which there may be far less


def expected_bytes(num_images: int, size: tuple[int, int], options: OutputOptions) -> int:
    """At most so many for what grows with every image of ``size`` (height, width), if all become frames."""
    per_pixel = DEPTH
    if options.recording:
        per_pixel += TWICE * (RECORDING + POINT / options.points_stride**2)
    if options.rrd is not None:
        per_pixel += VIEWER
    return round(num_images * size[0] * size[1] * per_pixel)


def check_disk(folder: Path, num_images: int, size: tuple[int, int], options: OutputOptions) -> str:
    """What to say of the room that is needed.

    Raises:
        InputError: the disk cannot hold it; it says which option takes less.
    """
    needed = expected_bytes(num_images, size, options)
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(existing).free
    what = f"{num_images} images of {size[1]} x {size[0]}{' with a recording' if options.recording else ''}"
    if needed > free:
        less = [
            *(["without --full-resolution"] if options.full_resolution else []),
            *(["without --recording"] if options.recording else []),
        ]
        hint = f"; less is needed {' or '.join(less)}" if less else "; choose another --output, or fewer images"
        raise InputError(
            f"{folder}: {what} may take {readable(needed)} beside the maps, and {readable(free)} are free{hint}"
        )
    return f"writes at most {readable(needed + MAPS)} to {folder} ({what})"


def readable(count: float) -> str:
    """Bytes as people read them."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
