"""Frames, pixels and rotations: the only conventions of the package, each in one function.

``a_from_b`` maps coordinates in frame b to coordinates in frame a, so that neighbouring names
cancel: ``points_world = transform_points(world_from_cam, points_cam)``.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def pixel_centers(height: int, width: int, like: Tensor) -> Tensor:
    """Coordinates (u, v) of all pixel centres, (height, width, 2); pixel (0, 0) is at (0.5, 0.5)."""
    u = torch.arange(width, device=like.device, dtype=like.dtype) + 0.5
    v = torch.arange(height, device=like.device, dtype=like.dtype) + 0.5
    return torch.stack(torch.meshgrid(u, v, indexing="xy"), dim=-1)


def every(stride: int) -> tuple[slice, slice]:
    """Rows and columns that stay when maps are thinned, each from the middle of its stride."""
    return slice(stride // 2, None, stride), slice(stride // 2, None, stride)


def pixel_axes(size: tuple[int, ...], stride: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """`pixel_centers` in NumPy, float64: u of the columns (w,) and v of the rows (h,) that stay of (height, width)."""
    height, width = size
    return np.arange(stride // 2, width, stride) + 0.5, np.arange(stride // 2, height, stride) + 0.5


def pixel_grid(size: tuple[int, ...], stride: int = 1) -> np.ndarray:
    """(u, v) of all pixels that stay, (h, w, 2) float64."""
    return np.stack(np.meshgrid(*pixel_axes(size, stride)), axis=-1)


def homogeneous(x: Tensor) -> Tensor:
    """(..., N) -> (..., N + 1) with a last coordinate of 1."""
    return F.pad(x, (0, 1), value=1.0)


def transform_points(target_from_source: Tensor, points: Tensor) -> Tensor:
    """Rigid or affine transforms (..., 4, 4) applied to points (..., [any,] 3).

    The leading dimensions of both agree; the dimensions of ``points`` between them and the last
    one (pixels, say) share one transform.
    """
    rotated = rotate(target_from_source[..., :3, :3], points)
    return rotated + _per_transform(target_from_source[..., :3, 3], rotated)


def rotate(matrix: Tensor, vectors: Tensor) -> Tensor:
    """Matrices (..., 3, 3) times vectors (..., [any,] 3), dimensions as in `transform_points`."""
    lead = matrix.dim() - 2
    rows = vectors.reshape(*vectors.shape[:lead], -1, 3) @ matrix.transpose(-1, -2)
    return rows.reshape(*rows.shape[:lead], *vectors.shape[lead:-1], 3)


def _per_transform(vector: Tensor, points: Tensor) -> Tensor:
    return vector.reshape(*vector.shape[:-1], *(1,) * (points.dim() - vector.dim()), 3)


def pose_matrix(rotation: Tensor, translation: Tensor) -> Tensor:
    """Rotation (..., 3, 3) and translation (..., 3) as one (..., 4, 4) transform."""
    top = torch.cat([rotation, translation.unsqueeze(-1)], dim=-1)
    bottom = torch.zeros_like(top[..., :1, :])
    bottom[..., 3] = 1.0
    return torch.cat([top, bottom], dim=-2)


def invert_pose(target_from_source: Tensor) -> Tensor:
    """Inverse of a rigid transform (..., 4, 4)."""
    rotation = target_from_source[..., :3, :3].transpose(-1, -2)
    return pose_matrix(rotation, -rotate(rotation, target_from_source[..., :3, 3]))


def unproject(depth: Tensor, intrinsics: Tensor) -> Tensor:
    """Camera-frame points (..., H, W, 3) of z-depth (..., H, W) and intrinsics (..., 3, 3)."""
    directions = camera_directions(intrinsics, depth.shape[-2], depth.shape[-1])
    return directions * depth.unsqueeze(-1)


def camera_directions(intrinsics: Tensor, height: int, width: int) -> Tensor:
    """``K^-1 [u, v, 1]`` of every pixel centre, (..., height, width, 3); z is 1."""
    pixels = homogeneous(pixel_centers(height, width, like=intrinsics))
    return rotate(torch.linalg.inv(intrinsics), pixels.expand(*intrinsics.shape[:-2], -1, -1, -1))


def project(points_cam: Tensor, intrinsics: Tensor) -> Tensor:
    """Pixel coordinates (..., 2) of camera-frame points (..., [any,] 3); only z > 0 is in view."""
    image = rotate(intrinsics, points_cam)
    return image[..., :2] / image[..., 2:]


def matrix_from_quaternion(quaternion: Tensor) -> Tensor:
    """Rotation (..., 3, 3) of a quaternion (..., 4) in xyzw order; its length does not matter."""
    x, y, z, w = F.normalize(quaternion, dim=-1).unbind(-1)
    rows = [
        1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w),
        2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w),
        2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    return torch.stack(rows, dim=-1).unflatten(-1, (3, 3))


def quaternion_from_matrix(rotation: Tensor) -> Tensor:
    """Unit quaternion (..., 4), xyzw with w >= 0, of a rotation (..., 3, 3).

    The largest of the four components is found first, so that no rotation loses precision.
    """
    m = rotation
    trace = m.diagonal(dim1=-2, dim2=-1)
    xx, yy, zz = trace.unbind(-1)
    off = lambda i, j, sign: m[..., i, j] + sign * m[..., j, i]  # noqa: E731
    squares = torch.stack([1 + xx - yy - zz, 1 - xx + yy - zz, 1 - xx - yy + zz, 1 + xx + yy + zz], dim=-1)
    # Row i of `products` is 4 * q_i * (x, y, z, w).
    products = torch.stack(
        [
            torch.stack([squares[..., 0], off(1, 0, 1), off(2, 0, 1), off(2, 1, -1)], dim=-1),
            torch.stack([off(1, 0, 1), squares[..., 1], off(2, 1, 1), off(0, 2, -1)], dim=-1),
            torch.stack([off(2, 0, 1), off(2, 1, 1), squares[..., 2], off(1, 0, -1)], dim=-1),
            torch.stack([off(2, 1, -1), off(0, 2, -1), off(1, 0, -1), squares[..., 3]], dim=-1),
        ],
        dim=-2,
    )
    largest = squares.argmax(dim=-1)[..., None, None].expand(*squares.shape[:-1], 1, 4)
    quaternion = F.normalize(products.gather(-2, largest).squeeze(-2), dim=-1)
    return torch.where(quaternion[..., 3:] < 0, -quaternion, quaternion)


def rotation_angle(a_from_b: Tensor) -> Tensor:
    """Angle in radians (...,) of rotations (..., 3, 3), accurate near 0 and near pi."""
    skew = a_from_b - a_from_b.transpose(-1, -2)
    sine = torch.stack([skew[..., 2, 1], skew[..., 0, 2], skew[..., 1, 0]], dim=-1).norm(dim=-1)
    cosine = a_from_b.diagonal(dim1=-2, dim2=-1).sum(-1) - 1
    return torch.atan2(sine, cosine)
