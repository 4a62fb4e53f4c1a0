"""What the tracks' geometry makes of the embedded checkpoint's windows, beside pycolmap on the same frames.

    python benchmarks/refinement.py --data rgbd_kitchen --intrinsics 585 585 320 240 --classical
    python benchmarks/refinement.py --frozen 200
    python benchmarks/refinement.py --others 120
    python benchmarks/refinement.py --frozen 200 --nearly-right

Windows of six frames 10 apart, with everything anew for each; then the recording as a stream, windows of eight that
share three. Times are of the process on one thread, so that what else runs there counts less. AUC@30 is of the pairs
with a baseline above 5 % of the median depth; frames that pycolmap does not place count as wrong. Depth is compared
after one median scale per window. ``--nearly-right`` takes the truth, disturbed, for the network's answer. Needs
`pip install '.[training]'`, with ``--classical`` pycolmap too.
"""

from __future__ import annotations

import os

# NumPy's linear algebra reads these while it loads.
os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from trajectories import classical
from trajectories.sequences import FAMILIES, Recording, from_folder

from dvlt_ros.benchmark import machine
from dvlt_ros.checkpoints import EMBEDDED_WEIGHTS
from dvlt_ros.errors import DataError, DvltError
from dvlt_ros.mapping.data.frames import Frame, Picture
from dvlt_ros.mapping.data.views import View
from dvlt_ros.mapping.inference.dvlt_predictor import DvltPredictor
from dvlt_ros.model import Dvlt
from dvlt_ros.refinement import NetworkAnswer, Refined, WindowFrame, WindowRefiner
from dvlt_ros.training.evaluation.metrics import area_under_curve, depth_metrics, pair_errors
from dvlt_ros.training.evaluation.windows import MIN_BASELINE
from dvlt_ros.training.synthetic import BENCHMARK_SEED, Benchmark, load_benchmark

FAR_VIEWS, FAR_STRIDE = 6, 10
STREAM_VIEWS, STREAM_SHARED = 8, 3
OTHER_SEED = BENCHMARK_SEED + 10_100  # neither trained on nor in the benchmark
NOISE = 0.07  # AUC@30 that one of 15 pairs is worth
DISTURBED_TURN, DISTURBED_SHIFT = np.radians(3.0), 0.08  # a pose's, root mean square; of the window's extent
DISTURBED_DEPTH, DISTURBED_SCALE = 0.06, 0.03  # of its logarithm, a smooth field's and a frame's


@dataclass(frozen=True, eq=False)
class Sample:
    """A window with its truth."""

    name: str
    numbers: Sequence[int]
    recording: Recording  # its frames alone
    intrinsics: np.ndarray  # (S, 3, 3)


@dataclass(frozen=True)
class Row:
    name: str
    auc: tuple[float, float]  # of the network, refined
    abs_rel: tuple[float, float]
    classical: float  # AUC@30 of pycolmap; NaN: not asked for
    process_ms: float
    outcome: str


def far_windows(recording: Recording, every: int) -> Iterator[Sample]:
    for start in range(0, len(recording) - FAR_STRIDE * (FAR_VIEWS - 1), every):
        yield sample(recording, [start + FAR_STRIDE * i for i in range(FAR_VIEWS)])


def stream_windows(recording: Recording) -> Iterator[Sample]:
    for start in range(0, len(recording) - STREAM_VIEWS + 1, STREAM_VIEWS - STREAM_SHARED):
        yield sample(recording, list(range(start, start + STREAM_VIEWS)))


def sample(recording: Recording, frames: list[int]) -> Sample:
    part = Recording(
        recording.name, recording.stamps_ns[frames], [recording.images[i] for i in frames],
        [recording.depths[i] for i in frames], recording.intrinsics, recording.world_from_cam[frames],
    )  # fmt: skip
    return Sample(f"{recording.name} {frames[0]}", frames, part, np.tile(recording.intrinsics, (len(frames), 1, 1)))


def other_windows(count: int) -> Iterator[Sample]:
    """Windows like those of the frozen benchmark, which is to judge only what others have decided."""
    benchmark = load_benchmark()
    seeds = tuple(OTHER_SEED + i for i in range(count))
    families = tuple(FAMILIES[i % len(FAMILIES)] for i in range(count))
    return frozen_windows(count, replace(benchmark, seeds=seeds, families=families))


def frozen_windows(count: int, benchmark: Benchmark | None = None) -> Iterator[Sample]:
    benchmark = benchmark or load_benchmark()
    for index, views in enumerate(benchmark.batches(1, "cpu", count=count)):
        images = [(255 * image.permute(1, 2, 0)).round().byte().numpy() for image in views.images[0]]
        intrinsics = views.intrinsics[0].double().numpy()
        depths = list((views.depth[0] * views.valid[0]).numpy())
        stamps_ns, poses = np.arange(1, len(images) + 1), views.world_from_cam[0].double().numpy()
        part = Recording(benchmark.families[index], stamps_ns, images, depths, intrinsics[0], poses)
        yield Sample(f"{benchmark.families[index]} {index}", range(len(images)), part, intrinsics)


