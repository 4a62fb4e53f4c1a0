"""The published losses of both stages (paper, training objective): points, depth, rays and cameras."""

from __future__ import annotations

import logging
from dataclasses import dataclass, fields, replace
from typing import Protocol

import torch
from torch import Tensor

from dvlt_ros.cameras import pose_encoding_from_cameras, rays_from_cameras
from dvlt_ros.errors import InputError
from dvlt_ros.types import Cameras

from ..data.types import Views
from .config import LossConfig
from .normalize import mean_distance, to_first_camera
from .pairs import pair_errors

logger = logging.getLogger(__name__)


class PredictionLike(Protocol):
    """What the losses read of the network's prediction; world = the first view's camera frame."""

    @property
    def depth(self) -> Tensor: ...  # (B, S, H, W), along the optical axis
    @property
    def depth_confidence(self) -> Tensor: ...  # (B, S, H, W), above 0
    @property
    def ray_directions(self) -> Tensor: ...  # (B, S, H, W, 3), not normalised
    @property
    def ray_origins(self) -> Tensor: ...  # (B, S, H, W, 3)
    @property
    def pose_encoding(self) -> Tensor: ...  # (B, S, 9)


@dataclass(frozen=True)
class Targets:
    """Ground truth of B windows of S views; world = the first view's camera frame, any unit per window."""

    depth: Tensor  # (B, S, H, W), along the optical axis; anything where not valid
    valid: Tensor  # (B, S, H, W), bool
    cameras: Cameras  # (B, S)
    is_synthetic: Tensor  # (B,), bool; only exact depth has edges worth a gradient

    def __post_init__(self) -> None:
        shape = tuple(self.depth.shape)
        if len(shape) != 4 or self.valid.shape != shape or self.cameras.world_from_cam.shape[:-2] != shape[:2]:
            raise InputError(
                "Targets need depth and valid (B, S, H, W) and cameras (B, S), got "
                f"{shape}, {tuple(self.valid.shape)} and {tuple(self.cameras.world_from_cam.shape[:-2])}"
            )
        if self.valid.dtype != torch.bool or self.is_synthetic.shape != shape[:1]:
            raise InputError(
                f"Targets need valid of type bool and is_synthetic (B,) with B = {shape[0]}, got "
                f"{self.valid.dtype} and {tuple(self.is_synthetic.shape)}"
            )

    @classmethod
    def from_views(cls, views: Views) -> Targets:
        """Targets of a batch in any world frame; pixels without a finite depth above 0 are not valid."""
        valid = views.valid & torch.isfinite(views.depth) & (views.depth > 0)
        cameras = Cameras(to_first_camera(views.world_from_cam), views.intrinsics)
        return cls(torch.where(valid, views.depth, 0.0), valid, cameras, views.is_synthetic)


@dataclass(frozen=True)
class LossTerms:
    """Scalars of one batch: ``total`` is the weighted sum of the second group, the third explains it."""

    total: Tensor

    point: Tensor
    depth: Tensor
    ray: Tensor
    camera: Tensor

    point_error: Tensor  # mean over all valid pixels of the batch, in units of the mean distance
    depth_error: Tensor  # likewise
    depth_gradient: Tensor
    log_confidence: Tensor  # mean over all valid pixels of the batch; 0 where confidence is not trained
    translation: Tensor
    rotation: Tensor
    field_of_view: Tensor
    gauge: Tensor  # mean squared logarithm of the prediction's scale
    pairs: Tensor  # relative poses of all pairs of views
    nonfinite: Tensor  # how many values were NaN or infinite; their errors count as 0
    clamped: Tensor  # how many errors were above the maximum

    def named(self) -> dict[str, Tensor]:
        """All terms by name, detached, for logging."""
        return {item.name: getattr(self, item.name).detach() for item in fields(self)}


