"""Similarity transforms between two sets of corresponding points: Umeyama, and a robust second round."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeVar, get_args

import numpy as np
import torch
from torch import Tensor

from .errors import AlignmentError, InputError
from .geometry import pose_matrix, rotate, transform_points

ScaleEstimator = Literal["umeyama", "symmetric", "fixed"]
Values = TypeVar("Values", np.ndarray, Tensor)  # arrays are answered with arrays

MIN_POINTS = 3
MIN_INLIERS = 10  # with fewer, the second round does not happen (evaluation protocol)
MIN_SPREAD = 1e-10  # second singular value over the first, below which points lie on one line


@dataclass(frozen=True)
class Sim3:
    """``target = scale * rotation @ source + translation``, with any leading dimensions."""

    scale: Tensor  # (...), above 0
    rotation: Tensor  # (..., 3, 3)
    translation: Tensor  # (..., 3)

    @classmethod
    def of(cls, scale: float, rotation: np.ndarray, translation: np.ndarray) -> Sim3:
        """One transform in float64: rotation (3, 3), translation (3,)."""
        return cls(*(torch.as_tensor(part, dtype=torch.float64) for part in (scale, rotation, translation)))

    def apply(self, points: Values) -> Values:
        """Points (..., [any,] 3) of the source in the target's frame and unit."""
        if isinstance(points, np.ndarray):
            return self.apply(torch.from_numpy(points)).numpy()
        return transform_points(self.matrix, points)

    def apply_to_depth(self, depth: np.ndarray) -> np.ndarray:
        """Depths (...) of a camera, whatever its pose, in the target's unit; their type stays."""
        return self.scale.item() * depth

    def apply_to_poses(self, source_from_cam: Values) -> Values:
        """Rigid poses (..., [any,] 4, 4): rotations turned, centres moved; the scale goes to the depths."""
        if isinstance(source_from_cam, np.ndarray):
            return self.apply_to_poses(torch.from_numpy(source_from_cam)).numpy()
        between = source_from_cam.dim() - self.rotation.dim()
        lead = self.rotation.shape[:-2]
        rotation = self.rotation.reshape(*lead, *(1,) * between, 3, 3) @ source_from_cam[..., :3, :3]
        return pose_matrix(rotation, self.apply(source_from_cam[..., :3, 3]))

    @property
    def matrix(self) -> Tensor:
        """Affine matrix (..., 4, 4) that acts on homogeneous points."""
        return pose_matrix(self.scale[..., None, None] * self.rotation, self.translation)

    @property
    def inverse(self) -> Sim3:
        """The transform from target to source."""
        scale, rotation = 1 / self.scale, self.rotation.transpose(-1, -2)
        return Sim3(scale, rotation, -scale.unsqueeze(-1) * rotate(rotation, self.translation))

    def compose(self, other: Sim3) -> Sim3:
        """This transform after ``other``: ``a_from_b.compose(b_from_c)`` is ``a_from_c``."""
        moved = self.scale.unsqueeze(-1) * rotate(self.rotation, other.translation) + self.translation
        return Sim3(self.scale * other.scale, self.rotation @ other.rotation, moved)

    def to(self, target: torch.device | torch.dtype | str) -> Sim3:
        return Sim3(self.scale.to(target), self.rotation.to(target), self.translation.to(target))


IDENTITY = Sim3.of(1.0, np.eye(3), np.zeros(3))


def fit_sim3(
    source: Tensor,
    target: Tensor,
    weights: Tensor | None = None,
    *,
    scale_estimator: ScaleEstimator = "umeyama",
) -> Sim3:
    """Weighted least-squares similarity from ``source`` to ``target`` (Umeyama 1991), in float64 inside.

    Args:
        source, target: corresponding points (..., N, 3), any unit.
        weights: (..., N), at least 0. A pair that is not finite, or whose weight is not, counts as weight 0.
        scale_estimator: ``umeyama`` blames all noise on the target and shrinks when the source is noisy too;
            ``symmetric`` is the ratio of the spreads, unbiased for equal relative noise on both sides, and
            the reverse fit has exactly the inverse scale; ``fixed`` keeps a scale of 1.

    Returns:
        Sim3 with the leading dimensions and the type of the points.

    Raises:
        InputError: shapes that do not belong together.
        AlignmentError: fewer than 3 points, all points equal, or all on one line, in any of the sets.
    """
    source64, target64, weights64 = _prepare(source, target, weights, scale_estimator)
    fitted = _fit(source64, target64, weights64, scale_estimator)
    return fitted.to(torch.promote_types(source.dtype, target.dtype))