def predicted(predictor: DvltPredictor, sample: Sample) -> tuple[NetworkAnswer, np.ndarray]:
    """The network's answer, and the true depths (S, h, w) at its pixels; 0 where unknown."""
    pictures = [Picture(i, k) for i, k in zip(sample.recording.images, sample.intrinsics, strict=True)]
    views = [View(i, Frame(1 + i, "camera", 0, lambda p=p: p), p) for i, p in enumerate(pictures)]  # type: ignore[misc]
    predictor.reset()
    found = predictor.predict(views, predictor.max_steps, predictor.image_size, range(len(views)))
    mapping = found.mapping
    true = [mapping.map_to_network(torch.from_numpy(d)).nan_to_num(0.0).numpy() for d in sample.recording.depths]
    answer = NetworkAnswer(
        found.depth, found.confidence, found.window_from_cam, found.intrinsics, mapping.scale, mapping.offset
    )
    return answer, np.stack(true)


def nearly_right(answer: NetworkAnswer, true: np.ndarray, sample: Sample, rng: np.random.Generator) -> NetworkAnswer:
    """The answer of a network that sees well: the truth, disturbed; where depth is unknown it is the usual one."""
    poses = np.linalg.inv(sample.recording.world_from_cam[:1]) @ sample.recording.world_from_cam
    extent = np.linalg.norm(poses[:, :3, 3], axis=1).max()
    depth = np.where(true > 0, true, np.median(true[true > 0])).astype(np.float32)
    for s in range(1, len(poses)):
        off = np.eye(4)
        off[:3, :3] = cv2.Rodrigues(rng.normal(0, DISTURBED_TURN / np.sqrt(3), 3))[0]
        off[:3, 3] = rng.normal(0, DISTURBED_SHIFT * extent / np.sqrt(3), 3)
        poses[s] = poses[s] @ off
    for picture in depth:
        coarse = rng.normal(0, DISTURBED_DEPTH, (4, 5)).astype(np.float32)
        field = cv2.resize(coarse, picture.shape[::-1], interpolation=cv2.INTER_CUBIC)
        picture *= np.exp(field + rng.normal(0, DISTURBED_SCALE))
    intrinsics = sample.intrinsics.copy()
    intrinsics[:, :2] *= np.array(answer.scale)[:, None]
    intrinsics[:, :2, 2] += answer.offset
    return replace(answer, depth=depth, window_from_cam=poses, intrinsics=intrinsics)


def auc(found: np.ndarray, sample: Sample, true_depth: np.ndarray) -> float:
    """AUC@30; poses (S, 4, 4) that are NaN count as wrong."""
    missing = np.isnan(found).any(axis=(1, 2))
    filled = torch.from_numpy(np.where(missing[:, None, None], np.eye(4), found))
    turn, shift, baseline = pair_errors(filled, torch.from_numpy(sample.recording.world_from_cam))
    first, second = np.triu_indices(len(found), 1)
    worst = torch.maximum(turn, shift).masked_fill(torch.from_numpy(missing[first] | missing[second]), 180.0)
    return area_under_curve(worst[baseline > MIN_BASELINE * float(np.median(true_depth[true_depth > 0]))], 30)


def abs_rel(depth: np.ndarray, true_depth: np.ndarray) -> float:
    found, true = torch.from_numpy(depth), torch.from_numpy(true_depth)
    return depth_metrics(found, true, (true > 0) & torch.isfinite(found), align="median_scale").abs_rel


def by_pycolmap(sample: Sample) -> np.ndarray:
    """(S, 4, 4), NaN where a frame is not placed."""
    models = classical.reconstruct(sample.recording, 1)
    poses = np.full((len(sample.recording), 4, 4), np.nan)
    for index, pose in (models[0].world_from_cam if models else {}).items():
        poses[index] = pose
    return poses


def measured(
    samples: Iterator[Sample],
    predictor: DvltPredictor,
    args: argparse.Namespace,
    is_stream: bool = False,
    with_classical: bool = False,
) -> list[Row]:
    rows, refiner, rng = [], WindowRefiner(), np.random.default_rng(0)
    for window in samples:
        answer, true_depth = predicted(predictor, window)
        if args.nearly_right:
            answer = nearly_right(answer, true_depth, window, rng)
        if not is_stream:
            refiner.reset()
        frames = [
            WindowFrame(*parts)
            for parts in zip(window.numbers, window.recording.images, window.intrinsics, strict=True)
        ]
        start_s = time.process_time()
        refined = refiner.refine(frames, answer, matching_ms=args.extra_ms)
        spent_ms = 1e3 * (time.process_time() - start_s)
        rows.append(row(window, answer, refined, true_depth, spent_ms, with_classical))
        print(line(rows[-1]), flush=True)
    return rows


