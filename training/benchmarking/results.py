"""What came out of a data set, and its `metrics.json`."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dvlt_ros.export.files import write_atomically

from ..evaluation.metrics import Aggregate, aggregate
from ..prepare.jobs import HalfPixel


@dataclass(frozen=True)
class Run:
    """All that a figure depends on besides the data."""

    model: str
    weights: str
    num_steps: int  # K
    image_size: int  # width of the network's images, pixels
    precision: str  # of the network
    depth_alignment: str
    reconstruction: str
    machine: str


@dataclass(frozen=True)
class SequenceResult:
    name: str
    views: int
    size: tuple[int, int]  # (height, width) of the network's images
    seconds: float  # of the prediction
    metrics: dict[HalfPixel, dict[str, float]]
    left_out: int = 0  # views without files, where the protocol skips them


@dataclass(frozen=True)
class Failure:
    sequence: str  # the data set's own name where its sequences could not be listed
    cause: str


@dataclass(frozen=True)
class SetResult:
    """One data set; failed sequences count in no figure."""

    name: str
    title: str
    listed: int  # sequences that the protocol has
    sequences: tuple[SequenceResult, ...]
    failures: tuple[Failure, ...]
    prepared: HalfPixel = "published"  # how its depth on disk was made

    @property
    def conventions(self) -> tuple[HalfPixel, ...]:
        return tuple(self.sequences[0].metrics) if self.sequences else ()

    def summary(self, convention: HalfPixel = "published") -> dict[str, Aggregate]:
        """Unweighted over the sequences; where a metric is NaN, the sequence is left out of it and counted."""
        return aggregate([sequence.metrics[convention] for sequence in self.sequences])


def write_metrics(path: Path, run: Run, result: SetResult) -> None:
    """JSON without NaN: a figure that does not exist is null."""
    document = {
        "dataset": result.name,
        "run": asdict(run),
        "listed": result.listed,
        "prepared": result.prepared,
        "metrics": {
            convention: {name: asdict(value) for name, value in result.summary(convention).items()}
            for convention in result.conventions
        },
        "per_sequence": {sequence.name: asdict(sequence) for sequence in result.sequences},
        "failures": [asdict(failure) for failure in result.failures],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, (json.dumps(_without_nan(document), indent=2) + "\n").encode())


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def mean_over_sets(results: Sequence[SetResult], metric: str, convention: HalfPixel = "published") -> float:
    """Every data set counts the same; NaN where one of them has no figure."""
    means = [result.summary(convention) for result in results]
    found = [summary[metric].mean if metric in summary else math.nan for summary in means]
    return sum(found) / len(found) if found else math.nan
