"""The kitchen of 7-Scenes as its colour camera saw it: by the calibration that all use who project this set's depth.

    python benchmarks/registered_kitchen.py rgbd_kitchen registered_kitchen

The set's raw depth and its poses are the infrared camera's (585 pixels of focal length, where the colour camera has
525), 2.6 cm beside it. OUTPUT links to the same images; with its matrices depth is registered while it is read. Where
depth jumps, an image that lies right has an edge: how strong those are, as a multiple of the usual gradient, is printed
for depth as it is and registered.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch

from dvlt_ros.errors import DataError, DvltError
from dvlt_ros.geometry import quaternion_from_matrix
from dvlt_ros.training.data.readers import numbered, seven_scenes
from dvlt_ros.training.data.sequence import RgbdSequence

JUMP = 0.06  # of the inverse depth (1/m) from pixel to pixel
EVERY = 3  # frames between those that are looked at


def register(source: Path, output: Path) -> None:
    """Raises DataError: no such recording, or the output is there."""
    if not numbered.is_root(source):
        raise DataError(f"{source}: no {numbered.LOOKED_FOR}")
    if output.exists():
        raise DataError(f"{output} exists: choose another name")
    raw = numbered.read(source, camera(seven_scenes.FOCAL_PX["depth.png"]))
    world_from_colour = raw.world_from_cam @ np.linalg.inv(seven_scenes.COLOUR_FROM_DEPTH)
    output.mkdir(parents=True)
    for name in ("color", "depth"):
        (output / name).symlink_to((source / name).resolve(), target_is_directory=True)
    times = np.loadtxt(source / numbered.POSES)[:, :1]
    turns = quaternion_from_matrix(torch.from_numpy(world_from_colour[:, :3, :3])).numpy()
    np.savetxt(output / numbered.POSES, np.hstack([times, world_from_colour[:, :3, 3], turns]), fmt="%.9f")
    files = {numbered.COLOUR_INTRINSICS: "depth.proj.png", numbered.DEPTH_INTRINSICS: "depth.png"}
    for name, kind in files.items():
        fx, fy, cx, cy = camera(seven_scenes.FOCAL_PX[kind])
        np.savetxt(output / name, np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]]))
    np.savetxt(output / numbered.COLOUR_FROM_DEPTH, seven_scenes.COLOUR_FROM_DEPTH, fmt="%.16e")


def camera(focal_px: float) -> tuple[float, float, float, float]:
    height, width = seven_scenes.BENCHMARK_SIZE
    return focal_px, focal_px, width / 2, height / 2


def edge_strength(sequence: RgbdSequence) -> float:
    """Mean gradient of the images where depth jumps, over their mean gradient."""
    found = []
    for index in range(0, len(sequence), EVERY):
        frame = sequence.frame(index)
        gray = cv2.GaussianBlur(cv2.cvtColor(frame.image, cv2.COLOR_RGB2GRAY).astype(np.float32), (0, 0), 1.5)
        gradient = np.hypot(cv2.Sobel(gray, cv2.CV_32F, 1, 0), cv2.Sobel(gray, cv2.CV_32F, 0, 1))
        near = np.where(frame.depth > 0, 1 / np.where(frame.depth > 0, frame.depth, 1), np.nan)
        jumps = np.zeros(near.shape, dtype=bool)
        jumps[:, 1:] |= np.abs(np.diff(near, axis=1)) > JUMP
        jumps[1:] |= np.abs(np.diff(near, axis=0)) > JUMP
        found.append(gradient[jumps].mean() / gradient.mean())
    return float(np.mean(found))


def main(argv: Sequence[str] | None = None) -> dict[str, float]:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="folder with color/, depth/ and camera_poses_tum.txt")
    parser.add_argument("output", type=Path)
    args = parser.parse_args(argv)
    register(args.source, args.output)
    raw = numbered.read(args.source, camera(seven_scenes.FOCAL_PX["depth.png"]))
    found = {"as it is": edge_strength(raw), "registered": edge_strength(numbered.read(args.output))}
    for name, strength in found.items():
        print(f"{name:<12}{strength:.2f} times the usual gradient where depth jumps")
    return found


if __name__ == "__main__":
    try:
        main()
    except DvltError as error:
        raise SystemExit(f"registered_kitchen: {error}") from error
