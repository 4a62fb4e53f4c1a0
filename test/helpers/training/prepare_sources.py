"""Downloads of the published benchmarks, small, and how they are prepared."""

from __future__ import annotations

from pathlib import Path

import benchmark_files as files
import numpy as np
import pytest

from dvlt_ros.training.data.readers.seven_scenes import COLOUR_FROM_DEPTH
from dvlt_ros.training.prepare.command import prepare
from dvlt_ros.training.prepare.eth3d import thin_prism_fisheye

for package in ("OpenEXR", "h5py", "trimesh", "embreex"):
    pytest.importorskip(package, reason=f"prepare needs {package}: pip install '.[benchmarks]'")


FACTOR = 3  # of the scene's 80 x 60, so that depth of the nearest raw pixel is within 1 %


FISHEYE = np.array([0.06, -0.03, 0.01, -0.004])


RELIEF, CHESS, BOSTON = "relief", "chess/seq-03", "scene-0103"


def thin_prism(scene) -> tuple[tuple[float, ...], np.ndarray]:
    """Parameters of a raw camera that sees a little more than the pinhole one, and its rays (H, W, 3), z = 1."""
    intrinsics = files.scaled(scene.intrinsics, FACTOR)
    focal = (0.85 * intrinsics[0, 0], 0.85 * intrinsics[1, 1])
    parameters = (*focal, intrinsics[0, 2] + 3, intrinsics[1, 2] - 2)
    parameters += (-0.03, 0.01, 0.0005, -0.0004, 0.002, 0.0, 0.001, -0.0008)
    v, u = np.mgrid[: FACTOR * scene.size[0], : FACTOR * scene.size[1]] + 0.5
    pixels = np.stack([u, v], axis=-1)
    rays = (pixels - parameters[2:4]) / focal
    for _ in range(60):  # the inverse of the distortion, by the secant of a camera without one
        rays = rays - 0.7 * (thin_prism_fisheye(rays, parameters) - pixels) / focal
    assert np.abs(thin_prism_fisheye(rays, parameters) - pixels).max() < 1e-6
    return parameters, np.dstack([rays, np.ones(u.shape)])


def write_eth3d(source: Path, scene, poses: np.ndarray) -> Path:
    return files.write_raw_eth3d(source, scene, poses, FACTOR, *thin_prism(scene))


def write_sevenscenes(source: Path, scene, poses: np.ndarray) -> Path:
    return files.write_seven_scenes(source / CHESS, scene, poses, projected=False, depth_from=COLOUR_FROM_DEPTH)


def write_scannetpp(source: Path, scene, poses: np.ndarray) -> Path:
    return files.write_raw_scannetpp(source, scene, poses, FACTOR, FISHEYE)


RAW = {
    "eth3d": (write_eth3d, RELIEF),
    "sevenscenes": (write_sevenscenes, CHESS),
    "scannetpp": (write_scannetpp, files.SCANNETPP_ID),
    "nuscenes": (files.write_raw_nuscenes, BOSTON),
}


def check_views(scene, sequence, poses: np.ndarray) -> None:
    """Ground truth, lifted from each view and projected into each other one, is where the scene puts it."""
    frames = [sequence.frame(index) for index in range(len(sequence))]
    assert len(frames) == len(poses)
    for i, frame in enumerate(frames):
        rows, columns = (indices[::7] for indices in np.nonzero(frame.depth > 0))
        rays = scene.pixel_rays(frame.intrinsics, frame.depth.shape)[rows, columns]
        _, true_depth = scene.render(poses[i], rays[None])
        found, true = rays * frame.depth[rows, columns, None], rays * true_depth[0][:, None]
        for j, other in enumerate(frames):
            found_from = np.linalg.inv(other.world_from_cam) @ frame.world_from_cam
            true_from = np.linalg.inv(poses[j]) @ poses[i]
            distances = np.linalg.norm(
                _project(found, found_from, other.intrinsics) - _project(true, true_from, other.intrinsics), axis=-1
            )
            assert (distances < 0.5).mean() > 0.98, (i, j, np.percentile(distances, [50, 90, 98]))


def depth_shift(scene, frame, pose: np.ndarray) -> np.ndarray:
    """By how many pixels (2,) the depth lies right of and below where the scene puts it, by its gradients."""
    rows, columns = (indices[::5] for indices in np.nonzero(frame.depth > 0))
    rays = scene.pixel_rays(frame.intrinsics, frame.depth.shape)[rows, columns]
    steps = np.diag([1 / frame.intrinsics[0, 0], 1 / frame.intrinsics[1, 1], 0.0])[:2]
    _, true = scene.render(pose, rays[None].astype(np.float64))
    gradients = [scene.render(pose, (rays + step)[None])[1][0] - true[0] for step in steps]
    difference = frame.depth[rows, columns] - true[0]
    on_a_wall = np.abs(difference) < 0.03 * true[0]  # edges bend the gradient
    return -np.linalg.lstsq(np.stack(gradients, axis=-1)[on_a_wall], difference[on_a_wall], rcond=None)[0]


def _project(points: np.ndarray, other_from_cam: np.ndarray, intrinsics: np.ndarray) -> np.ndarray:
    seen = points @ other_from_cam[:3, :3].T + other_from_cam[:3, 3]
    return (seen / seen[:, 2:] @ intrinsics.T)[:, :2]


def run(dataset: str, tmp_path: Path, scene, poses: np.ndarray, **options):
    write, name = RAW[dataset]
    if not (tmp_path / "raw").exists():
        (tmp_path / "raw").mkdir()
        write(tmp_path / "raw", scene, poses)
    outcome = prepare(dataset, tmp_path / "data", tmp_path / "raw", names=[name], **options)[name]
    return outcome, name
