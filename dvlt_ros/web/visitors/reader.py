"""Reads what somebody uploads in a process of its own, which has limits and can be ended at any moment.

    python -m dvlt_ros.web.visitors.reader      # a request as JSON on stdin, photos as .npz on stdout

Files of strangers may take a decoder for ever, or all memory: then this process ends, and the page goes on.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import resource
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import DataError, DvltError
from ...photos import LONGEST_EDGE
from ..photos import Photos, read_photos

LIST, INTRINSICS = "titles.json", "intrinsics"  # beside the images in the answer


@dataclass(frozen=True)
class Limits:
    """Of one reading."""

    seconds: float = 300.0
    memory_bytes: int = 6 * 2**30  # of addresses; libraries alone take more than one
    scratch_bytes: int = 4 * 2**30  # of a file that it writes: a bag that is unpacked
    longest_edge: int = LONGEST_EDGE  # pixels that are kept


class Reader:
    """One reading at a time for one visitor, so many for all; each can be ended from another thread."""

    def __init__(self, limits: Limits | None = None, slots: threading.Semaphore | None = None) -> None:
        """``slots``: how many readings there may be at once, of all visitors."""
        self._limits = limits or Limits()
        self._slots = slots or threading.Semaphore(1)
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._is_closed = False

    def read(self, paths: Sequence[Path], max_views: int | None = None) -> Photos:
        """As `read_photos`.

        Raises:
            DataError: what `read_photos` says, too many readings at once, or more time or memory than there is.
        """
        if not self._slots.acquire(blocking=False):
            raise DataError("others are reading their photos: please try again in a moment")
        try:
            request = {"paths": [os.fsdecode(path) for path in paths], "max_views": max_views}
            return _photos(self._answer(json.dumps(request | {"limits": asdict(self._limits)}).encode()))
        finally:
            self._slots.release()

    def close(self) -> None:
        """Ends what is being read; from now on nothing is."""
        with self._lock:
            self._is_closed = True
            if self._process is not None:
                self._process.kill()

    def _answer(self, request: bytes) -> bytes:
        with self._lock:
            if self._is_closed:
                raise DataError("whoever asked for this has left")
            command = [sys.executable, "-m", "dvlt_ros.web.visitors.reader"]
            pipe = subprocess.PIPE
            self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL)
        try:
            answer, _ = self._process.communicate(request, timeout=self._limits.seconds)
        except subprocess.TimeoutExpired as error:
            raise DataError(f"reading took more than {self._limits.seconds:.0f} s and was given up") from error
        finally:
            self._end()
        if self._is_closed:
            raise DataError("whoever asked for this has left")
        return answer

    def _end(self) -> None:
        with self._lock:
            process, self._process = self._process, None
        if process is not None and process.poll() is None:
            process.kill()
            process.communicate()


def main() -> None:
    """The process: limits first, then the files."""
    request = json.load(sys.stdin.buffer)
    limits = Limits(**request["limits"])
    restrict(limits)
    answer = io.BytesIO()
    try:
        photos = read_photos([Path(path) for path in request["paths"]], request["max_views"], limits.longest_edge)
        arrays = {f"image_{index}": image for index, image in enumerate(photos.images)}
        _write(answer, {"titles": photos.titles, "total": photos.total}, arrays | {INTRINSICS: photos.intrinsics})
    except DvltError as error:
        _write(answer, {"refused": str(error)}, {})
    except MemoryError:
        _write(answer, {"refused": "it needs more memory than one visitor gets"}, {})
    except Exception as error:  # whatever a decoder does
        _write(answer, {"refused": f"it cannot be read: {type(error).__name__}: {error}"}, {})
    sys.stdout.buffer.write(answer.getvalue())


def restrict(limits: Limits) -> None:
    """This process cannot have more, whatever its files make of it."""
    seconds = int(limits.seconds) + 1
    kinds = {
        resource.RLIMIT_AS: limits.memory_bytes,
        resource.RLIMIT_CPU: 4 * seconds,  # decoders use several cores
        resource.RLIMIT_FSIZE: limits.scratch_bytes,
        resource.RLIMIT_CORE: 0,
    }
    for kind, most in kinds.items():
        with contextlib.suppress(ValueError, OSError):  # the system allows even less
            resource.setrlimit(kind, (most, most))


def _write(answer: io.BytesIO, told: dict[str, Any], found: dict[str, np.ndarray]) -> None:
    arrays: dict[str, Any] = found | {LIST: np.frombuffer(json.dumps(told).encode(), np.uint8)}
    np.savez(answer, **arrays)


def _photos(answer: bytes) -> Photos:
    """Raises DataError: what the process says, or that it ended without a word."""
    if not answer:
        raise DataError("reading ended without an answer: it needs more memory or time than one visitor gets")
    with np.load(io.BytesIO(answer), allow_pickle=False) as found:
        told = json.loads(found[LIST].tobytes())
        if "refused" in told:
            raise DataError(told["refused"])
        images = tuple(found[f"image_{index}"] for index in range(len(told["titles"])))
        return Photos(images, tuple(told["titles"]), int(told["total"]), found[INTRINSICS])


if __name__ == "__main__":
    main()
