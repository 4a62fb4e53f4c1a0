"""Rooms by another renderer than training's: boxes by exact ray casting, painted with noise, stripes and grids."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch

from dvlt_ros.training.data.types import Views

SIZE = (126, 168)  # height, width of the images, pixels
TEXELS_PER_M = 60.0
TEXTURE_SIZE = 512
STEP_M = 0.12  # of the camera between two views


@dataclass(frozen=True)
class BoxRoom:
    """A room and the boxes in it: lower and upper corners (N, 2, 3) in metres, y down; the first is the room."""

    boxes: np.ndarray
    textures: tuple[np.ndarray, ...]  # (T, T, 3) in [0, 1]
    light: np.ndarray  # (3,) unit vector

    @classmethod
    def draw(cls, rng: np.random.Generator) -> BoxRoom:
        width, height, length = rng.uniform([3, 2.3, 4], [7, 3, 9])
        lower, upper = np.array([-width / 2, 1.2 - height, -1.0]), np.array([width / 2, 1.2, length - 1.0])
        boxes = [np.stack([lower, upper])]
        for _ in range(rng.integers(4, 11)):
            size = rng.uniform([0.3, 0.3, 0.3], [1.2, 1.6, 1.2])
            corner = rng.uniform(
                [lower[0], upper[1] - size[1], 1.4], [upper[0] - size[0], upper[1] - size[1], upper[2] - size[2]]
            )
            corner[1] = upper[1] - size[1]  # on the floor
            boxes.append(np.stack([corner, corner + size]))
        light = rng.normal((0, -1.5, -0.5))
        return cls(np.stack(boxes), tuple(texture(rng) for _ in range(8)), light / np.linalg.norm(light))

    def view(self, world_from_cam: np.ndarray, intrinsics: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Image (H, W, 3) in [0, 1] and depth (H, W) in metres along the optical axis."""
        rows, columns = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
        pixels = np.stack([columns, rows, np.ones(SIZE)], axis=-1)
        rays = pixels @ np.linalg.inv(intrinsics).T @ world_from_cam[:3, :3].T
        origin = world_from_cam[:3, 3]
        depth, axis, owner = np.full(SIZE, np.inf), np.zeros(SIZE, int), np.zeros(SIZE, int)
        for number, (lower, upper) in enumerate(self.boxes):
            with np.errstate(divide="ignore", invalid="ignore"):
                ends = np.stack([(lower - origin) / rays, (upper - origin) / rays])
            near, far = ends.min(axis=0), ends.max(axis=0)
            enter, leave = near.max(axis=-1), far.min(axis=-1)
            reached, face = (leave, far.argmin(axis=-1)) if number == 0 else (enter, near.argmax(axis=-1))
            hit = (reached > 0) & (enter < leave) & (reached < depth)
            depth, axis, owner = np.where(hit, reached, depth), np.where(hit, face, axis), np.where(hit, number, owner)
        return self._painted(origin + rays * depth[..., None], rays, axis, owner), depth

    def _painted(self, points: np.ndarray, rays: np.ndarray, axis: np.ndarray, owner: np.ndarray) -> np.ndarray:
        others = np.array([[2, 1], [0, 2], [0, 1]])[axis]
        places = np.take_along_axis(points, others, axis=-1) * TEXELS_PER_M
        towards = np.sign(np.take_along_axis(rays, axis[..., None], -1)[..., 0])
        shade = 0.65 - 0.35 * towards * self.light[axis]
        surface = 3 * owner + axis
        image = np.zeros((*SIZE, 3))
        for number in np.unique(surface):
            tile = self.textures[number % len(self.textures)]
            at = ((places + 131 * number) % (len(tile) - 1)).astype(np.float32)
            seen = cv2.remap(tile.astype(np.float32), at[..., 0], at[..., 1], cv2.INTER_AREA)
            image[surface == number] = seen[surface == number]
        return np.clip(image * shade[..., None], 0, 1)


def texture(rng: np.random.Generator) -> np.ndarray:
    """(T, T, 3) in [0, 1], T = `TEXTURE_SIZE`: two colours mixed by noise of several scales, stripes or a grid."""
    rows, columns = np.mgrid[:TEXTURE_SIZE, :TEXTURE_SIZE]
    kind = rng.integers(3)
    if kind == 0:
        layers = [
            cv2.resize(rng.random((size, size)), (TEXTURE_SIZE, TEXTURE_SIZE), interpolation=cv2.INTER_CUBIC)
            for size in (4, 16, 64)
        ]
        mix = np.clip(sum(weight * layer for weight, layer in zip((0.5, 0.3, 0.2), layers, strict=True)), 0, 1)
    elif kind == 1:
        mix = 0.5 + 0.5 * np.sin(2 * np.pi * (rows * rng.uniform(-1, 1) + columns) / rng.uniform(15, 60))
    else:
        period = int(rng.integers(20, 80))
        mix = ((rows % period < 3) | (columns % period < 3)).astype(float)
    colours = rng.uniform(0.15, 0.95, (2, 1, 1, 3))
    return colours[0] * mix[..., None] + colours[1] * (1 - mix[..., None])


def box_room_windows(count: int, views: int = 6, seed: int = 0) -> list[Views]:
    """Windows (1, S, ...) of rooms of their own: a camera that goes sideways and looks around a little."""
    windows = []
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        room = BoxRoom.draw(rng)
        focal = rng.uniform(0.75, 1.1) * SIZE[1]
        intrinsics = np.array([[focal, 0, SIZE[1] / 2], [0, focal, SIZE[0] / 2], [0, 0, 1]])
        yaw, start = rng.uniform(-0.3, 0.3), rng.uniform(-0.5, 0.1)
        poses = np.tile(np.eye(4), (views, 1, 1))
        for i, pose in enumerate(poses):
            pose[:3, :3] = cv2.Rodrigues(np.array([0.03 * rng.normal(), yaw - 0.06 * i, 0.02 * rng.normal()]))[0]
            pose[:3, 3] = start + STEP_M * i, 0.03 * rng.normal(), 0.04 * i
        images, depths = zip(*(room.view(pose, intrinsics) for pose in poses), strict=True)
        depth = torch.from_numpy(np.stack(depths))[None].float()
        windows.append(
            Views(
                torch.from_numpy(np.stack(images)).movedim(-1, 1)[None].float(), torch.from_numpy(poses)[None].float(),
                torch.from_numpy(np.tile(intrinsics, (views, 1, 1)))[None].float(), depth, torch.isfinite(depth),
                torch.ones(1, dtype=torch.bool),
            )
        )  # fmt: skip
    return windows
