"""The mapper with a real checkpoint on recorded and rendered frames, beside pycolmap and odometry alone.

    python benchmarks/real_trajectory.py --synthetic tabletop:3 corridor:1 --classical
    python benchmarks/real_trajectory.py --folder rgbd_kitchen --intrinsics 585 585 320 240 --rate-hz 7.5 --classical

Every frame goes through the mapper as in the node. The odometry is the true trajectory with a random walk of size
``--drift``. Errors are those of ``evaluate_trajectory``: after SE(3) where lengths are metres, else after
Sim(3). Needs `pip install '.[training,evaluation]'`, with ``--classical`` pycolmap too.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from trajectories import classical
from trajectories.report import Figures, table, write_plot
from trajectories.sequences import Recording, add_arguments, drifting, recordings

from dvlt_ros.benchmark import machine
from dvlt_ros.checkpoints import EMBEDDED_WEIGHTS
from dvlt_ros.errors import AlignmentError, DataError, DvltError
from dvlt_ros.evaluation.reading import Trajectory
from dvlt_ros.evaluation.trajectory import Alignment, Matched, evaluate, match, scale_drift
from dvlt_ros.geometry import quaternion_from_matrix
from dvlt_ros.mapping.budget.config import BudgetConfig
from dvlt_ros.mapping.config import MapperConfig
from dvlt_ros.mapping.data.frames import Reconstruction
from dvlt_ros.mapping.inference.dvlt_predictor import DvltPredictor, choose_device
from dvlt_ros.mapping.inference.refining import RefinementConfig
from dvlt_ros.mapping.keyframes.config import KeyframeConfig
from dvlt_ros.mapping.loops.config import LoopDetectorConfig, LoopMode, LoopsConfig
from dvlt_ros.mapping.mapper import Mapper
from dvlt_ros.mapping.sensors.odometry import CameraInOdom
from dvlt_ros.mapping.sensors.suite import Sensors
from dvlt_ros.mapping.submaps.config import RegistrationConfig
from dvlt_ros.model import Dvlt
from dvlt_ros.offline.frame_log import FrameLog

SECTIONS = 5  # of the path, of which the last one's scale is compared with the first one's
PARTS = 10  # of the path, whose scales are told


@dataclass(frozen=True, eq=False)
class Run:
    """Result of a system on a recording; of several maps the one with the most frames."""

    system: str
    is_metric: bool
    poses: dict[int, np.ndarray]  # map_from_cam (4, 4) by frame
    depths: list[tuple[np.ndarray, np.ndarray]]  # found (P,) and true (P,) of each frame
    maps: int
    seconds: float
    problem: str = ""  # why frames have no pose


def by_mapper(recording: Recording, predictor: DvltPredictor, config: MapperConfig, odom: np.ndarray | None) -> Run:
    """Result of the mapper; with odometry ``odom`` (N, 4, 4) in metres only frames since the scale lock count."""
    predictor.reset()
    stamps_ns = recording.stamps_ns.tolist()
    index_of = {stamp_ns: index for index, stamp_ns in enumerate(stamps_ns)}

    def look_up(stamp_ns: int, _: str) -> CameraInOdom:
        assert odom is not None
        return CameraInOdom(odom[index_of[stamp_ns]], 0)

    mapper = Mapper(config, predictor, Sensors(odometry=None if odom is None else look_up), clock_ns=lambda: 0)
    start_s = time.perf_counter()
    updates = [update for frame in recording.frames() if (update := mapper.add(frame)) is not None]
    updates += mapper.finish()
    seconds, log, found = time.perf_counter() - start_s, FrameLog(), []
    for update in updates:
        log.apply(update)
        if update.is_placed and update.window is not None:
            number = update.window.submap_id
            found += [(log.add(frame, number, is_placed=True), frame) for frame in update.frames]
    counts = Counter(moved.map_id for moved, _ in found)
    kept = {index_of[r.stamp_ns]: (m, r) for m, r in found if m.map_id == counts.most_common(1)[0][0]}
    depths = [_depths(r, m.scale * r.depth, recording.depths[index]) for index, (m, r) in kept.items()]
    poses = {index: moved.map_from_cam for index, (moved, _) in kept.items()}
    if odom is None:
        return Run("Déjà View", False, poses, depths, len(counts), seconds)
    problem = "" if poses else mapper.status.health["scale"].text
    return Run("Déjà View, odometry", True, poses, depths, len(counts), seconds, problem)


def _depths(frame: Reconstruction, depth: np.ndarray, true: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    truth = frame.mapping.map_to_network(torch.from_numpy(true)).nan_to_num(0.0).numpy()
    both = np.isfinite(depth) & (truth > 0)
    return depth[both], truth[both]


def by_odometry(recording: Recording, odom: np.ndarray) -> Run:
    return Run("odometry alone", True, dict(enumerate(odom)), [], 1, 0.0)


def by_pycolmap(recording: Recording, num_threads: int) -> Run:
    start_s = time.perf_counter()
    models = classical.reconstruct(recording, num_threads)
    seconds, depths = time.perf_counter() - start_s, []
    model = models[0] if models else classical.Model({}, {})
    for index, (columns, rows, found) in ((index, points.T) for index, points in model.points.items()):
        height, width = recording.depths[index].shape
        true = recording.depths[index][rows.astype(int).clip(0, height - 1), columns.astype(int).clip(0, width - 1)]
        depths.append((found[true > 0], true[true > 0]))
    return Run("pycolmap", False, model.world_from_cam, depths, len(models), seconds)


def measured(recording: Recording, run: Run, rpe_length_m: float) -> tuple[Figures, Matched | None]:
    alignment: Alignment = "se3" if run.is_metric else "sim3"
    frames = sorted(run.poses)
    figures = Figures(
        recording.name, run.system, alignment, len(frames), len(recording), run.maps,
        abs_rel=depth_error(run), depth_scale=depth_scale(run, 1.0) if run.is_metric else None, seconds=run.seconds,
    )  # fmt: skip
    try:
        matched = match(
            trajectory(run.system, recording, frames, [run.poses[i] for i in frames]),
            trajectory(recording.name, recording, range(len(recording)), list(recording.world_from_cam)), 1e-3,
        )  # fmt: skip
    except (DataError, AlignmentError) as error:
        return replace(figures, problem=run.problem or str(error)), None
    found = evaluate(matched, [rpe_length_m], SECTIONS)
    (rpe,) = found.rpe
    parts = scale_drift(matched, PARTS)
    return replace(
        figures,
        path_m=found.path_m,
        ate_m=found.ate_m[alignment].rmse,
        ate_percent=found.ate_percent[alignment].rmse,
        rpe_percent=None if rpe.translation_percent is None else rpe.translation_percent[alignment],
        rpe_deg_per_m=rpe.rotation_deg_per_m,
        scale=found.scale.overall if run.is_metric else None,
        depth_scale=figures.depth_scale if run.is_metric else depth_scale(run, found.scale.overall),
        scale_drift_percent=found.scale.drift_percent,
        scale_parts=tuple(part.scale / parts.overall for part in parts.sections if part.scale is not None),
    ), matched


def standing_still(recording: Recording) -> Figures:
    """Error of an estimate without motion, for comparison."""
    positions = recording.world_from_cam[:, :3, 3]
    path_m = float(np.linalg.norm(np.diff(positions, axis=0), axis=1).sum())
    ate_m = float(np.sqrt(np.square(positions - positions.mean(axis=0)).sum(axis=1).mean()))
    count = len(recording)
    return Figures(
        recording.name, "(standing still)", "sim3", count, count, 1, path_m, ate_m, 100 * ate_m / path_m, seconds=0.0
    )


def trajectory(name: str, recording: Recording, frames: Sequence[int], poses: Sequence[np.ndarray]) -> Trajectory:
    """Raises DataError: it has no poses."""
    if not len(poses):
        raise DataError(f"{name}: no frame of {recording.name} has a pose")
    stacked = torch.from_numpy(np.stack(poses))
    quaternions = quaternion_from_matrix(stacked[:, :3, :3]).numpy()
    return Trajectory(name, recording.stamps_ns[list(frames)] * 1e-9, stacked[:, :3, 3].numpy(), quaternions)


def depth_scale(run: Run, unit: float) -> float | None:
    """Median of found / true over all frames' depths, divided by ``unit``, found lengths per metre; None: no depths."""
    if not any(len(true) for _, true in run.depths):
        return None
    return float(np.median(np.concatenate([found / true for found, true in run.depths]))) / unit


