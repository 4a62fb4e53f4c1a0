"""One SQLite file of a bag (rosbag2's db3)."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from ...errors import DataError
from ..border import border, cause_of
from .part import Channel


class Db3File:
    """Channels and counts at once, messages when asked."""

    def __init__(self, path: Path) -> None:
        """Raises DataError: it cannot be read, or is no bag."""
        self.path, self.problem = path, ""
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        with border(path, "not a readable bag"):
            self._database = self._open()
            # A file that is shorter than its header says is read as far as it goes.
            self._database.execute("PRAGMA writable_schema = ON")
            tables = {name for (name,) in self._database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if not {"topics", "messages"} <= tables:
                raise DataError(f"{path}: not a readable bag: a database without the tables of one")
            self._topics = self._read_topics()
            self._definitions = self._read_definitions() if "message_definitions" in tables else {}
            self._counts = self._count()

    @property
    def channels(self) -> list[Channel]:
        return [Channel(topic, kind, *self._definitions.get(kind, ("", ""))) for topic, kind in self._topics.values()]

    @property
    def counts(self) -> Counter[str]:
        return self._counts

    def messages(self, topics: set[str]) -> Iterator[tuple[str, int, bytes]]:
        """(topic, time of recording in ns, serialised message), by time; of a damaged file as they were written.

        Raises:
            DataError: damage, after what can be read.
        """
        ids = [number for number, (topic, _) in self._topics.items() if topic in topics]
        marks = ", ".join("?" * len(ids))
        rows = f"FROM messages{' NOT INDEXED' if self.problem else ''} WHERE topic_id IN ({marks})"
        query = f"SELECT topic_id, timestamp, data {rows} ORDER BY {'rowid' if self.problem else 'timestamp, id'}"
        num_odd = 0  # SQLite keeps any type in any column
        with border(self.path, "damaged bag"):
            for number, time_ns, data in self._database.execute(query, ids):
                if isinstance(time_ns, int) and isinstance(data, bytes):
                    yield self._topics[number][0], time_ns, data
                else:
                    num_odd += 1
        if num_odd:
            raise DataError(f"{self.path}: damaged bag: rows that hold no message: {num_odd}")

    def close(self) -> None:
        self._database.close()
        if self._folder is not None:
            self._folder.cleanup()

    def _open(self) -> sqlite3.Connection:
        """Nothing is written beside the file. What a crash has left in a write-ahead log is read from a copy.

        So is a file that was cut within a page: SQLite would take the rest of that page for zeros, without a word.
        """
        path, mode = self.path.absolute(), "ro&immutable=1"
        log = path.with_name(f"{path.name}-wal")
        torn = path.stat().st_size % _page_bytes(path)
        if torn or (log.is_file() and log.stat().st_size):
            self._folder = tempfile.TemporaryDirectory(prefix="dvlt_bag_")
            for file in (path, log):
                if file.is_file():
                    shutil.copyfile(file, Path(self._folder.name) / file.name)
            path, mode = Path(self._folder.name) / path.name, "rw"
            os.truncate(path, path.stat().st_size - torn)
        return sqlite3.connect(f"file:{quote(str(path))}?mode={mode}", uri=True, check_same_thread=False)

    def _read_topics(self) -> dict[int, tuple[str, str]]:
        rows = self._database.execute("SELECT id, name, type FROM topics")
        return {int(number): (str(name), str(kind)) for number, name, kind in rows}

    def _read_definitions(self) -> dict[str, tuple[str, str]]:
        query = "SELECT topic_type, encoded_message_definition, encoding FROM message_definitions"
        with suppress(sqlite3.Error):  # then the usual definitions hold
            return {str(kind): (str(text), str(form)) for kind, text, form in self._database.execute(query)}
        return {}

    def _count(self) -> Counter[str]:
        """From the rows that are there."""
        counts: Counter[str] = Counter()
        try:
            for (number,) in self._database.execute("SELECT topic_id FROM messages NOT INDEXED"):
                if number in self._topics:
                    counts[self._topics[number][0]] += 1
        except Exception as error:  # whatever SQLite finds behind the cut
            self.problem = f"damaged or cut off ({cause_of(error)}); `sqlite3 FILE .recover` may find more"
        return counts


def _page_bytes(path: Path) -> int:
    """Of a database, by its header."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(18)[16:], "big")
    return 65536 if size == 1 else max(size, 512)
