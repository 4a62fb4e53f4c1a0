"""Which files a bag consists of, whether its metadata.yaml is there or not."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from ...errors import DataError
from ..border import border
from ..containers import HEAD_BYTES, IMAGE_SUFFIXES, UNREAD, kind_of, natural_order, read_head
from .db3 import Db3File
from .mcap import McapFile
from .part import BagPart, zstd

METADATA = "metadata.yaml"
SUFFIXES = {".mcap", ".db3"}
PACKED_SUFFIXES = {".zstd", ".zst"}
REINDEX = "`ros2 bag reindex` makes it anew"
COPY_BYTES = 1 << 20


@dataclass
class BagFiles:
    """The files of one bag in order. What is packed as a whole is unpacked once, into a folder that goes with this."""

    path: Path
    files: list[Path]
    remarks: list[str] = field(default_factory=list)
    _unpacked: dict[Path, Path] = field(default_factory=dict)
    _folder: tempfile.TemporaryDirectory[str] | None = None

    def open_parts(self) -> Iterator[BagPart | DataError]:
        """Each file, or why it cannot be opened."""
        for file in self.files:
            try:
                yield self._open(file)
            except DataError as error:
                yield error

    def _open(self, file: Path) -> BagPart:
        if kind_of(read_head(file)) != "zstd":
            return _part(file)
        unpacked = self._unpack(file)
        try:
            part = _part(unpacked)
        except DataError as error:
            raise DataError(str(error).replace(str(unpacked), str(file))) from error
        part.path = file  # what it is called from now on
        return part

    def _unpack(self, file: Path) -> Path:
        if file not in self._unpacked:
            with border(file, "compressed, and cannot be unpacked"):
                self._folder = self._folder or tempfile.TemporaryDirectory(prefix="dvlt_bag_")
                target = Path(self._folder.name) / f"{len(self._unpacked)}_{file.stem}"
                room = shutil.disk_usage(self._folder.name).free * 9 // 10  # others need some, too
                with zstd().open(file, "rb") as source, target.open("wb") as sink:
                    while data := source.read(COPY_BYTES):
                        if sink.tell() == 0 and kind_of(data[:HEAD_BYTES]) not in ("mcap", "db3"):
                            raise DataError(f"{file}: compressed, and its content is neither MCAP nor SQLite")
                        room -= len(data)
                        if room < 0:
                            raise DataError(
                                f"{file}: compressed, and there is no room for its content in {target.parent}"
                            )
                        sink.write(data)
            self._unpacked[file] = target
        return self._unpacked[file]


def _part(file: Path) -> BagPart:
    kind = kind_of(read_head(file))
    if kind == "mcap":
        return McapFile(file)
    if kind == "db3":
        return Db3File(file)
    if kind in UNREAD:
        raise DataError(f"{file}: {UNREAD[kind]}")
    content = "it is empty" if kind == "empty" else "its content is neither MCAP nor SQLite"
    raise DataError(f"{file}: not a readable bag: {content}")


def is_bag(path: Path) -> bool:
    """A folder or a file that should be one, by its content or its name."""
    if path.is_dir():
        return (path / METADATA).is_file() or bool(_parts_in(path))
    return path.is_file() and _is_part(path)


def find_bag(path: Path) -> BagFiles:
    """The files of a bag: as metadata.yaml names them, else in order of their names.

    Raises:
        DataError: there are none.
    """
    if not path.exists():
        raise DataError(f"{path}: no such bag")
    if not path.is_dir():
        return BagFiles(path, [path])
    parts, metadata = _parts_in(path), path / METADATA
    if not metadata.is_file():
        if not parts:
            raise DataError(f"{path}: not a readable bag: no {METADATA}, and no MCAP or db3 files")
        return BagFiles(path, parts, [f"{path}: no {METADATA}, so its files are read in order of name; {REINDEX}"])
    try:
        named = [path / name for name in _named_files(metadata)]
    except DataError as error:
        if not parts:
            raise
        return BagFiles(path, parts, [f"{error}; its files are read in order of name; {REINDEX}"])
    missing = [file.name for file in named if not file.is_file()]
    if named and not missing:
        return BagFiles(path, named)
    if not parts:
        raise DataError(
            f"{path}: not a readable bag: {METADATA} names {', '.join(missing) or 'no files'}, and none is there"
        )
    what = f"{METADATA} names {', '.join(missing) or 'no files'}, not there"
    return BagFiles(path, parts, [f"{path}: {what}: the files that are there are read in order of name; {REINDEX}"])


def _named_files(metadata: Path) -> list[str]:
    """Those in the bag's own folder only, each once."""
    with border(metadata, "unreadable"):
        content = yaml.safe_load(metadata.read_text(encoding="utf-8"))
        if not isinstance(content, dict) or not content:
            raise DataError(f"{metadata}: it is empty, or cut off")
        names = content["rosbag2_bagfile_information"]["relative_file_paths"]
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise DataError(f"{metadata}: relative_file_paths in it is no list of names")
        return list(dict.fromkeys(Path(name).name for name in names))


def _parts_in(folder: Path) -> list[Path]:
    with border(folder, "cannot be read"):
        files = [path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")]
        return sorted((path for path in files if _is_part(path)), key=natural_order)


def _is_part(path: Path) -> bool:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in SUFFIXES:
        return True
    if suffixes and suffixes[-1] in IMAGE_SUFFIXES:  # thousands of them need not be opened
        return False
    kind = kind_of(read_head(path))
    if kind == "zstd":
        return len(suffixes) > 1 and suffixes[-1] in PACKED_SUFFIXES and suffixes[-2] in SUFFIXES
    return kind in ("mcap", "db3")
