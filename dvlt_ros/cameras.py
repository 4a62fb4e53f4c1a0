"""Cameras from ray maps and ray maps from cameras, for any number of views at once.

Ray directions are not normalised, so ``direction = A p`` with ``A = R K^-1`` and ``p = [u, v, 1]`` is linear in
A: reweighted least squares find it without random numbers, and A splits into rotation and intrinsics.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .errors import InputError
from .geometry import (
    camera_directions,
    homogeneous,
    matrix_from_quaternion,
    pixel_centers,
    pose_matrix,
    quaternion_from_matrix,
    rotate,
)
from .types import Cameras

__all__ = [
    "Cameras",
    "cameras_from_pose_encoding",
    "fit_cameras",
    "pose_encoding_from_cameras",
    "rays_from_cameras",
]

ROUNDS = 12
CENTER_ROUNDS = 4
MIN_HALF_VIEW = 1e-4  # radians; rays that spread less than this do not tell a rotation


def rays_from_cameras(cameras: Cameras, height: int, width: int) -> tuple[Tensor, Tensor]:
    """World-frame ray directions and origins, each (..., height, width, 3); camera-frame z of a direction is 1."""
    directions = rotate(cameras.world_from_cam[..., :3, :3], camera_directions(cameras.intrinsics, height, width))
    origins = cameras.world_from_cam[..., None, None, :3, 3].expand_as(directions)
    return directions, origins


def fit_cameras(
    directions: Tensor,
    origins: Tensor,
    weights: Tensor | None = None,
    intrinsics: Tensor | None = None,
    *,
    stride: int = 3,
) -> Cameras:
    """Pinhole cameras that best explain ray maps.

    Args:
        directions: (..., H, W, 3), world frame, camera-frame z of 1 (so not normalised).
        origins: (..., H, W, 3), world frame.
        weights: (..., H, W); a pixel counts where its weight is above 0 and its ray and weight are finite.
        intrinsics: (..., 3, 3) in pixels where they are known; then only a rotation and a centre are fitted.
        stride: every stride-th pixel of rows and columns is used, the second one first.

    Returns:
        Cameras with the leading dimensions of the maps and intrinsics without skew. A view whose rays no camera
        explains (too few valid pixels, collinear or mirrored directions) is NaN: there is no default in its place.

    Raises:
        InputError: maps of unequal or impossible shapes.
    """
    _check_maps(directions, origins, weights, intrinsics)
    lead, (height, width) = directions.shape[:-3], directions.shape[-3:-1]
    dtype = directions.dtype if directions.dtype == torch.float64 else torch.float32
    with torch.autocast(directions.device.type, enabled=False):
        rows, cols = _grid(height, stride), _grid(width, stride)

        def samples(x: Tensor) -> Tensor:  # (..., H, W, C) -> (N, C, pixels)
            chosen = x[..., rows, cols, :].flatten(-3, -2).movedim(-1, -2)
            return chosen.reshape(-1, *chosen.shape[-2:]).to(dtype)

        d, o = samples(directions), samples(origins)
        w = torch.ones_like(d[:, 0]) if weights is None else samples(weights.unsqueeze(-1))[:, 0]
        usable = torch.isfinite(d).all(1) & torch.isfinite(o).all(1) & torch.isfinite(w) & (w > 0)
        w = torch.where(usable, w, 0.0)
        d, o = (torch.where(usable.unsqueeze(1), x, 0.0) for x in (d, o))

        if intrinsics is None:
            pixels, from_pixels = _normalized_pixels(height, width, like=d)
            matrix, _ = _fit_linear(samples(pixels), d, w)
            rotation, normalized = _decompose(matrix)
            intrinsics = torch.linalg.inv(from_pixels) @ normalized
        else:
            intrinsics = intrinsics.reshape(-1, 3, 3).to(dtype)
            usable_intrinsics = torch.isfinite(intrinsics).all(dim=(-2, -1)) & (torch.linalg.det(intrinsics) != 0)
            identity = torch.eye(3, dtype=dtype, device=d.device)
            invertible = torch.where(usable_intrinsics[:, None, None], intrinsics, identity)
            p = samples(camera_directions(invertible, height, width))
            w = torch.where(usable_intrinsics[:, None], w, 0.0)  # singular intrinsics: NaN for that view alone
            matrix, robust = _fit_linear(p, d, w)
            rotation = _nearest_rotation(_moment(_outer(d, p), robust), matrix)
        poses = pose_matrix(rotation, _robust_center(o, w))
    return Cameras(poses.reshape(*lead, 4, 4), intrinsics.reshape(*lead, 3, 3))


def _fit_linear(p: Tensor, d: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    """A (N, 3, 3) of ``d = A p`` by reweighted least squares, and the last weights (N, pixels).

    p is (N or 1, 3, pixels), d (N, 3, pixels), w (N, pixels).
    """
    pp, dp = _outer(p, p), _outer(d, p)
    robust = w
    for _ in range(ROUNDS):
        inverse, singular = torch.linalg.inv_ex(_moment(pp, robust))
        matrix = _moment(dp, robust) @ inverse
        robust = w * _robust_weights((d - matrix @ p).square().sum(1), w)
    return torch.where((singular != 0)[:, None, None], torch.nan, matrix), robust


def _robust_weights(squared_error: Tensor, w: Tensor) -> Tensor:
    """``1 / (1 + (e/s)^2)^2`` with s = 1.5 x median of e over the pixels that count, all (N, pixels)."""
    sample = torch.where(w > 0, squared_error, torch.nan)
    median = sample.nanmedian(dim=-1, keepdim=True).values
    squared_scale = 1.5**2 * median + torch.finfo(w.dtype).eps ** 2
    return (1 + squared_error / squared_scale).square().reciprocal()


def _robust_center(origins: Tensor, w: Tensor) -> Tensor:
    """(N, 3, pixels) -> (N, 3): the median per component, then reweighted means."""
    center = torch.where((w > 0).unsqueeze(1), origins, torch.nan).nanmedian(dim=-1).values
    for _ in range(CENTER_ROUNDS):
        robust = w * _robust_weights((origins - center.unsqueeze(-1)).square().sum(1), w)
        center = (robust.unsqueeze(1) * origins).sum(-1) / robust.sum(-1, keepdim=True)
    return center


def _decompose(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """``A = Q U`` (Gram-Schmidt; U upper triangular with a positive diagonal, det Q = 1) -> R, K without skew.

    NaN where the directions are collinear or mirrored.
    """
    first, second, third = matrix.unbind(-1)
    x_axis = first / first.norm(dim=-1, keepdim=True)
    along = (x_axis * second).sum(-1, keepdim=True)
    rest = second - along * x_axis
    y_axis = rest / rest.norm(dim=-1, keepdim=True)
    z_axis = torch.linalg.cross(x_axis, y_axis)
    rotation = torch.stack([x_axis, y_axis, z_axis], dim=-1)

    # U = s K^-1, and K^-1 = [[1/fx, 0, -cx/fx], [0, 1/fy, -cy/fy], [0, 0, 1]] once the skew is set to zero.
    scale = (z_axis * third).sum(-1)
    focal_x = scale / first.norm(dim=-1)
    focal_y = scale / rest.norm(dim=-1)
    v_offset = (y_axis * third).sum(-1) / scale
    skew = along.squeeze(-1) / scale
    center_y = -v_offset * focal_y
    center_x = -((x_axis * third).sum(-1) / scale + skew * center_y) * focal_x
    zero, one = torch.zeros_like(scale), torch.ones_like(scale)
    rows = [focal_x, zero, center_x, zero, focal_y, center_y, zero, zero, one]
    intrinsics = torch.stack(rows, dim=-1).unflatten(-1, (3, 3))
    narrowest = MIN_HALF_VIEW * third.norm(dim=-1)
    sound = (scale > 0) & (first.norm(dim=-1) > narrowest) & (rest.norm(dim=-1) > narrowest)
    failed = ~sound[:, None, None]
    return torch.where(failed, torch.nan, rotation), torch.where(failed, torch.nan, intrinsics)


def _nearest_rotation(moment: Tensor, matrix: Tensor) -> Tensor:
    """Rotation that maximises tr(R^T M) (Procrustes); NaN where the linear fit has no answer."""
    failed = ~torch.isfinite(matrix).all(dim=(-2, -1), keepdim=True)
    matrix = torch.where(failed, 0.0, matrix)
    smallest = MIN_HALF_VIEW * torch.linalg.matrix_norm(matrix) ** 3
    failed |= ~(torch.linalg.det(matrix) > smallest)[:, None, None]
    u, _, vt = torch.linalg.svd(torch.where(failed, 0.0, moment))
    sign = torch.linalg.det(u @ vt)
    u = torch.cat([u[..., :2], u[..., 2:] * sign[:, None, None]], dim=-1)
    return torch.where(failed, torch.nan, u @ vt)


def _outer(a: Tensor, b: Tensor) -> Tensor:
    """``a b^T`` of every pixel, (N, 3, pixels) twice -> (N, pixels, 9)."""
    return torch.einsum("nip,njp->npij", a, b).flatten(-2)


def _moment(outer: Tensor, w: Tensor) -> Tensor:
    """Weighted sum over pixels, (N or 1, pixels, 9) and (N, pixels) -> (N, 3, 3)."""
    return (w.unsqueeze(1) @ outer).view(-1, 3, 3)


def _normalized_pixels(height: int, width: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Homogeneous pixels scaled to about [-1, 1], (H, W, 3), and the matrix that makes them of plain ones."""
    scale = 2.0 / max(height, width)
    from_pixels = torch.tensor(
        [[scale, 0, -scale * width / 2], [0, scale, -scale * height / 2], [0, 0, 1]],
        device=like.device,
        dtype=like.dtype,
    )
    return rotate(from_pixels, homogeneous(pixel_centers(height, width, like))), from_pixels


