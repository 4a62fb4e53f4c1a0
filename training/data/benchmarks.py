"""The five public data sets that reconstruction networks are measured on, as their published protocol reads them.

Which views, in which order, and which depths count are the protocol's; so are poses, intrinsics and units, just
as the files have them. To add a set: one module with ``sequences`` and ``open_sequence``, and one line below.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dvlt_ros.errors import DataError

from .benchmark_sequence import BenchmarkSequence
from .readers import dtu, eth3d, nuscenes, scannetpp, seven_scenes


@dataclass(frozen=True)
class Benchmark:
    """A data set in its published layout, under a folder of its own name in the data root."""

    name: str
    title: str
    looked_for: str  # below the data set's own folder
    list_sequences: Callable[[Path], list[str]]
    open_sequence: Callable[[Path, str], BenchmarkSequence]

    def folder(self, root: Path) -> Path:
        """The data set's own folder.

        Raises:
            DataError: there is none.
        """
        folder = Path(root) / self.name
        if not folder.is_dir():
            raise DataError(f"{folder}: no such folder; {self.title} is looked for there: {self.looked_for}")
        return folder

    def sequences(self, root: Path) -> list[str]:
        """Names of the sequences that the protocol evaluates, in its order.

        Where the protocol has a fixed list, all of it: what is not on disk fails when it is opened, with its
        name, rather than leaving the mean.

        Raises:
            DataError: no such data set under ``root``.
        """
        return self.list_sequences(self.folder(root))

    def open(self, root: Path, name: str) -> BenchmarkSequence:
        """The protocol's views of one sequence, the reference first; each is read when it is asked for.

        Raises:
            DataError: a missing or unusable file, named with its cause.
        """
        return self.open_sequence(self.folder(root), name)


def _benchmarks(*benchmarks: Benchmark) -> dict[str, Benchmark]:
    return {benchmark.name: benchmark for benchmark in benchmarks}


BENCHMARKS = _benchmarks(
    Benchmark("dtu", "DTU", dtu.LOOKED_FOR, dtu.sequences, dtu.open_sequence),
    Benchmark("eth3d", "ETH3D", eth3d.LOOKED_FOR, eth3d.sequences, eth3d.open_sequence),
    Benchmark(
        "sevenscenes", "7-Scenes", seven_scenes.BENCHMARK_FILES, seven_scenes.sequences, seven_scenes.open_sequence
    ),
    Benchmark("scannetpp", "ScanNet++", scannetpp.BENCHMARK_FILES, scannetpp.sequences, scannetpp.open_sequence),
    Benchmark("nuscenes", "nuScenes", nuscenes.LOOKED_FOR, nuscenes.sequences, nuscenes.open_sequence),
)