def row(
    window: Sample, answer: NetworkAnswer, refined: Refined, true_depth: np.ndarray, spent_ms: float, classic: bool
) -> Row:
    report = refined.report
    return Row(
        window.name,
        (auc(answer.window_from_cam, window, true_depth), auc(refined.window_from_cam, window, true_depth)),
        (abs_rel(answer.depth, true_depth), abs_rel(refined.depth, true_depth)),
        auc(by_pycolmap(window), window, true_depth) if classic else np.nan,
        spent_ms,
        report.reason or f"{report.state} from {report.start}, {report.residual_px:.2f} px",
    )


def line(r: Row) -> str:
    return (
        f"{r.name:<20}{100 * r.auc[0]:>8.1f}{100 * r.auc[1]:>9.1f}{100 * r.classical:>10.1f}"
        f"{r.abs_rel[0]:>9.3f}{r.abs_rel[1]:>9.3f}{r.process_ms:>8.0f}  {r.outcome}"
    )


def summary(title: str, rows: Sequence[Row]) -> str:
    spent = np.array([r.process_ms for r in rows])
    columns = np.array([(*r.auc, r.classical, *r.abs_rel) for r in rows]).T
    means = [np.nanmean(column) if np.isfinite(column).any() else np.nan for column in columns]
    worse = [r.name for r in rows if r.auc[1] < r.auc[0] - NOISE]
    return (
        f"{title}: {len(rows)} windows; AUC@30 network {100 * means[0]:.1f}, refined {100 * means[1]:.1f}, "
        f"pycolmap {100 * means[2]:.1f} %; AbsRel {means[3]:.3f} to {means[4]:.3f}; process time median "
        f"{np.median(spent):.0f}, p99 {np.quantile(spent, 0.99):.0f} ms; worse than the network: {worse or 'none'}"
    )


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="posed RGB-D frames, in a layout that training reads")
    parser.add_argument("--intrinsics", type=float, nargs=4, metavar=("FX", "FY", "CX", "CY"), help="of the data")
    parser.add_argument("--rate-hz", type=float, default=7.5)
    parser.add_argument("--frames", type=int, help="so many of the data (default: all)")
    parser.add_argument("--every", type=int, default=5, help="frames between the beginnings of windows far apart")
    parser.add_argument("--frozen", type=int, default=0, help="windows of the frozen synthetic benchmark")
    parser.add_argument("--others", type=int, default=0, help="windows like those, which are not in it, to decide by")
    parser.add_argument("--classical", action="store_true", help="run pycolmap as well")
    parser.add_argument("--nearly-right", action="store_true", help="the truth, disturbed, instead of the network")
    parser.add_argument("--extra-ms", type=float, default=np.inf, help="of descriptors and of dense depth; 0: none")
    parser.add_argument("--references", type=int, default=1, metavar="M", help="reference views of each window")
    parser.add_argument("--weights", default=str(EMBEDDED_WEIGHTS))
    args = parser.parse_args(argv)
    if args.data is None and not args.frozen and not args.others:
        parser.error("nothing to refine: give --data, --frozen or --others")
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    predictor = DvltPredictor(Dvlt.from_pretrained(args.weights), "cpu")
    predictor.use_references(args.references)
    print(machine(predictor.device))
    print("window               network  refined  pycolmap  AbsRel  refined      ms")
    summaries = []
    if args.data is not None:
        recording = from_folder(args.data, args.intrinsics, args.rate_hz, args.frames)
        if len(recording) <= FAR_STRIDE * (FAR_VIEWS - 1):
            raise DataError(f"{args.data} has {len(recording)} frames, a window of frames far apart spans "
                            f"{FAR_STRIDE * (FAR_VIEWS - 1) + 1}")  # fmt: skip
        far = measured(far_windows(recording, args.every), predictor, args, with_classical=args.classical)
        stream = measured(stream_windows(recording), predictor, args, is_stream=True)
        summaries = [summary("frames far apart", far), summary("stream", stream)]
    if args.frozen:
        rows = measured(frozen_windows(args.frozen), predictor, args)
        summaries.append(summary("frozen benchmark", rows))
    if args.others:
        rows = measured(other_windows(args.others), predictor, args)
        summaries.append(summary("other windows", rows))
    print("\n".join(summaries))


if __name__ == "__main__":
    try:
        main()
    except DvltError as error:
        raise SystemExit(f"refinement: {error}") from error