def compute_losses(prediction: PredictionLike, targets: Targets, config: LossConfig) -> LossTerms:
    """All loss terms of a batch, in float32 whatever autocast says; source: paper, training objective.

    Predictions and ground truth are each divided by the mean distance of their own valid points, and
    gradients flow through the prediction's. NaN and infinite errors count as 0 and errors are clamped to
    ``max_error``; both are counted in the result and reported by one warning, never raised.

    Raises:
        InputError: a prediction of another shape than the targets.
    """
    _check_shapes(prediction, targets.valid)
    valid, guard = targets.valid, _Guard(config.max_error, targets.valid.device)
    with torch.autocast(valid.device.type, enabled=False):
        rays = prediction.ray_directions, prediction.ray_origins
        truth = _target_maps(targets, guard)
        found = _maps(prediction.depth, rays, prediction.pose_encoding, valid, guard).known_beside(truth)
        point_error = guard.bounded((found.points - truth.points).norm(dim=-1), valid & found.points_known)
        depth_error = guard.bounded((found.depth - truth.depth).abs(), valid & found.depth_known)
        gradient = _depth_gradient(found, truth, targets, guard, config.gradient_strides)
        depth, log_confidence = per_sample(depth_error, valid), torch.zeros_like(gradient)
        if config.confidence:
            confidence = prediction.depth_confidence.float()
            depth, log_confidence = _with_confidence(depth_error, confidence, valid, guard, config)
        ray = _ray_loss(found, truth, valid, guard, config.min_pixels)
        translation, rotation, fov = _camera_losses(found, truth, valid, guard, config.min_pixels)
        camera = translation + rotation + config.field_of_view * fov
        point, depth = per_sample(point_error, valid), depth + gradient
        total = config.point * point + config.depth * depth + config.ray * ray + config.camera * camera
        gauge = found.scale.log().square().mean()
        pairs = _pair_loss(found, truth, valid, guard, config.min_pixels)
        total = total + config.gauge * gauge + config.pairs * pairs
        pooled = [_mean(error.detach(), valid) for error in (point_error, depth_error)]
    guard.warn()
    cameras = translation, rotation, fov, gauge, pairs
    explained = *pooled, gradient, log_confidence, *cameras, guard.nonfinite, guard.clamped
    return LossTerms(total, point, depth, ray, camera, *explained)


class _Guard:
    """Makes values finite and errors bounded, and counts what had to change."""

    def __init__(self, max_error: float, device: torch.device) -> None:
        self.max_error = max_error
        self.nonfinite = torch.zeros((), dtype=torch.long, device=device)
        self.clamped = torch.zeros((), dtype=torch.long, device=device)

    def finite(self, value: Tensor) -> tuple[Tensor, Tensor]:
        """The value with 0 for what is NaN or infinite, and where it was finite.

        Before any arithmetic: a gradient of 0 times an infinite derivative is NaN.
        """
        known = torch.isfinite(value.detach())
        self.nonfinite = self.nonfinite + (~known).sum()
        return torch.where(known, value, 0.0), known

    def bounded(self, error: Tensor, mask: Tensor) -> Tensor:
        """Errors of at most the maximum; 0 where they overflowed and outside ``mask``."""
        known = torch.isfinite(error.detach()) & mask
        self.nonfinite = self.nonfinite + (~known & mask).sum()
        error = torch.where(known, error, 0.0)
        self.clamped = self.clamped + (error.detach() > self.max_error).sum()
        return error.clamp(max=self.max_error)

    def warn(self) -> None:
        nonfinite, clamped = torch.stack([self.nonfinite, self.clamped]).tolist()  # one wait for the device
        if nonfinite or clamped:
            logger.warning(
                "losses: %d values NaN or infinite, counted as no error; %d errors above %g, clamped",
                nonfinite, clamped, self.max_error,
            )  # fmt: skip


@dataclass(frozen=True)
class _Maps:
    """A prediction or a ground truth, divided by its own scale, and where it is finite."""

    scale: Tensor  # (B,), mean distance of the valid points before the division
    depth: Tensor  # (B, S, H, W)
    depth_known: Tensor  # (B, S, H, W), bool
    points: Tensor  # (B, S, H, W, 3)
    points_known: Tensor  # (B, S, H, W), bool
    rays: Tensor  # (B, S, H, W, 6), direction then origin
    rays_known: Tensor  # (B, S, H, W, 6), bool
    pose: Tensor  # (B, S, 9)
    pose_known: Tensor  # (B, S, 9), bool

    def known_beside(self, other: _Maps) -> _Maps:
        """The same maps, known only where the other ones are, too."""
        names = ("depth_known", "points_known", "rays_known", "pose_known")
        return replace(self, **{name: getattr(self, name) & getattr(other, name) for name in names})


def _maps(depth: Tensor, rays: tuple[Tensor, Tensor], pose: Tensor, valid: Tensor, guard: _Guard) -> _Maps:
    depth, depth_known = guard.finite(depth.float())
    directions, directions_known = guard.finite(rays[0].float())
    origins, origins_known = guard.finite(rays[1].float())
    pose, pose_known = guard.finite(pose.float())
    points = origins + directions * depth.unsqueeze(-1)
    rays_known = torch.cat([directions_known, origins_known], dim=-1)
    known = rays_known.all(-1) & depth_known & torch.isfinite(points.detach()).all(-1)
    points = torch.where(known.unsqueeze(-1), points, 0.0)
    scale = mean_distance(points, valid & known)[:, None, None]
    per_pixel = scale[..., None, None]
    return _Maps(
        scale[:, 0, 0], depth / scale[..., None], depth_known, points / per_pixel, known,
        torch.cat([directions, origins / per_pixel], dim=-1), rays_known,
        torch.cat([pose[..., :3] / scale, pose[..., 3:]], dim=-1), pose_known,
    )  # fmt: skip


