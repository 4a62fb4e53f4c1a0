"""Registers a window to the map: a robust Sim(3) from the pixels of the views that both share.

Each part comes from the data that determine it best:

    scale        the ratio of both depths of a pixel, which needs neither rotation nor position
    rotation     both orientations of each shared camera
    translation  the points, given scale and rotation

A point depends on its camera and on its depth. A fit of the points alone therefore has the errors of both: a smooth
depth error of 1 % tilts a map by degrees over 200 windows. If the cameras are wrong, both methods are about equal
(``benchmarks/registration_drift.py``). All parts are symmetric: the reverse registration is the inverse. No random
numbers.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from ...alignment import Sim3
from ...errors import AlignmentError, InputError
from ...geometry import rotate
from ...robust import soften

MIN_POINTS = 50
ROUNDS = 6  # of reweighting; one more changes the result by much less than its noise
MIN_DISTANCE_SHARE = 0.2  # of the median depth; nearer points do not get more weight
MIN_AGREEMENT = 0.5  # cosine of half the largest angle between cameras that still have a mean: 120 degrees


@dataclass(frozen=True, eq=False)
class SharedPoints:
    """The same P pixels of V views in a window and in the map; a few thousand in all are enough.

    Only pixels whose values are all finite, with depths and weight above 0, are used.
    """

    in_window: Tensor  # (V, P, 3)
    in_map: Tensor  # (V, P, 3)
    weights: Tensor  # (V, P), confidence
    depth_in_window: Tensor  # (V, P), the window's unit; a point's noise is proportional to it
    depth_in_map: Tensor  # (V, P), the map's unit
    window_from_cam: Tensor  # (V, 3, 3), rotations of the views' cameras
    map_from_cam: Tensor  # (V, 3, 3)

    def __post_init__(self) -> None:
        views, count = self.weights.shape if self.weights.dim() == 2 else (0, 0)
        points = (views, count, 3)
        maps = (views, count)
        rotations = (views, 3, 3)
        expected = (points, points, maps, maps, maps, rotations, rotations)
        for entry, shape in zip(fields(self), expected, strict=True):
            found = tuple(getattr(self, entry.name).shape)
            if found != shape:
                raise InputError(f"{entry.name} must be {shape} for weights (V, P), got {found}")


@dataclass(frozen=True, eq=False)
class Registration:
    """A window's registration to the map, float64."""

    map_from_window: Sim3
    residual: float  # median distance of all shared points (outliers included), relative to their depth


@dataclass(frozen=True, eq=False)
class _Pairs:
    """The N usable pixels of all views."""

    in_window: Tensor  # (N, 3)
    in_map: Tensor  # (N, 3)
    confidence: Tensor  # (N,)
    log_ratio: Tensor  # (N,) of the depths, map over window
    noise: Tensor  # (N,) relative to each other: the depth (geometric mean of both)
    view: Tensor  # (N,) index
    map_from_window: Tensor  # (V, 3, 3) rotation by each camera; 0 where it is unknown


def register_points(points: SharedPoints) -> Registration:
    """Robust against a third of the pixels being wrong; computes in float64 on the CPU.

    The caller decides by the residual whether the registration is good enough: it is large for windows that do not see
    the same scene.

    Raises:
        AlignmentError: fewer than 50 pixels count, or the cameras contradict each other.
    """
    pairs = _prepare(points)
    scale, share = _fit_scale(pairs)
    for _ in range(ROUNDS):
        rotation = _mean_rotation(pairs, share)
        offset = pairs.in_map - scale * rotate(rotation, pairs.in_window)
        translation = _mean(offset, share * pairs.noise.pow(-2))
        residual = (offset - translation).norm(dim=-1) / (scale.sqrt() * pairs.noise)
        share = soften(residual, float(residual.median()), pairs.confidence)
    return Registration(Sim3(scale, rotation, translation), float(residual.median()))


def _prepare(points: SharedPoints) -> _Pairs:
    cpu = {entry.name: getattr(points, entry.name).to("cpu", torch.float64) for entry in fields(points)}
    in_window, in_map, weights, depth_in_window, depth_in_map, window_from_cam, map_from_cam = cpu.values()
    map_from_window = map_from_cam @ window_from_cam.mT
    posed = map_from_window.isfinite().all(dim=-1).all(dim=-1)
    usable = posed[:, None] & in_window.isfinite().all(dim=-1) & in_map.isfinite().all(dim=-1)
    for values in (weights, depth_in_window, depth_in_map):
        usable &= values.isfinite() & (values > 0)
    count = int(usable.sum())
    if count < MIN_POINTS:
        raise AlignmentError(f"{count} of {usable.numel()} shared pixels can be used, at least {MIN_POINTS} must be")
    near, far = depth_in_window[usable], depth_in_map[usable]
    noise = (near * far).sqrt()
    return _Pairs(
        in_window[usable], in_map[usable], weights[usable], (far / near).log(),
        noise.clamp(min=MIN_DISTANCE_SHARE * noise.median()),
        usable.nonzero()[:, 0], torch.where(posed[:, None, None], map_from_window, 0.0),
    )  # fmt: skip


def _fit_scale(pairs: _Pairs) -> tuple[Tensor, Tensor]:
    """Map unit per window unit, and how much each pair counts after it."""
    mean = (pairs.log_ratio.median() - (-pairs.log_ratio).median()) / 2  # of an even count the lower one is taken
    spread = float((pairs.log_ratio - mean).abs().median())
    for _ in range(ROUNDS):
        share = soften(pairs.log_ratio - mean, spread, pairs.confidence)
        mean = _mean(pairs.log_ratio, share)
    return mean.exp(), share


def _mean_rotation(pairs: _Pairs, share: Tensor) -> Tensor:
    """(3, 3) nearest to those of all cameras; a camera counts as much as its pixels."""
    per_view = torch.zeros(len(pairs.map_from_window), dtype=torch.float64).index_add(0, pairs.view, share)
    u, spread, vt = torch.linalg.svd(_mean(pairs.map_from_window.flatten(1), per_view).view(3, 3))
    signs = torch.ones(3, dtype=torch.float64)
    signs[2] = torch.linalg.det(u @ vt).sign()
    if (spread * signs)[1:].sum() < 2 * MIN_AGREEMENT:
        raise AlignmentError("the shared cameras contradict each other: no rotation is near all of them")
    return (u * signs) @ vt


def _mean(values: Tensor, weights: Tensor) -> Tensor:
    """Over the first dimension of (N, ...)."""
    return torch.tensordot(weights / weights.sum(), values, dims=1)
