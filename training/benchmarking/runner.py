"""A model over a data set, sequence by sequence; one that fails is named with its cause, and the next one follows."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from tqdm import tqdm

from dvlt_ros.backends.protocol import MultiViewModel, MultiViewPrediction
from dvlt_ros.errors import DataError, DvltError

from ..data.benchmark_sequence import BenchmarkSequence
from ..data.sequence import RgbdSequence
from ..evaluation.metrics import DepthAlignment
from ..evaluation.pictures import Row, write_rows
from ..prepare.jobs import HalfPixel
from .reconstruction import ReconstructionRule
from .results import Failure, Run, SequenceResult, SetResult, write_metrics
from .scene import Scene, prepare_scene
from .score import Score, score

logger = logging.getLogger(__name__)

MOST_ROWS = 12  # of a page of pictures
PICTURE_WIDTH = 256  # pixels, about: a hundred sequences stay in memory


@dataclass(frozen=True)
class Protocol:
    """The choices that the published protocol leaves open, or that this package adds to it."""

    image_size: int  # pixels
    num_steps: int | None = None
    conventions: tuple[HalfPixel, ...] = ("published",)
    depth_alignment: DepthAlignment = "median"
    reconstruction: ReconstructionRule | None = None


@dataclass(frozen=True)
class DataSet:
    """Where the sequences of a data set come from."""

    name: str
    title: str
    sequences: Callable[[], list[str]]
    open: Callable[[str], RgbdSequence]
    prepared: HalfPixel = "published"  # how its depth on disk was made


def run_set(
    data_set: DataSet, model: MultiViewModel, protocol: Protocol, run: Run, folder: Path, most: int | None = None
) -> SetResult:
    """Evaluates the first ``most`` sequences; leaves metrics.json, rewritten after each, and page.png in the folder."""
    names, result = _listed(data_set)
    rows: list[tuple[float, Row]] = []
    write_metrics(folder / "metrics.json", run, result)
    for name in tqdm(names[:most], desc=data_set.name, unit="sequence"):
        try:
            sequence, row = run_sequence(data_set.open(name), name, model, protocol)
            result = replace(result, sequences=(*result.sequences, sequence))
            rows.append((sequence.metrics["published"]["rel_depth"], row))
        except Exception as error:  # a run of hours goes on; the report and the exit status tell
            result = replace(result, failures=(*result.failures, Failure(name, _cause(error))))
        write_metrics(folder / "metrics.json", run, result)
    if rows:
        write_page(folder / "page.png", rows)
    return result


def _listed(data_set: DataSet) -> tuple[list[str], SetResult]:
    try:
        names = data_set.sequences()
        if not names:
            raise DataError(f"{data_set.name}: no sequences")
    except Exception as error:  # the other data sets go on
        names, failures = [], (Failure(data_set.name, _cause(error)),)
        return names, SetResult(data_set.name, data_set.title, 0, (), failures, data_set.prepared)
    return names, SetResult(data_set.name, data_set.title, len(names), (), (), data_set.prepared)


def run_sequence(
    sequence: RgbdSequence, name: str, model: MultiViewModel, protocol: Protocol
) -> tuple[SequenceResult, Row]:
    """One forward pass, judged under every convention.

    Raises:
        DvltError: a sequence that cannot be read, predicted or aligned.
    """
    scene = prepare_scene(sequence, protocol.image_size, model.card.patch_size, protocol.conventions)
    start = time.perf_counter()
    prediction = model.predict(scene.images, protocol.num_steps).to("cpu")  # so the clock stops after the device
    seconds = time.perf_counter() - start
    scores = {
        convention: score(prediction, truth, protocol.depth_alignment, protocol.reconstruction)
        for convention, truth in scene.truths.items()
    }
    size = scene.images.shape[-2], scene.images.shape[-1]
    metrics = {convention: value.metrics for convention, value in scores.items()}
    left_out = sequence.left_out if isinstance(sequence, BenchmarkSequence) else 0
    result = SequenceResult(name, len(scene.images), size, seconds, metrics, left_out)
    return result, _row(name, scene, prediction, scores["published"])


def _cause(error: Exception) -> str:
    if not isinstance(error, DvltError | OSError):
        logger.exception("unexpected failure")
        return f"{type(error).__name__}: {' '.join(str(error).split())}"
    logger.warning("left out: %s", error)
    return " ".join(str(error).split())  # on one line


def _row(name: str, scene: Scene, prediction: MultiViewPrediction, scored: Score) -> Row:
    """The middle view: its depth after a median scale of its own, and the relative error of its primary points."""
    view, truth = len(scene.images) // 2, scene.truths["published"]
    stride = max(1, round(scene.images.shape[-1] / PICTURE_WIDTH))
    small = (..., slice(None, None, stride), slice(None, None, stride))
    valid, true_points = truth.valid[view], truth.points_of_view(view)
    aligned = scored.truth_from_found.apply(prediction.points[view].double())
    error = ((aligned - true_points).norm(dim=-1) / true_points.norm(dim=-1)).where(valid, torch.nan)
    found_depth, metrics = prediction.depth[view], scored.metrics
    if valid.any():  # the similarity's scale may be far off where the points are, and the picture all of one colour
        found_depth = found_depth * (truth.depth[view][valid] / found_depth[valid]).median()
    return Row(
        scene.images[view][small].clone(),
        truth.depth[view].where(valid, torch.nan)[small].clone(),
        found_depth[small].clone(),
        error[small].clone(),
        prediction.confidence[view][small].log().clone(),
        f"{name}\nRel {metrics['rel_depth']:.3f}, IR {100 * metrics['ir_depth']:.0f} %",
    )


def write_page(path: Path, rows: list[tuple[float, Row]]) -> None:
    """From the best sequence to the worst, by their relative error, evenly chosen."""
    ranked = [row for _, row in sorted(rows, key=lambda pair: (math.isnan(pair[0]), pair[0]))]
    chosen = torch.linspace(0, len(ranked) - 1, min(MOST_ROWS, len(ranked))).long()
    write_rows(path, [ranked[i] for i in chosen])
