"""One MCAP file, read from its beginning to its end: what a power failure has cut is there up to the cut.

Written after the format's specification (https://mcap.dev/spec). Sizes and counts in the file are claims: they are
compared with what is there, and nothing is allocated or repeated for their sake.
"""

from __future__ import annotations

import heapq
import mmap
import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ...errors import DataError
from ..border import border
from .part import Channel, unpacked

MAGIC = b"\x89MCAP0\r\n"
HEADER = struct.Struct("<BQ")  # of a record: opcode, length
SCHEMA, CHANNEL, MESSAGE, CHUNK, MESSAGE_INDEX, FOOTER, DATA_END = 3, 4, 5, 6, 7, 2, 15
OPCODES = range(1, 128)
MAX_CHUNK_BYTES = 1 << 30  # unpacked
MAX_WAITING_BYTES = 1 << 30  # of messages that are put in order


@dataclass
class Chunk:
    """Records of one chunk, still packed."""

    start_ns: int
    compression: str
    place: int  # of the packed records in the file
    length: int  # of what is there of them
    counts: Counter[int] | None = None  # messages by channel; None: only its content tells
    index_counts: Counter[int] = field(default_factory=Counter)


class McapFile:
    """Channels and counts at once, messages when asked."""

    def __init__(self, path: Path) -> None:
        """Raises DataError: it cannot be read, or is no MCAP."""
        self.path, self.problem = path, ""
        self._schemas: dict[int, tuple[str, str, bytes]] = {}
        self._channels: dict[int, tuple[int, str]] = {}
        self._chunks: list[Chunk] = []
        self._loose: list[tuple[int, int, int, int]] = []  # log time, channel, place, length
        with border(path, "not a readable bag"):
            with path.open("rb") as file:
                self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            if self._data[: len(MAGIC)] != MAGIC:
                raise DataError(f"{path}: not a readable bag: no MCAP")
            self._scan()
            self._look_into_chunks()

    @property
    def channels(self) -> list[Channel]:
        """Those with a known type; messages of others cannot be decoded."""
        found = []
        for schema_id, topic in self._channels.values():
            name, encoding, text = self._schemas.get(schema_id, ("", "", b""))
            if name:
                found.append(Channel(topic, name, text.decode(errors="replace"), encoding))
        return found

    @property
    def counts(self) -> Counter[str]:
        """Messages by topic."""
        counts: Counter[str] = Counter()
        by_channel = Counter(channel for _, channel, _, _ in self._loose)
        for chunk in self._chunks:
            by_channel.update(chunk.counts or {})
        for channel, count in by_channel.items():
            if channel in self._channels:
                counts[self._channels[channel][1]] += count
        return counts

    def messages(self, topics: set[str]) -> Iterator[tuple[str, int, bytes]]:
        """(topic, time of recording in ns, serialised message), by time.

        Raises:
            DataError: at the end, if a part was damaged.
        """
        wanted = {channel: topic for channel, (_, topic) in self._channels.items() if topic in topics}
        damage: DataError | None = None
        waiting: list[tuple[int, int, str, bytes]] = []
        order = size = 0
        chunks = sorted((c for c in self._chunks if c.counts is None or wanted.keys() & c.counts), key=_start)
        for index, chunk in enumerate(chunks):
            try:
                for time_ns, channel, data in self._of_chunk(chunk):
                    if channel in wanted:
                        heapq.heappush(waiting, (time_ns, order := order + 1, wanted[channel], data))
                        size += len(data)
            except DataError as error:
                damage = damage or error
            until_ns = chunks[index + 1].start_ns if index + 1 < len(chunks) else None
            while waiting and (until_ns is None or waiting[0][0] < until_ns or size > MAX_WAITING_BYTES):
                time_ns, _, topic, data = heapq.heappop(waiting)
                size -= len(data)
                yield topic, time_ns, data
        for time_ns, channel, place, length in sorted(self._loose):
            if channel in wanted:
                yield wanted[channel], time_ns, self._data[place : place + length]
        if damage is not None:
            raise damage

    def close(self) -> None:
        self._data.close()

    def _scan(self) -> None:
        """All records outside of chunks; of chunks only what stands before and behind them."""
        place, end = len(MAGIC), len(self._data)
        is_complete = False
        while place + HEADER.size <= end:
            opcode, length = HEADER.unpack_from(self._data, place)
            start, place = place + HEADER.size, place + HEADER.size + length
            if opcode not in OPCODES:
                self.problem = f"damaged at byte {start - HEADER.size}"
                return
            if place > end:
                self._keep(opcode, start, end)
                break
            self._keep(opcode, start, place)
            if opcode == FOOTER:
                is_complete = True
                break
        if not is_complete:
            self.problem = f"cut off after {end} bytes (a power failure?); `mcap recover` makes a whole file of it"

    def _keep(self, opcode: int, start: int, end: int) -> None:
        """One record; of one that is cut off only a chunk is of use."""
        is_cut = end == len(self._data) and opcode not in (FOOTER, DATA_END)
        try:
            if opcode == CHUNK:
                self._chunks.append(self._chunk(start, end))
            elif opcode == MESSAGE_INDEX and self._chunks:
                channel, size = struct.unpack_from("<HI", self._data, start)
                self._chunks[-1].index_counts[channel] += min(size, end - start - 6) // 16
                self._chunks[-1].counts = self._chunks[-1].index_counts
            elif opcode in (SCHEMA, CHANNEL):
                self._learn(opcode, self._data[start:end])
            elif opcode == MESSAGE and not is_cut:
                channel, _, time_ns = struct.unpack_from("<HIQ", self._data, start)
                self._loose.append((time_ns, channel, start + 22, end - start - 22))
        except (struct.error, IndexError, UnicodeDecodeError):
            self.problem = self.problem or f"damaged at byte {start}"

    def _chunk(self, start: int, end: int) -> Chunk:
        start_ns, _, _, _, length = struct.unpack_from("<QQQII", self._data, start)
        names = start + 32
        compression = self._data[names : names + min(length, 16)].decode()
        (size,) = struct.unpack_from("<Q", self._data, names + length)
        place = names + length + 8
        return Chunk(start_ns, compression, place, max(0, min(size, end - place)))

    def _learn(self, opcode: int, record: bytes) -> None:
        """A schema or a channel; the first of a number counts."""
        number = int(struct.unpack_from("<H", record)[0])
        if opcode == SCHEMA:
            name, place = _string(record, 2)
            encoding, place = _string(record, place)
            text, _ = _string(record, place)
            self._schemas.setdefault(number, (name.decode(), encoding.decode(), text))
        else:
            schema_id = struct.unpack_from("<H", record, 2)[0]
            topic, _ = _string(record, 4)
            self._channels.setdefault(number, (schema_id, topic.decode()))

    def _look_into_chunks(self) -> None:
        """Those without an index, and those with channels that stand nowhere else."""
        for chunk in self._chunks:
            if chunk.counts is not None and chunk.counts.keys() <= self._channels.keys():
                continue
            counts: Counter[int] = Counter()
            try:
                counts.update(channel for _, channel, _ in self._of_chunk(chunk))
            except DataError as error:
                self.problem = self.problem or str(error).removeprefix(f"{self.path}: ")
            chunk.counts = chunk.counts or counts

    def _of_chunk(self, chunk: Chunk) -> Iterator[tuple[int, int, bytes]]:
        """(time in ns, channel, message) of a chunk, as far as it can be read.

        Raises:
            DataError: at the damage.
        """
        what = f"damaged chunk at byte {chunk.place}"
        with border(self.path, f"damaged bag: {what}"):
            packed = self._data[chunk.place : chunk.place + chunk.length]
            records, is_whole = unpacked(packed, chunk.compression, MAX_CHUNK_BYTES)
            place = 0
            while place + HEADER.size <= len(records):
                opcode, length = HEADER.unpack_from(records, place)
                start, place = place + HEADER.size, place + HEADER.size + length
                if place > len(records) or opcode not in (SCHEMA, CHANNEL, MESSAGE):
                    is_whole = False
                    break
                if opcode == MESSAGE:
                    channel, _, time_ns = struct.unpack_from("<HIQ", records, start)
                    yield time_ns, channel, records[start + 22 : place]
                else:
                    self._learn(opcode, records[start:place])
            if not is_whole and not self.problem.startswith("cut off"):
                raise DataError(f"{self.path}: damaged bag: {what}")


def _start(chunk: Chunk) -> int:
    return chunk.start_ns


def _string(record: bytes, place: int) -> tuple[bytes, int]:
    """A string with its length before it, and where the next thing is."""
    (length,) = struct.unpack_from("<I", record, place)
    if place + 4 + length > len(record):
        raise IndexError("beyond the record")
    return record[place + 4 : place + 4 + length], place + 4 + length