def _grid(size: int, stride: int) -> slice:
    """Rows or columns 1, 1 + stride, ...; a map too small for that is used whole."""
    return slice(1, None, stride) if size > 2 * stride else slice(None)


def _check_maps(directions: Tensor, origins: Tensor, weights: Tensor | None, intrinsics: Tensor | None) -> None:
    shape = tuple(directions.shape)
    if len(shape) < 3 or shape[-1] != 3 or 0 in shape:
        raise InputError(f"directions must be (..., H, W, 3), got {shape}")
    expected = {"origins": (origins, shape), "weights": (weights, shape[:-1])}
    expected["intrinsics"] = (intrinsics, (*shape[:-3], 3, 3))
    for name, (value, wanted) in expected.items():
        if value is not None and tuple(value.shape) != wanted:
            raise InputError(f"{name} must be {wanted} beside directions {shape}, got {tuple(value.shape)}")


def pose_encoding_from_cameras(cameras: Cameras, height: int, width: int) -> Tensor:
    """(..., 9): camera-to-world translation, quaternion xyzw, vertical and horizontal field of view (radians)."""
    focal_x, focal_y = cameras.intrinsics[..., 0, 0], cameras.intrinsics[..., 1, 1]
    fov = torch.stack([2 * torch.atan(height / (2 * focal_y)), 2 * torch.atan(width / (2 * focal_x))], dim=-1)
    quaternion = quaternion_from_matrix(cameras.world_from_cam[..., :3, :3])
    return torch.cat([cameras.world_from_cam[..., :3, 3], quaternion, fov], dim=-1)


def cameras_from_pose_encoding(encoding: Tensor, height: int, width: int) -> Cameras:
    """Inverse of `pose_encoding_from_cameras` for a centred principal point; no field of view gives NaN."""
    translation, quaternion, fov = encoding.split([3, 4, 2], dim=-1)
    focal_y, focal_x = (size / 2 / torch.tan(f / 2) for size, f in zip((height, width), fov.unbind(-1), strict=True))
    zero, one = torch.zeros_like(focal_x), torch.ones_like(focal_x)
    rows = [focal_x, zero, one * width / 2, zero, focal_y, one * height / 2, zero, zero, one]
    intrinsics = torch.stack(rows, dim=-1).unflatten(-1, (3, 3))
    intrinsics = torch.where((fov > 0).all(-1)[..., None, None], intrinsics, torch.nan)
    return Cameras(pose_matrix(matrix_from_quaternion(quaternion), translation), intrinsics)