def depth_error(run: Run) -> float | None:
    """Mean |found - true| / true over all frames' pixels; unscaled depths are multiplied by one factor first."""
    if not any(len(true) for _, true in run.depths):
        return None
    found, true = (np.concatenate(part) for part in zip(*run.depths, strict=True))
    factor = 1.0 if run.is_metric else float(np.median(true / found))
    return float(np.mean(np.abs(factor * found - true) / true))


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_arguments(parser, frames=60, size=(240, 320), rate_hz=10.0)
    parser.add_argument("--drift", type=float, nargs="+", default=[0.0, 0.02], help="of odometry, rad and m per root m")
    parser.add_argument("--drift-seed", type=int, default=0)
    parser.add_argument("--rpe-length", type=float, default=0.5, help="metres (default: 0.5)")
    parser.add_argument("--weights", default=str(EMBEDDED_WEIGHTS))
    parser.add_argument("--device", default="auto")
    parser.add_argument("--refinement", choices=("off", "tracks", "auto"), default="auto", help="default: auto")
    parser.add_argument("--loops", choices=get_args(LoopMode), default="auto", help="never: no keyframes are adjusted")
    parser.add_argument("--k-max", type=int, default=0, help="steps of the network's loop (default: the checkpoint's)")
    parser.add_argument("--max-registration-residual", type=float, default=RegistrationConfig().max_residual)
    parser.add_argument("--classical", action="store_true", help="run pycolmap as well")
    parser.add_argument("--threads", type=int, default=2, help="of pycolmap and of PyTorch (default: 2)")
    parser.add_argument("--output", type=Path, help="folder for trajectories.json and trajectories.png")
    return parser.parse_args(argv)


