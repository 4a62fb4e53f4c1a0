"""Depth, cameras and points of the bundled room, or of any photos, as pictures and a point cloud.

    make demo
    python -m dvlt_ros.demo --images a.jpg b.jpg c.jpg --weights nvidia/dvlt --output demo_output

Leaves ``page.png`` (input, depth, confidence, top view), ``points.ply`` and ``cameras.txt`` (TUM format).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch

from ..benchmark import machine
from ..errors import DvltError, InputError
from ..geometry import quaternion_from_matrix
from ..model import Dvlt, Prediction, prepare_images
from ..types import Cameras
from .page import write_page

BUNDLED_IMAGES = Path(__file__).parent / "room"
EMBEDDED_WEIGHTS = Path(__file__).parents[1] / "checkpoints" / "dvlt-nano"
LEAST_TRUSTED = 0.2  # share of pixels, by confidence, that the cloud leaves out


def read_images(paths: Sequence[Path]) -> list[np.ndarray]:
    images = []
    for path in paths:
        image = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if image is None:
            raise InputError(f"{path}: not a readable image")
        images.append(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
    return images


def write_ply(path: Path, points: np.ndarray, colors: np.ndarray) -> None:
    """Points (N, 3) float32 and colours (N, 3) uint8 as a binary PLY."""
    vertices = np.empty(len(points), dtype=[("xyz", "<f4", 3), ("rgb", "u1", 3)])
    vertices["xyz"], vertices["rgb"] = points, colors
    properties = [f"property float {axis}" for axis in "xyz"]
    properties += [f"property uchar {color}" for color in ("red", "green", "blue")]
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {len(points)}", *properties, "end_header\n"]
    path.write_bytes("\n".join(header).encode() + vertices.tobytes())


def write_trajectory(path: Path, cameras: Cameras) -> None:
    """One row per view in TUM format, the view's number as its time; unscaled, world = first camera."""
    poses = cameras.world_from_cam
    quaternions = quaternion_from_matrix(poses[:, :3, :3])
    rows = torch.cat([torch.arange(len(poses))[:, None], poses[:, :3, 3], quaternions], dim=-1)
    np.savetxt(path, rows.numpy(), fmt="%.6f", header="view tx ty tz qx qy qz qw")


def trusted(prediction: Prediction) -> torch.Tensor:
    """Pixels (S, H, W) worth showing: all but the least confident of a window."""
    confidence = prediction.depth_confidence[0]
    return confidence >= torch.quantile(confidence.flatten(), LEAST_TRUSTED)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Depth, cameras and points of a few photos.")
    parser.add_argument("--images", type=Path, nargs="+", help="photos of one scene; the bundled room by default")
    parser.add_argument("--weights", default=str(EMBEDDED_WEIGHTS), help="checkpoint; the embedded one by default")
    parser.add_argument("--steps", type=int, help="K; the checkpoint's own by default")
    parser.add_argument("--output", type=Path, default=Path("demo_output"))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    try:
        run(parser.parse_args(argv))
    except DvltError as error:
        raise SystemExit(f"demo: {error}") from error


def run(args: argparse.Namespace) -> None:
    device = torch.device(args.device)
    images = read_images(args.images or sorted(BUNDLED_IMAGES.glob("*.jpg")))
    model = Dvlt.from_pretrained(args.weights).to(device)
    steps = args.steps or model.config.num_steps
    start = time.perf_counter()
    views = prepare_images(images, model.config.image_size, device=device)
    with torch.inference_mode():
        prediction = model(views.images, num_steps=steps)
        cameras = prediction.cameras()[0].to("cpu")
        keep = trusted(prediction) & views.valid[0]
        points, colors = prediction.points[0][keep].cpu(), views.images[0].movedim(1, -1)[keep].cpu()
    seconds = time.perf_counter() - start

    args.output.mkdir(parents=True, exist_ok=True)
    write_ply(args.output / "points.ply", points.numpy(), (255 * colors).round().byte().numpy())
    write_trajectory(args.output / "cameras.txt", cameras)
    write_page(args.output / "page.png", views.images[0].cpu(), prediction, points, colors, cameras)
    embedded = Path(args.weights) == EMBEDDED_WEIGHTS
    warning = (
        "dvlt-nano was trained briefly on a CPU: a rough layout, hardly any motion; see its README\n"
        if embedded
        else ""
    )
    focal = cameras.intrinsics[:, 0, 0] / views.mappings[0].scale[0]
    print(
        f"{machine(device)}\n"
        f"{len(images)} views of {views.images.shape[-1]}x{views.images.shape[-2]}, K = {steps}: "
        f"{seconds:.2f} s, cameras included\n"
        f"{len(points)} points; focal length {focal.median():.0f} pixels of the first photo's own\n"
        f"{warning}unscaled: lengths are up to one factor; see {args.output}/page.png, points.ply, cameras.txt"
    )


if __name__ == "__main__":
    main()