def _target_maps(targets: Targets, guard: _Guard) -> _Maps:
    height, width = targets.valid.shape[-2:]
    cameras = targets.cameras.to(torch.float32)
    depth = torch.where(targets.valid, targets.depth, 0.0)
    pose = pose_encoding_from_cameras(cameras, height, width)
    return _maps(depth, rays_from_cameras(cameras, height, width), pose, targets.valid, guard)


def _depth_gradient(found: _Maps, truth: _Maps, targets: Targets, guard: _Guard, strides: tuple[int, ...]) -> Tensor:
    """Differences of neighbouring depth errors on subsamplings; views of real data count 0 in the mean."""
    usable = targets.valid & found.depth_known
    residual = torch.where(usable, found.depth - truth.depth, 0.0)
    total = residual.new_zeros(residual.shape[:2])
    for stride in strides:
        mask, value = usable[..., ::stride, ::stride], residual[..., ::stride, ::stride]
        rows = guard.bounded(value.diff(dim=-2).abs(), mask[..., 1:, :] & mask[..., :-1, :])
        columns = guard.bounded(value.diff(dim=-1).abs(), mask[..., 1:] & mask[..., :-1])
        count = targets.valid[..., ::stride, ::stride].sum(dim=(-1, -2)).clamp(min=1)
        total = total + (rows.sum(dim=(-1, -2)) + columns.sum(dim=(-1, -2))) / count
    return torch.where(targets.is_synthetic.unsqueeze(-1), total / len(strides), 0.0).mean()


def _with_confidence(
    error: Tensor, confidence: Tensor, valid: Tensor, guard: _Guard, config: LossConfig
) -> tuple[Tensor, Tensor]:
    """Errors times confidence with a reward for confidence, the worst 2 % left out; and the mean log."""
    confidence, known = guard.finite(confidence)
    usable = valid & known & (confidence > 0)
    log_confidence = torch.where(usable, confidence, 1.0).log()
    value = guard.bounded(confidence * error - config.confidence_reward * log_confidence, usable)
    kept = valid & (value.detach() <= _quantile(value.detach()[valid], config.confidence_quantile))
    return per_sample(value, kept), _mean(log_confidence.detach(), valid)


def _quantile(values: Tensor, share: float) -> Tensor:
    """The largest of ``values`` (N,) at or below their linearly interpolated quantile.

    It separates the same values as the interpolated one, and `torch.quantile` refuses more than 16 M of them.
    """
    if not values.numel():
        return values.new_zeros(())
    return values.kthvalue(int(share * (values.numel() - 1)) + 1).values


def _ray_loss(found: _Maps, truth: _Maps, valid: Tensor, guard: _Guard, min_pixels: int) -> Tensor:
    """Mean over all pixels, valid or not, of the views with enough valid pixels."""
    error = guard.bounded((found.rays - truth.rays).abs(), found.rays_known)
    return _mean(error.mean(dim=(-1, -2, -3)), valid.sum(dim=(-1, -2)) > min_pixels)


def _camera_losses(
    found: _Maps, truth: _Maps, valid: Tensor, guard: _Guard, min_pixels: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Translation, rotation and field of view over the samples whose first view has enough valid pixels."""
    used = valid[:, 0].sum(dim=(-1, -2)) > min_pixels
    error = guard.bounded((found.pose - truth.pose).abs(), found.pose_known)
    translation, rotation, fov = (_mean(part.mean(dim=(-1, -2)), used) for part in error.split([3, 4, 2], dim=-1))
    return translation, rotation, fov


def _pair_loss(found: _Maps, truth: _Maps, valid: Tensor, guard: _Guard, min_pixels: int) -> Tensor:
    """Over all pairs of different views that both have enough valid pixels."""
    used = (valid.sum(dim=(-1, -2)) > min_pixels) & found.pose_known.all(-1)
    both = used.unsqueeze(1) & used.unsqueeze(2)
    both = both & ~torch.eye(used.shape[1], dtype=torch.bool, device=used.device)
    return _mean(guard.bounded(pair_errors(found.pose, truth.pose), both), both)


def _mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of the values in a mask of the same shape; 0 when there are none."""
    return torch.where(mask, values, 0.0).sum() / mask.sum().clamp(min=1)


def per_sample(values: Tensor, mask: Tensor) -> Tensor:
    """Mean per sample, then over all samples; one without pixels counts 0, so that ranks average alike."""
    total = torch.where(mask, values, 0.0).flatten(1).sum(dim=1)
    return (total / mask.flatten(1).sum(dim=1).clamp(min=1)).mean()


def _check_shapes(prediction: PredictionLike, valid: Tensor) -> None:
    maps = tuple(valid.shape)
    wanted = {
        "depth": maps, "depth_confidence": maps, "ray_directions": (*maps, 3), "ray_origins": (*maps, 3),
        "pose_encoding": (*maps[:2], 9),
    }  # fmt: skip
    for name, shape in wanted.items():
        if tuple(getattr(prediction, name).shape) != shape:
            raise InputError(f"{name} must be {shape}, got {tuple(getattr(prediction, name).shape)}")
