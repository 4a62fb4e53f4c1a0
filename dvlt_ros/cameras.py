"""Cameras from ray maps and ray maps from cameras, for any number of views at once.

Ray directions are not normalised, so ``direction = A p`` with ``A = R K^-1`` and ``p = [u, v, 1]`` is linear in
A: reweighted least squares find it without random numbers, and A splits into rotation and intrinsics.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
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
MAX_LENGTH = 1e3  # of a direction, in medians of its view; longer ones are 0.06 degrees from the image plane or wrong


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
        directions: (..., H, W, 3), floating-point, world frame, camera-frame z of 1 (so not normalised).
        origins: (..., H, W, 3), floating-point, world frame.
        weights: (..., H, W), also boolean or integer; only their ratios matter. A pixel counts where its weight is
            above 0, its ray and weight are finite and its direction is not absurdly long.
        intrinsics: (..., 3, 3), floating-point, in pixels where known; then only rotation and centre are fitted.
        stride: every stride-th pixel of rows and columns is used, the second one first.

    Returns:
        Cameras with the leading dimensions of the maps and intrinsics without skew. A view whose rays tell no camera
        (too few valid pixels; collinear, mirrored or nearly parallel directions) is NaN: no default takes its place.

    Raises:
        InputError: maps of unequal or impossible shapes, types or devices, or a stride below 1.
    """
    _check_maps(directions, origins, weights, intrinsics)
    if isinstance(stride, bool) or not isinstance(stride, int) or stride < 1:
        raise InputError(f"stride must be an integer of at least 1, got {stride!r}")
    lead, (height, width) = directions.shape[:-3], directions.shape[-3:-1]
    dtype = directions.dtype if directions.dtype == torch.float64 else torch.float32
    with torch.autocast(directions.device.type, enabled=False):
        rows, cols = _grid(height, stride), _grid(width, stride)

        def samples(x: Tensor) -> Tensor:  # (..., H, W, C) -> (N, C, pixels)
            chosen = x[..., rows, cols, :].flatten(-3, -2).movedim(-1, -2)
            return chosen.reshape(-1, *chosen.shape[-2:]).to(dtype).contiguous()  # a third quicker than strided

        d, o = samples(directions), samples(origins)
        w = torch.ones_like(d[:, 0]) if weights is None else samples(weights.unsqueeze(-1))[:, 0]
        usable = _usable(d, o, w)
        w = torch.where(usable, w, 0.0)
        w = w / w.amax(dim=-1, keepdim=True).clamp_min(torch.finfo(dtype).tiny)
        d, o = (torch.where(usable.unsqueeze(1), x, 0.0) for x in (d, o))

        from_pixels = _normalization(height, width, like=d)
        pixels = rotate(from_pixels, homogeneous(pixel_centers(height, width, like=d)[rows, cols]))
        matrix, gram = _fit_linear(pixels.reshape(1, -1, 3).mT.contiguous(), d, w)
        rotation, normalized = _decompose(matrix)
        if intrinsics is None:
            intrinsics = torch.linalg.inv(from_pixels) @ normalized
        else:
            intrinsics = intrinsics.reshape(-1, 3, 3).to(dtype)
            moment = matrix.double() @ gram.double()
            rotation = _known_rotation(rotation, moment, from_pixels.double() @ intrinsics.double()).to(dtype)
        poses = pose_matrix(rotation, _robust_center(o, w))
    return Cameras(poses.reshape(*lead, 4, 4), intrinsics.reshape(*lead, 3, 3))


def _usable(d: Tensor, o: Tensor, w: Tensor) -> Tensor:
    """Which pixels count, (N, pixels), of directions and origins (N, 3, pixels) and weights (N, pixels)."""
    usable = torch.isfinite(d).all(1) & torch.isfinite(o).all(1) & torch.isfinite(w) & (w > 0)
    length = d.abs().amax(1)  # not the norm, whose squares overflow
    median = torch.where(usable, length, torch.nan).nanmedian(dim=-1, keepdim=True).values
    return usable & (length <= MAX_LENGTH * median)


