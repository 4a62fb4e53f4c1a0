"""Cameras from noisy ray maps: `fit_cameras` beside a RANSAC homography per view.

    python benchmarks/camera_recovery.py --views 16 --size 168x126

Both get the same pixels of random cameras' rays, with 1 % noise and 15 % outliers. RANSAC runs 100 rounds of four-point
homographies per view, then a fit on the inliers. On a CPU both run on one thread and processor time is counted, so that
neither the number of cores nor other load matters.
"""

from __future__ import annotations

import os

# NumPy's linear algebra reads these while it loads.
os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))

import argparse
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from dvlt_ros.benchmark import machine, parse_count, parse_device, parse_size
from dvlt_ros.cameras import Cameras, fit_cameras, rays_from_cameras
from dvlt_ros.geometry import matrix_from_quaternion, pixel_centers, pose_matrix, rotation_angle

STRIDE = 3
RANSAC_ROUNDS = 100
INLIER_RADIANS = np.radians(2.0)


def random_views(views: int, height: int, width: int, seed: int) -> tuple[Cameras, torch.Tensor, torch.Tensor]:
    """Cameras and their rays with 1 % noise on every pixel and 15 % of the directions wrong."""
    generator = torch.Generator().manual_seed(seed)
    rotation = matrix_from_quaternion(torch.randn(views, 4, generator=generator))
    focal = width * (0.6 + 0.8 * torch.rand(views, generator=generator))
    intrinsics = torch.eye(3).repeat(views, 1, 1)
    intrinsics[:, 0, 0], intrinsics[:, 1, 1] = focal, 1.02 * focal
    intrinsics[:, :2, 2] = torch.tensor([width / 2.0, height / 2.0])
    cameras = Cameras(pose_matrix(rotation, torch.randn(views, 3, generator=generator)), intrinsics)
    directions, origins = rays_from_cameras(cameras, height, width)
    directions = directions + 0.01 * torch.randn(directions.shape, generator=generator)
    wrong = torch.rand(directions.shape[:-1], generator=generator) < 0.15
    directions[wrong] = torch.randn(directions.shape, generator=generator)[wrong]
    origins = origins + 0.01 * torch.randn(origins.shape, generator=generator)
    return cameras, directions, origins


def homography(pixels: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Direct linear transform of ``direction ~ H pixel``; rows are correspondences."""
    (x, y, z), zero = directions.T[..., None], np.zeros_like(pixels)
    equations = np.concatenate([np.hstack([zero, -z * pixels, y * pixels]), np.hstack([z * pixels, zero, -x * pixels])])
    matrix = np.linalg.svd(equations, full_matrices=False)[2][-1].reshape(3, 3)
    return matrix if np.median(((pixels @ matrix.T) * directions).sum(-1)) > 0 else -matrix


def angles(matrix: np.ndarray, pixels: np.ndarray, directions: np.ndarray) -> np.ndarray:
    predicted = pixels @ matrix.T
    cosine = (predicted * directions).sum(-1) / np.linalg.norm(predicted, axis=-1)
    return np.arccos(np.clip(cosine, -1, 1))


def ransac_rotation(directions: np.ndarray, height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """Rotation of one view from its directions (H, W, 3)."""
    grid = pixel_centers(height, width, like=torch.zeros(1)).numpy()
    grid = (grid - [width / 2, height / 2]) / (max(height, width) / 2)
    chosen = (slice(1, None, STRIDE), slice(1, None, STRIDE))
    pixels = np.concatenate([grid, np.ones_like(grid[..., :1])], axis=-1)[chosen].reshape(-1, 3)
    rays = directions[chosen].reshape(-1, 3)
    rays = rays / np.linalg.norm(rays, axis=-1, keepdims=True)
    best = np.zeros(len(rays), dtype=bool)
    for _ in range(RANSAC_ROUNDS):
        sample = rng.choice(len(rays), 4, replace=False)
        inliers = angles(homography(pixels[sample], rays[sample]), pixels, rays) < INLIER_RADIANS
        best = inliers if inliers.sum() > best.sum() else best
    q, r = np.linalg.qr(homography(pixels[best], rays[best]))
    rotation = q * np.sign(np.diag(r))
    return rotation * np.sign(np.linalg.det(rotation))


def degrees(rotation: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    return torch.rad2deg(rotation_angle(rotation.double().mT @ truth.double()))


def compare_speed(views: int, width: int, height: int, repeats: int, device: torch.device) -> None:
    cameras, directions, origins = random_views(views, height, width, seed=0)
    truth = cameras.world_from_cam[:, :3, :3]
    on_device = directions.to(device), origins.to(device)
    fit_cameras(*on_device, stride=STRIDE)
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    times = []
    for _ in range(repeats):
        start = clock()
        fitted = fit_cameras(*on_device, stride=STRIDE).to("cpu")
        times.append(clock() - start)
    rows = {"fit_cameras": (statistics.median(times), degrees(fitted.world_from_cam[:, :3, :3], truth))}

    rng = np.random.default_rng(0)
    start = clock()
    found = np.stack([ransac_rotation(view, height, width, rng) for view in directions.numpy()])
    rows["RANSAC"] = (clock() - start, degrees(torch.from_numpy(found), truth))

    print(f"{machine(device)}; {views} views of {width}x{height}, every {STRIDE}rd row and column")
    print(f"{'method':>12}  {'ms':>8}  {'median deg':>10}  {'worst deg':>9}")
    for name, (seconds, error) in rows.items():
        print(f"{name:>12}  {1e3 * seconds:8.1f}  {error.median():10.3f}  {error.max():9.3f}")
    print(f"fit_cameras is {rows['RANSAC'][0] / rows['fit_cameras'][0]:.0f} times faster")


def compare_accuracy(path: Path) -> None:
    """Cameras of `fit_cameras` and of the published method on a file of reference rays."""
    reference = np.load(path)
    truth = torch.from_numpy(reference["extrinsics_c2w_gt"])[..., :3, :3]
    print(f"{'rays':>12}  {'method':>12}  {'median deg':>10}  {'worst deg':>9}")
    for kind in ("clean", "noisy"):
        rays = torch.from_numpy(reference[f"{kind}/rays"])
        rotations = {
            "fit_cameras": fit_cameras(rays[..., :3], rays[..., 3:]).world_from_cam[..., :3, :3],
            "published": torch.from_numpy(reference[f"{kind}/extrinsics_c2w"])[..., :3, :3],
        }
        for name, rotation in rotations.items():
            error = degrees(rotation, truth)
            print(f"{kind:>12}  {name:>12}  {error.median():10.3f}  {error.max():9.3f}")


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--views", type=parse_count, default=16)
    parser.add_argument("--size", type=parse_size, default=(168, 126), help="WIDTHxHEIGHT in pixels")
    parser.add_argument("--repeats", type=parse_count, default=5)
    parser.add_argument("--device", type=parse_device, default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--reference", type=Path, help="rays.npz with the cameras of the published method")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    width, height = args.size
    compare_speed(args.views, width, height, args.repeats, args.device)
    if args.reference is not None:
        compare_accuracy(args.reference)


if __name__ == "__main__":
    main()
