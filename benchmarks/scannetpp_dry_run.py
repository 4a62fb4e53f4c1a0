"""ScanNet++'s evaluation without ScanNet++: generated scenes in its published layout, and the command that judges them.

    python benchmarks/scannetpp_dry_run.py                       # two scenes of eight views, a minute
    python benchmarks/scannetpp_dry_run.py --scenes 4 --views 20 --model dvlt --weights outputs/mine/best

With the data itself the same table is one command, `dvlt_evaluate_benchmarks --data-root DATA --datasets scannetpp`,
after `dvlt_prepare` has undistorted it (docs/how-to/benchmarks.md). Figures of generated scenes compare with nothing
published; that every file is read, and comes out as a row of the table, is what this shows.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import cv2
import numpy as np

from dvlt_ros.training.benchmarking.command import main as evaluate
from dvlt_ros.training.data.readers.scannetpp import BENCHMARK_SPLIT, UNDISTORTED, WORLD_FROM_FILE
from dvlt_ros.training.data.types import Views
from dvlt_ros.training.synthetic import BENCHMARK_SEED, SyntheticConfig, sample_windows

SEED = BENCHMARK_SEED - 2**18  # neither trained on nor judged by elsewhere
SIZE = (168, 252)  # height and width, pixels
OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])  # its cameras look along -z, y up


def write_scene(folder: Path, views: Views) -> None:
    """One window (1, S, ...) as an undistorted scene: JPEG, depth as the bits of float16 in PNG, and its list."""
    for name in ("undistorted_images", "undistorted_depth", "nerfstudio"):
        (folder / name).mkdir(parents=True)
    frames = []
    depths = np.where(views.valid[0], views.depth[0], 0).astype(np.float16)
    for i, (image, depth, pose) in enumerate(zip(views.images[0], depths, views.world_from_cam[0], strict=True)):
        stem = f"DSC{i:05d}"
        pixels = (image.permute(1, 2, 0).numpy()[..., ::-1] * 255).round().clip(0, 255).astype(np.uint8)
        cv2.imwrite(str(folder / "undistorted_images" / f"{stem}.JPG"), pixels)
        cv2.imwrite(str(folder / "undistorted_depth" / f"{stem}.png"), depth.view(np.uint16))
        matrix = np.linalg.inv(WORLD_FROM_FILE) @ pose.double().numpy() @ OPENGL
        frames.append({"file_path": f"{stem}.JPG", "transform_matrix": matrix.tolist()})
    (fx, _, cx), (_, fy, cy) = views.intrinsics[0, 0, :2].tolist()
    height, width = views.depth.shape[-2:]
    camera = {"camera_model": "PINHOLE", "fl_x": fx, "fl_y": fy, "cx": cx, "cy": cy, "w": width, "h": height}
    listing = camera | {"frames": frames[1:], "test_frames": frames[:1]}
    (folder / "nerfstudio" / "transforms_undistorted.json").write_text(json.dumps(listing))


def write_set(root: Path, scenes: int, views: int) -> None:
    """``scenes`` of them under ``root``/scannetpp, with the list of the benchmark's split."""
    config = SyntheticConfig(views=views, height=SIZE[0], width=SIZE[1], augment=None)
    names = [f"{i:010x}" for i in range(scenes)]
    for i, name in enumerate(names):
        write_scene(root / "scannetpp" / UNDISTORTED / name, sample_windows([SEED + i], config))
    (root / "scannetpp" / f"{BENCHMARK_SPLIT}.txt").write_text("\n".join(names) + "\n")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scenes", type=int, default=2)
    parser.add_argument("--views", type=int, default=8)
    parser.add_argument("--output", type=Path, default=Path("evaluation"))
    args, others = parser.parse_known_args(argv)
    with tempfile.TemporaryDirectory(prefix="scannetpp-") as root:
        write_set(Path(root), args.scenes, args.views)
        evaluate(["--data-root", root, "--datasets", "scannetpp", "--output", str(args.output), *others])


if __name__ == "__main__":
    main()