def _fit_linear(p: Tensor, d: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    """A (N, 3, 3) of ``d = A p`` by reweighted least squares, and its weighted sum of ``p p^T``, (N, 3, 3).

    p is (1, 3, pixels) with p_3 = 1, d (N, 3, pixels), w (N, pixels).
    """
    mean = (w.unsqueeze(1) * d).sum(-1, keepdim=True) / w.sum(-1)[:, None, None]
    d = d - mean  # a long lens's directions differ in their last digits only
    pp, dp = _outer(p, p), _outer(d, p)
    robust = w
    for _ in range(ROUNDS):
        gram = _moment(pp, robust)
        inverse, singular = torch.linalg.inv_ex(gram)
        matrix = _moment(dp, robust) @ inverse
        robust = w * _robust_weights((d - matrix @ p).square().sum(1), w)
    matrix = matrix + F.pad(mean, (2, 0))  # onto the third column
    return torch.where((singular != 0)[:, None, None], torch.nan, matrix), gram


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

    NaN where the directions are collinear, mirrored or nearly parallel.
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


def _known_rotation(free: Tensor, moment: Tensor, normalized: Tensor) -> Tensor:
    """Rotation that best turns the rays of known intrinsics into the directions (Procrustes), in float64.

    All (N, 3, 3): the rotation with free intrinsics (where it is NaN, so is this one), the moment ``sum d p^T`` and
    the intrinsics in the units of p. Float64, because the part of the moment that tells roll is 1 / focal length^2.
    """
    rays_from_pixels = torch.linalg.inv_ex(normalized).inverse
    moment = moment @ rays_from_pixels.mT
    positive = (torch.linalg.det(normalized) > 0)[:, None, None]
    failed = ~(torch.isfinite(free) & torch.isfinite(moment) & positive).all(dim=(-2, -1), keepdim=True)
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


def _normalization(height: int, width: int, like: Tensor) -> Tensor:
    """The matrix (3, 3) that scales homogeneous pixels to about [-1, 1]."""
    scale = 2.0 / max(height, width)
    rows = [[scale, 0, -scale * width / 2], [0, scale, -scale * height / 2], [0, 0, 1]]
    return torch.tensor(rows, device=like.device, dtype=like.dtype)


def _grid(size: int, stride: int) -> slice:
    """Rows or columns 1, 1 + stride, ...; a map too small for that is used whole."""
    return slice(1, None, stride) if size > 2 * stride else slice(None)


def _check_maps(directions: Tensor, origins: Tensor, weights: Tensor | None, intrinsics: Tensor | None) -> None:
    _check_type("directions", directions)
    shape = tuple(directions.shape)
    if len(shape) < 3 or shape[-1] != 3 or 0 in shape:
        raise InputError(f"directions must be (..., H, W, 3), got {shape}")
    expected = {"origins": (origins, shape)}
    if weights is not None:
        expected["weights"] = (weights, shape[:-1])
    if intrinsics is not None:
        expected["intrinsics"] = (intrinsics, (*shape[:-3], 3, 3))
    for name, (value, wanted) in expected.items():
        _check_type(name, value)
        if tuple(value.shape) != wanted:
            raise InputError(f"{name} must be {wanted} beside directions {shape}, got {tuple(value.shape)}")
        if value.device != directions.device:
            raise InputError(f"{name} must be on {directions.device} as the directions are, got {value.device}")


def _check_type(name: str, value: object) -> None:
    if not isinstance(value, Tensor):
        raise InputError(f"{name} must be a tensor, got {type(value).__name__}")
    if not value.is_floating_point() and (name != "weights" or value.is_complex()):
        raise InputError(f"{name} must be floating-point, got {value.dtype}")


def pose_encoding_from_cameras(cameras: Cameras, height: int, width: int) -> Tensor:
    """(..., 9): camera-to-world translation, quaternion xyzw, vertical and horizontal field of view (radians)."""
    focal_x, focal_y = cameras.intrinsics[..., 0, 0], cameras.intrinsics[..., 1, 1]
    fov = torch.stack([2 * torch.atan(height / (2 * focal_y)), 2 * torch.atan(width / (2 * focal_x))], dim=-1)
    quaternion = quaternion_from_matrix(cameras.world_from_cam[..., :3, :3])
    return torch.cat([cameras.world_from_cam[..., :3, 3], quaternion, fov], dim=-1)


def cameras_from_pose_encoding(encoding: Tensor, height: int, width: int) -> Cameras:
    """Inverse of `pose_encoding_from_cameras` for a centred principal point.

    A quaternion of length 0 gives a NaN rotation, a field of view outside (0, pi) NaN intrinsics.

    Raises:
        InputError: an encoding that is not floating-point (..., 9).
    """
    _check_type("encoding", encoding)
    if encoding.dim() == 0 or encoding.shape[-1] != 9:
        raise InputError(f"encoding must be (..., 9), got {tuple(encoding.shape)}")
    translation, quaternion, fov = encoding.split([3, 4, 2], dim=-1)
    focal_y, focal_x = (size / 2 / torch.tan(f / 2) for size, f in zip((height, width), fov.unbind(-1), strict=True))
    zero, one = torch.zeros_like(focal_x), torch.ones_like(focal_x)
    rows = [focal_x, zero, one * width / 2, zero, focal_y, one * height / 2, zero, zero, one]
    intrinsics = torch.stack(rows, dim=-1).unflatten(-1, (3, 3))
    visible = ((fov > 0) & (fov < torch.pi)).all(-1)[..., None, None]
    turned = (quaternion != 0).any(-1)[..., None, None]
    rotation = torch.where(turned, matrix_from_quaternion(quaternion), torch.nan)
    return Cameras(pose_matrix(rotation, translation), torch.where(visible, intrinsics, torch.nan))
