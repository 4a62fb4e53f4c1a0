"""Files that are there whole or not at all, and results of which each stands for itself."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import DvltError, InputError

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
UNFINISHED = ".unfinished"  # the end of hidden names beside the result


def write_atomically(path: Path, data: bytes) -> None:
    """Writes beside the file and renames: whoever reads it sees the old one or the new one.

    Raises:
        InputError: it cannot be written; it names the path and the cause, and the old file is untouched.
    """
    with replacing(path) as unfinished, unfinished.open("xb") as file:
        file.write(data)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside ``path`` to write to, as a file or a folder; it takes the place of ``path`` if nothing is raised.

    Raises:
        InputError: it cannot be written; it names the path and the cause, and what was there is untouched.
    """
    path = Path(path)
    unfinished = path.parent / f".{secrets.token_hex(8)}{UNFINISHED}"
    try:
        yield unfinished
        _to_disk(unfinished)
        if unfinished.is_dir() and path.is_dir() and not path.is_symlink():
            _swap(unfinished, path)
        else:
            unfinished.replace(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:  # an interrupt leaves nothing either; after the renaming there is nothing left
        with contextlib.suppress(OSError):
            shutil.rmtree(unfinished) if unfinished.is_dir() else unfinished.unlink()


def writable_folder(path: Path) -> Path:
    """Makes the folder where there is none: programs ask before their work, not when it is done.

    Raises:
        InputError: it cannot be made, or nothing can be written there.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            return path
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from error


def clear_unfinished(folder: Path) -> None:
    """What a killed process has left in a folder."""
    for path in folder.glob(f".*{UNFINISHED}"):
        with contextlib.suppress(OSError):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def is_for_room(error: BaseException | None) -> bool:
    """Whether what was written found no room on the disk, by the system's own word."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            return True
        error = error.__cause__
    return False


@dataclass
class Outputs:
    """Outputs in order of their worth, each on its own: one that fails does not take the others with it."""

    failures: list[str] = field(default_factory=list)  # a line each: what, and why

    def attempt(self, name: str, write: Callable[[], object]) -> bool:
        """Whether ``write`` went well. Errors of this package and of the system are kept, others are bugs and pass."""
        try:
            write()
        except (DvltError, OSError) as error:
            cause = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            self.failures.append(cause if name in cause else f"{name}: {cause}")
            return False
        return True

    def check(self) -> None:
        """Raises InputError: something failed; it names all of it."""
        if self.failures:
            raise InputError("not everything could be written: " + "; ".join(self.failures))


def _to_disk(path: Path) -> None:
    """So that a power failure after the renaming does not leave an empty file of the new name."""
    if path.is_file():
        with path.open("rb") as file:
            os.fsync(file.fileno())


def _swap(unfinished: Path, path: Path) -> None:
    """A folder with content cannot be renamed onto another: the old one stands aside for a moment."""
    aside = path.parent / f".{secrets.token_hex(8)}{UNFINISHED}"
    path.rename(aside)
    try:
        unfinished.rename(path)
    except OSError:
        aside.rename(path)
        raise
    shutil.rmtree(aside, ignore_errors=True)
