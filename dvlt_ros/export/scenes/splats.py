"""3D Gaussian splats of depth images, one per pixel, without training.

A splat lies on the surface: its two long axes span the pixel's footprint there, the third one is the normal. Written
as the PLY of 3D Gaussian Splatting (Kerbl et al. 2023) with colours as spherical harmonics of degree 0.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from ...errors import InputError
from ...geometry import pixel_axes, quaternion_from_matrix
from ..atomic import write_atomically
from .scene import Sight

MOST_SPLATS = 1_000_000  # of a scene, 68 bytes each
SPREAD = 0.6  # standard deviation of a splat over the distance to the next one: neighbours close the surface
THICKNESS = 0.1  # along the normal, of the shorter of the two other axes
STEEPEST = 6.0  # depth per footprint from pixel to pixel; beyond it another surface begins (80 degrees)
OPACITY = 0.95
SH_0 = 0.28209479177387814  # the spherical harmonic of degree 0
GROWTH = 1.25  # of the voxels' edge until there are few enough splats
COLUMNS = (
    *("x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2", "opacity"),
    *("scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"),
)
AXIS_BITS = 21  # three axes in an int64


@dataclass(frozen=True, eq=False)
class Splats:
    centers: np.ndarray  # (N, 3) float32, world
    colors: np.ndarray  # (N, 3) uint8 RGB
    deviations: np.ndarray  # (N, 3) float32, standard deviations along the splat's own axes, world's unit
    rotations: np.ndarray  # (N, 4) float32, unit quaternions w x y z, world from splat
    opacities: np.ndarray  # (N,) float32, between 0 and 1

    def __len__(self) -> int:
        return len(self.centers)

    def __getitem__(self, kept: np.ndarray) -> Splats:
        return Splats(
            self.centers[kept], self.colors[kept], self.deviations[kept], self.rotations[kept], self.opacities[kept]
        )

    def joined(self, other: Splats) -> Splats:
        return Splats(
            np.concatenate([self.centers, other.centers]),
            np.concatenate([self.colors, other.colors]),
            np.concatenate([self.deviations, other.deviations]),
            np.concatenate([self.rotations, other.rotations]),
            np.concatenate([self.opacities, other.opacities]),
        )


def no_splats() -> Splats:
    empty = np.empty((0, 3), np.float32)
    return Splats(empty, np.empty((0, 3), np.uint8), empty, np.empty((0, 4), np.float32), empty[:, 0])


def splats_of(sight: Sight, world_from_cam: np.ndarray) -> Splats:
    """One splat for every pixel with depth."""
    points, footprint = _points_and_footprints(sight)
    usable = np.isfinite(sight.depth) & (sight.depth > 0)
    across, down = (_steps(points, footprint, axis)[usable] for axis in (1, 0))
    normals = _unit(np.cross(across, down))
    first = _unit(across)
    second = np.cross(normals, first)
    width, height = np.linalg.norm(across, axis=-1), np.abs(np.einsum("ij,ij->i", down, second))
    sides = SPREAD * np.stack([width, height], axis=1)
    deviations = np.concatenate([sides, THICKNESS * sides.min(axis=1, keepdims=True)], axis=1)
    world_from_splat = world_from_cam[:3, :3] @ np.stack([first, second, normals], axis=-1)
    rotations = quaternion_from_matrix(torch.from_numpy(world_from_splat)).numpy()[:, [3, 0, 1, 2]]
    centers = points[usable] @ world_from_cam[:3, :3].T + world_from_cam[:3, 3]
    return Splats(
        centers.astype(np.float32), sight.colors[usable],
        deviations.astype(np.float32), rotations.astype(np.float32), np.full(len(centers), OPACITY, np.float32),
    )  # fmt: skip


class SplatMap:
    """At most so many splats: one in each voxel, that of the finest footprint. The voxels grow where it must be."""

    def __init__(self, voxel_size: float, most: int = MOST_SPLATS) -> None:
        """``voxel_size``: at first, world's unit."""
        if not (0 < voxel_size < np.inf and most >= 1):
            raise InputError(f"the voxel size and number of splats must be above 0, got {voxel_size} and {most}")
        self.voxel_size, self._most = voxel_size, most
        self._kept, self._waiting = no_splats(), no_splats()

    def add(self, splats: Splats) -> None:
        self._waiting = self._waiting.joined(_thinned(splats, self.voxel_size))
        if len(self._waiting) > self._most // 2:  # sorting all for every image would take long
            self._settle()

    def splats(self) -> Splats:
        """All, large enough to close the gaps that thinning has left."""
        self._settle()
        deviations = self._kept.deviations.copy()
        deviations[:, :2] = np.maximum(deviations[:, :2], np.float32(SPREAD * self.voxel_size))
        return replace(self._kept, deviations=deviations)

    def _settle(self) -> None:
        kept = _thinned(self._kept.joined(self._waiting), self.voxel_size)
        while len(kept) > self._most:
            self.voxel_size *= GROWTH
            kept = _thinned(kept, self.voxel_size)
        self._kept, self._waiting = kept, no_splats()


