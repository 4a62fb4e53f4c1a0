"""Opens posed RGB-D data on disk, whatever its layout."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dvlt_ros.errors import DataError

from . import nerfstudio, numbered, scannetpp, seven_scenes, tum
from .folder import FolderSequence

logger = logging.getLogger(__name__)

MAX_LEVELS = 2  # folders below the given one that are searched for sequences


@dataclass(frozen=True)
class Layout:
    is_root: Callable[[Path], bool]  # does this folder hold one sequence?
    read: Callable[..., FolderSequence]
    looked_for: str
    in_split: Callable[[Path, Any], bool] | None = None

    @property
    def options(self) -> set[str]:
        return set(inspect.signature(self.read).parameters) - {"path"}


LAYOUTS = {
    "tum": Layout(tum.is_root, tum.read, tum.LOOKED_FOR),
    "7scenes": Layout(seven_scenes.is_root, seven_scenes.read, seven_scenes.LOOKED_FOR, seven_scenes.in_split),
    "nerfstudio": Layout(nerfstudio.is_root, nerfstudio.read, nerfstudio.LOOKED_FOR),
    "scannetpp": Layout(scannetpp.is_root, scannetpp.read, scannetpp.LOOKED_FOR, scannetpp.in_split),
    "numbered": Layout(numbered.is_root, numbered.read, numbered.LOOKED_FOR),
}


def open_dataset(
    path: str | Path,
    format: str = "auto",
    split: str | None = None,
    frames: tuple[int, int | None] = (0, None),
    **options: Any,
) -> list[FolderSequence]:
    """The sequences in a folder or up to two levels below it, sorted by path.

    ``format`` is "auto" or a key of `LAYOUTS`; ``split`` names the data set's own list (7-Scenes: train or
    test; ScanNet++: a text file's name); ``frames`` (first, behind the last or None) are those of each sequence
    to use; other options go to the layout's ``read``. A sequence that cannot be used is left out with a warning.

    Raises:
        DataError: no such folder, layout or option; nothing found, or nothing of it usable.
    """
    root = Path(path)
    if not root.is_dir():
        raise DataError(f"{root}: no such folder")
    if format != "auto" and format not in LAYOUTS:
        raise DataError(f"{root}: format must be one of {('auto', *LAYOUTS)}, got {format!r}")
    layouts = LAYOUTS if format == "auto" else {format: LAYOUTS[format]}
    sequences: list[FolderSequence] = []
    causes: list[DataError] = []
    for name, folder in _roots(root, layouts):
        layout = LAYOUTS[name]
        unknown = set(options) - layout.options
        if unknown:
            raise DataError(
                f"{folder}: the {name} layout has no option {sorted(unknown)}, only {sorted(layout.options)}"
            )
        if split is not None and not _in_split(layout, name, folder, split):
            continue
        try:
            sequences.append(_part(layout.read(folder, **options), *frames))
        except DataError as error:
            logger.warning("sequence left out: %s", error)
            causes.append(error)
    if not sequences:
        raise _nothing(root, layouts, causes, split)
    return sequences


def _roots(root: Path, layouts: dict[str, Layout]) -> Iterator[tuple[str, Path]]:
    """(layout, folder) of every sequence at or below a folder, breadth first within `MAX_LEVELS`."""
    level = [root]
    for _ in range(MAX_LEVELS + 1):
        below: list[Path] = []
        for folder in level:
            name = next((name for name, layout in layouts.items() if layout.is_root(folder)), None)
            if name is not None:
                yield name, folder
            else:
                below += sorted(child for child in folder.iterdir() if child.is_dir())
        level = below


def _in_split(layout: Layout, name: str, folder: Path, split: str) -> bool:
    if layout.in_split is None:
        raise DataError(f"{folder}: the {name} layout has no splits, got split={split!r}")
    return layout.in_split(folder, split)


def _part(sequence: FolderSequence, first: int, last: int | None) -> FolderSequence:
    part = sequence.part(first, last)
    if not len(part):
        asked = f"frames [{first}, {'end' if last is None else last})"
        raise DataError(f"{sequence.name}: {asked} are none of its {len(sequence)}")
    return part


def _nothing(root: Path, layouts: dict[str, Layout], causes: list[DataError], split: str | None) -> DataError:
    if causes:
        return DataError(f"{root}: none of {len(causes)} sequences is usable, for example {causes[0]}")
    if split is not None:
        return DataError(f"{root}: no sequence in split {split!r}")
    wanted = "; ".join(f"{name}: {layout.looked_for}" for name, layout in layouts.items())
    return DataError(f"{root}: no known layout here or {MAX_LEVELS} levels below; looked for {wanted}")