def fit_sim3_robust(
    source: Tensor,
    target: Tensor,
    weights: Tensor | None = None,
    *,
    scale_estimator: ScaleEstimator = "umeyama",
    keep: float = 0.95,
) -> Sim3:
    """`fit_sim3`, then once more without the pairs whose residual is above the ``keep`` quantile.

    The quantile is one of the residuals (nearest rank) among pairs of weight above 0, per set; a set that
    would keep fewer than 10 pairs keeps its first fit (evaluation protocol). Arguments and errors are those
    of `fit_sim3`.
    """
    if not 0 < keep <= 1:
        raise InputError(f"keep must be in (0, 1], got {keep}")
    source64, target64, weights64 = _prepare(source, target, weights, scale_estimator)
    first = _fit(source64, target64, weights64, scale_estimator)
    residual = (first.apply(source64) - target64).norm(dim=-1)
    residual = torch.where(weights64 > 0, residual, torch.inf)
    count = (weights64 > 0).sum(dim=-1, keepdim=True)
    rank = (keep * count - 1e-9).ceil().long().clamp(min=1)
    threshold = residual.sort(dim=-1).values.gather(-1, rank - 1)
    inliers = residual <= threshold
    refit = inliers.sum(dim=-1, keepdim=True) >= MIN_INLIERS
    weights64 = torch.where(inliers | ~refit, weights64, 0.0)
    fitted = _fit(source64, target64, weights64, scale_estimator)
    return fitted.to(torch.promote_types(source.dtype, target.dtype))


def _prepare(
    source: Tensor, target: Tensor, weights: Tensor | None, scale_estimator: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Checked float64 copies in which unusable pairs are zero with weight zero."""
    if scale_estimator not in get_args(ScaleEstimator):
        raise InputError(f"scale_estimator must be one of {get_args(ScaleEstimator)}, got {scale_estimator!r}")
    if source.dim() < 2 or source.shape[-1] != 3 or source.shape != target.shape:
        raise InputError(
            f"source and target must both be (..., N, 3), got {tuple(source.shape)} and {tuple(target.shape)}"
        )
    if weights is None:
        weights = torch.ones_like(source[..., 0])
    if weights.shape != source.shape[:-1]:
        raise InputError(f"weights must be {tuple(source.shape[:-1])}, got {tuple(weights.shape)}")
    source, target, weights = source.double(), target.double(), weights.double()
    finite = torch.isfinite(source).all(-1) & torch.isfinite(target).all(-1) & torch.isfinite(weights)
    usable = finite & (weights > 0)
    source, target = (torch.where(usable.unsqueeze(-1), x, 0.0) for x in (source, target))
    return source, target, torch.where(usable, weights, 0.0)


def _fit(source: Tensor, target: Tensor, weights: Tensor, scale_estimator: str) -> Sim3:
    with torch.autocast(source.device.type, enabled=False):
        count = (weights > 0).sum(dim=-1)
        share = (weights / weights.sum(dim=-1, keepdim=True).clamp(min=1e-300)).unsqueeze(-1)
        source_mean, target_mean = (share * source).sum(dim=-2), (share * target).sum(dim=-2)
        source, target = source - source_mean.unsqueeze(-2), target - target_mean.unsqueeze(-2)
        source_variance, target_variance = ((share * x.square()).sum(dim=(-1, -2)) for x in (source, target))
        u, spread, vt = torch.linalg.svd((share * target).transpose(-1, -2) @ source)
        _refuse_degenerate(count, source_variance, target_variance, spread)
        signs = torch.ones_like(spread)
        signs[..., 2] = torch.linalg.det(u @ vt).sign()
        rotation = (u * signs.unsqueeze(-2)) @ vt
        if scale_estimator == "umeyama":
            scale = (spread * signs).sum(dim=-1) / source_variance
        elif scale_estimator == "symmetric":
            scale = (target_variance / source_variance).sqrt()
        else:
            scale = torch.ones_like(source_variance)
        return Sim3(scale, rotation, target_mean - scale.unsqueeze(-1) * rotate(rotation, source_mean))


def _refuse_degenerate(count: Tensor, source_variance: Tensor, target_variance: Tensor, spread: Tensor) -> None:
    """One AlignmentError for the first set without an answer; one transfer from the device for all checks."""
    causes = {
        f"fewer than {MIN_POINTS} usable points": count < MIN_POINTS,
        "all source points are the same": ~(source_variance > 0),
        "all target points are the same": ~(target_variance > 0),
        "the points lie on one line, so that no rotation about it is known": ~(
            spread[..., 1] > MIN_SPREAD * spread[..., 0]
        ),
    }
    failed = torch.stack([value.reshape(-1) for value in causes.values()]).cpu()
    if not failed.any():
        return
    position = int(failed.any(dim=0).nonzero()[0])
    cause = list(causes)[int(failed[:, position].nonzero()[0])]
    total = math.prod(count.shape)
    where = f" of set {position} of {total}" if total > 1 else ""
    raise AlignmentError(f"no similarity transform{where}: {cause} ({int(count.reshape(-1)[position])} points)")


def similarity_between(a_from_cam: np.ndarray, b_from_cam: np.ndarray, a_per_b: float) -> Sim3:
    """a_from_b of two frames, from one camera's rigid poses (4, 4) in both and the units of a per unit of b."""
    rotation = a_from_cam[:3, :3] @ b_from_cam[:3, :3].T
    return Sim3.of(a_per_b, rotation, a_from_cam[:3, 3] - a_per_b * rotation @ b_from_cam[:3, 3])