def write_splats(path: Path, splats: Splats) -> None:
    """Binary PLY with the columns of 3D Gaussian Splatting: opacity as logit, scales as logarithms, normals zero.

    Raises:
        InputError: there are none, or the file cannot be written.
    """
    if not len(splats):
        raise InputError(f"{path}: no trusted depth, so no splats")
    values = np.zeros((len(splats), len(COLUMNS)), "<f4")
    values[:, 0:3] = splats.centers
    values[:, 6:9] = (splats.colors / 255.0 - 0.5) / SH_0
    values[:, 9] = np.log(splats.opacities / (1 - splats.opacities))
    values[:, 10:13] = np.log(splats.deviations)
    values[:, 13:17] = splats.rotations
    head = ["ply", "format binary_little_endian 1.0", f"element vertex {len(splats)}"]
    head += [f"property float {name}" for name in COLUMNS]
    write_atomically(path, "\n".join([*head, "end_header\n"]).encode() + values.tobytes())


def _points_and_footprints(sight: Sight) -> tuple[np.ndarray, np.ndarray]:
    """Points (h, w, 3) of the camera's frame, and width and height (h, w, 2) of a pixel at their depth."""
    (fx, _, cx), (_, fy, cy) = sight.intrinsics[:2]
    u, v = pixel_axes(sight.depth.shape)
    depth = sight.depth.astype(np.float64)
    points = np.stack([(u - cx) / fx * depth, (v - cy)[:, None] / fy * depth, depth], axis=-1)
    return points, np.stack([depth / fx, depth / fy], axis=-1)


def _steps(points: np.ndarray, footprint: np.ndarray, axis: int) -> np.ndarray:
    """(h, w, 3): from a pixel's point to the next one's, along rows (1) or columns (0).

    The mean of the steps to both neighbours on the same surface, or one of them; without any, as if the surface
    faced the camera.
    """
    ahead = np.full_like(points, np.nan)
    inner = [slice(None), slice(None)]
    inner[axis] = slice(None, -1)
    ahead[tuple(inner)] = np.diff(points, axis=axis)
    width = footprint[..., 1 - axis]
    with np.errstate(invalid="ignore"):
        ahead[~(np.abs(ahead[..., 2]) <= STEEPEST * width)] = np.nan
    behind = np.roll(ahead, 1, axis=axis)  # what comes round from the other end is NaN
    mean = (ahead + behind) / 2
    facing = np.zeros_like(points)
    facing[..., 1 - axis] = width
    steps = facing
    for candidate in (behind, ahead, mean):
        steps = np.where(np.isnan(candidate), steps, candidate)
    return steps


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def _thinned(splats: Splats, voxel_size: float) -> Splats:
    """One in each voxel, the one of the finest footprint; those a million voxels from the origin are left out."""
    cells = np.floor(splats.centers.astype(np.float64) / voxel_size)
    half = 1 << (AXIS_BITS - 1)
    near = np.flatnonzero((np.abs(cells) < half).all(axis=1))
    cells = cells[near].astype(np.int64) + half
    keys = (cells[:, 0] << 2 * AXIS_BITS) | (cells[:, 1] << AXIS_BITS) | cells[:, 2]
    area = splats.deviations[near, 0] * splats.deviations[near, 1]
    order = np.lexsort((area, keys))
    firsts = order[np.flatnonzero(np.diff(keys[order], prepend=-1))]
    return splats[near[firsts]]
