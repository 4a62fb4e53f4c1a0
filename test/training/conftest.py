"""A scene with known answers: the inside of a box, seen by any camera, without a renderer to trust."""

from __future__ import annotations

import numpy as np
import pytest

HALF = np.array([3.0, 2.5, 1.6])  # of the box, metres; convex, so that nothing is ever occluded
WAVES = np.array([[5.0, 3.0, -2.0], [-3.0, 6.0, 2.0], [2.0, -4.0, 6.0]])  # texture, radians per metre
HEIGHT, WIDTH = 60, 80
INTRINSICS = np.array([[70.0, 0.0, 41.3], [0.0, 72.0, 28.9], [0.0, 0.0, 1.0]])  # pixel (0, 0) at (0.5, 0.5)


class BoxScene:
    """Images and depth of the box; poses are world_from_cam with OpenCV axes."""

    half, intrinsics, size = HALF, INTRINSICS, (HEIGHT, WIDTH)

    @staticmethod
    def poses(count: int = 4) -> np.ndarray:
        """A path with pitch, yaw and strong roll, (count, 4, 4)."""
        return np.stack(
            [_pose(0.25 * i, 0.3 * np.sin(i), 0.1 * i, 0.2 * i, 0.1 - 0.1 * i, 0.7 * i) for i in range(count)]
        )

    @staticmethod
    def pixel_rays(intrinsics: np.ndarray = INTRINSICS, size: tuple[int, int] = (HEIGHT, WIDTH)) -> np.ndarray:
        """Camera-frame rays (H, W, 3) through the pixel centres, z = 1."""
        v, u = np.mgrid[: size[0], : size[1]] + 0.5
        pixels = np.stack([u, v, np.ones_like(u)], axis=-1)
        return pixels @ np.linalg.inv(intrinsics).T

    def render(self, world_from_cam: np.ndarray, rays: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Image (H, W, 3) uint8 and z-depth (H, W) float32 in metres along rays (H, W, 3) with z = 1."""
        rays = self.pixel_rays() if rays is None else rays
        directions = rays @ world_from_cam[:3, :3].T
        origin = world_from_cam[:3, 3]
        with np.errstate(divide="ignore"):
            depth = ((np.sign(directions) * HALF - origin) / directions).min(axis=-1)
        points = origin + directions * depth[..., None]
        return np.round(127.5 + 110 * np.sin(points @ WAVES.T)).astype(np.uint8), depth.astype(np.float32)

    def check(self, sequence, poses: np.ndarray, seen: float = 0.9) -> None:
        """A sequence shows the box from these poses: every frame, and every frame against every other.

        ``seen``: share of the pixels with depth, at least; less where its camera sees less.
        """
        assert len(sequence) == len(poses)
        frames = [sequence.frame(i) for i in range(len(sequence))]
        for i, frame in enumerate(frames):
            np.testing.assert_allclose(sequence.world_from_cam[i], frame.world_from_cam)
            relative = np.linalg.inv(frames[0].world_from_cam) @ frame.world_from_cam
            np.testing.assert_allclose(relative, np.linalg.inv(poses[0]) @ poses[i], atol=2e-4)
            self._check_against_scene(frame, poses[i], seen)
            for other in frames[:i]:
                _check_against_view(frame, other, seen)
                _check_against_view(other, frame, seen)

    def _check_against_scene(self, frame, pose: np.ndarray, seen: float) -> None:
        rays = self.pixel_rays(frame.intrinsics, frame.depth.shape)
        image, depth = self.render(pose, rays)
        valid = frame.depth > 0
        assert valid.mean() > seen
        assert (np.abs(frame.depth - depth)[valid] < 0.01 * depth[valid]).mean() > 0.98
        assert np.abs(_shift(frame.image, image.astype(float), valid)).max() < 0.1  # pixels


def _check_against_view(frame, other, seen_share: float) -> None:
    """Pixels of one frame, lifted by its depth and projected into the other: depth within 1 %, half a pixel."""
    points = BoxScene.pixel_rays(frame.intrinsics, frame.depth.shape) * frame.depth[..., None]
    other_from_cam = np.linalg.inv(other.world_from_cam) @ frame.world_from_cam
    seen = points @ other_from_cam[:3, :3].T + other_from_cam[:3, 3]
    with np.errstate(divide="ignore", invalid="ignore"):
        pixels = (seen / seen[..., 2:]) @ other.intrinsics.T
    height, width = other.depth.shape
    u, v = pixels[..., 0], pixels[..., 1]
    inside = (frame.depth > 0) & (seen[..., 2] > 0) & (u > 1) & (u < width - 2) & (v > 1) & (v < height - 2)
    if inside.sum() < 300:
        return  # the views share too little
    u, v, z = u[inside] - 0.5, v[inside] - 0.5, seen[..., 2][inside]
    expected = _bilinear(1.0 / np.where(other.depth > 0, other.depth, np.nan), u, v)  # exact on a plane
    known = np.isfinite(expected)
    assert known.mean() > seen_share - 0.2  # of the other one's pixels this part has less
    assert (np.abs(1.0 / expected - z) < 0.01 * z)[known].mean() > 0.95
    sampled = np.stack([_bilinear(other.image[..., c].astype(float), u, v) for c in range(3)], axis=-1)
    reprojected = np.zeros(frame.image.shape)
    reprojected[inside] = sampled
    assert np.abs(_shift(frame.image, reprojected, inside)).max() < 0.5  # pixels


def _bilinear(values: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Values (H, W) at array positions (column u, row v)."""
    c, r = np.floor(u).astype(int), np.floor(v).astype(int)
    a, b = u - c, v - r
    top = (1 - a) * values[r, c] + a * values[r, c + 1]
    return (1 - b) * top + b * ((1 - a) * values[r + 1, c] + a * values[r + 1, c + 1])


def _shift(image: np.ndarray, expected: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Displacement (2,) in pixels of an image against what it should be, by least squares on its gradients."""
    valid = valid & ~np.isnan(expected).any(axis=-1)
    image = image.astype(float)
    rows, columns = np.gradient(image, axis=(0, 1))
    difference = (image - expected)[valid].ravel()
    slopes = np.stack([columns[valid].ravel(), rows[valid].ravel()], axis=-1)
    flat = np.abs(difference) < 60  # edges of the box bend the gradient
    return np.linalg.lstsq(slopes[flat], difference[flat], rcond=None)[0]


def _pose(x: float, y: float, z: float, yaw: float, pitch: float, roll: float) -> np.ndarray:
    world_from_level = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])  # looks along x, z is up
    turn = lambda a, i, j: _plane_rotation(a, i, j)  # noqa: E731
    pose = np.eye(4)
    pose[:3, :3] = turn(yaw, 0, 1) @ world_from_level @ turn(pitch, 1, 2) @ turn(roll, 0, 1)
    pose[:3, 3] = x - 0.8, y, z - 0.2
    return pose


def _plane_rotation(angle: float, i: int, j: int) -> np.ndarray:
    rotation = np.eye(3)
    rotation[[i, j], [i, j]] = np.cos(angle)
    rotation[i, j], rotation[j, i] = -np.sin(angle), np.sin(angle)
    return rotation


@pytest.fixture(scope="session")
def box_scene() -> BoxScene:
    return BoxScene()