def runs(recording: Recording, args: argparse.Namespace, predictor: DvltPredictor) -> list[Run]:
    # Every frame counts: none is passed over for showing little new.
    registration = RegistrationConfig(max_residual=args.max_registration_residual)
    loops = LoopsConfig(LoopDetectorConfig(mode=args.loops))
    config = MapperConfig(keyframes=KeyframeConfig(min_change=0.0), registration=registration, loops=loops)
    config = replace(config, refinement=RefinementConfig(mode=args.refinement), budget=BudgetConfig(k_max=args.k_max))
    found = [by_mapper(recording, predictor, config, None)]
    for drift in args.drift:
        odom = drifting(recording.world_from_cam, drift, args.drift_seed)
        for run in (by_mapper(recording, predictor, config, odom), by_odometry(recording, odom)):
            found.append(replace(run, system=f"{run.system} ({100 * drift:g} %)"))
    return [*found, by_pycolmap(recording, args.threads)] if args.classical else found


def main(argv: Sequence[str] | None = None) -> list[Figures]:
    args = parse(argv)
    if args.classical:
        classical.load()
    torch.set_num_threads(args.threads)
    named = recordings(args)
    predictor = DvltPredictor(Dvlt.from_pretrained(args.weights), choose_device(args.device))
    print(machine(predictor.device))
    results: list[tuple[Figures, Matched | None]] = []
    for recording in named:
        results += [measured(recording, run, args.rpe_length) for run in runs(recording, args, predictor)]
        results.append((standing_still(recording), None))
    figures = [found for found, _ in results]
    print(table(figures))
    if args.output is not None:
        args.output.mkdir(parents=True, exist_ok=True)
        content = {"machine": machine(predictor.device), "results": [asdict(found) for found in figures]}
        (args.output / "trajectories.json").write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
        write_plot(args.output / "trajectories.png", results)
    return figures


if __name__ == "__main__":
    try:
        main()
    except DvltError as error:
        raise SystemExit(f"real_trajectory: {error}") from error
