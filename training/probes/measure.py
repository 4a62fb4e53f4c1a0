"""Figures of layers: errors of point maps, how far the state has come, and how it moves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from dvlt_ros.alignment import fit_sim3_robust
from dvlt_ros.errors import AlignmentError
from dvlt_ros.geometry import transform_points, unproject
from dvlt_ros.model.stages import update_sizes

from ..data.types import Views, concatenate
from ..evaluation.metrics import INLIER_ERROR, relative_distances
from ..losses.normalize import normalize_views
from .probe import Probe, Truth, by_patch

PIXEL_STRIDE = 3  # of the pixels of a patch, when errors are measured; no column of 14 or 16 is always left out
TOP_CHANNELS = 0.01  # share of the channels whose part of the squared norm is watched


@dataclass(frozen=True, eq=False)
class Judged:
    """Windows to judge by, and their true points in the first camera's frame and the window's unit."""

    truth: Truth

    @classmethod
    def of(cls, windows: Sequence[Views], patch: int) -> Judged:
        views, _ = normalize_views(concatenate(windows))
        points = transform_points(views.world_from_cam, unproject(views.depth, views.intrinsics))
        per_patch = by_patch(points.movedim(-1, -3), patch).movedim(-3, -1)  # (N, S, n, p * p, 3)
        return cls(Truth(per_patch.contiguous(), by_patch(views.valid, patch)))


@dataclass(frozen=True, eq=False)
class PointErrors:
    """Of N windows after one similarity each, NaN where there is none; (N,) each."""

    rel_l2: Tensor
    inlier_ratio: Tensor
    rel_l2_first: Tensor  # of the first view alone
    rel_l2_others: Tensor


def point_errors(points: Tensor, truth: Truth) -> PointErrors:
    """Of points (N, S, n, p * p, 3)."""
    rows = [_window_errors(*each) for each in zip(points, truth.points, truth.valid, strict=True)]
    return PointErrors(*torch.tensor(rows).unbind(1))


def _window_errors(found: Tensor, truth: Tensor, valid: Tensor) -> list[float]:
    found, truth, valid = (x[:, :, ::PIXEL_STRIDE] for x in (found, truth, valid))
    try:
        similarity = fit_sim3_robust(found[valid].double(), truth[valid].double())
    except AlignmentError:
        return [torch.nan] * 4
    errors = [
        relative_distances(similarity.apply(found[part][valid[part]].double()), truth[part][valid[part]].double())
        for part in (slice(0, 1), slice(1, None))
    ]
    every = torch.cat(errors)
    inliers = (every < INLIER_ERROR).double()
    return [float(x.mean()) for x in (every, inliers, *errors)]


def probed(probe: Probe, tokens: Tensor) -> Tensor:
    """Points (N, S, n, p * p, 3) of tokens (N, S, n, C)."""
    with torch.inference_mode():
        return torch.cat([probe(part)[0] for part in tokens.split(8)])


@dataclass(frozen=True)
class Movement:
    """How the state moves, by step from 0 to K, means over tokens and windows."""

    cosine: list[float]  # of the state with the final one
    update: list[float]  # norm of the change over that of the state before; from step 1
    norm: list[float]  # over that of the first state
    direction: list[float]  # cosine of the change with the way that was left; from step 1
    top_share: list[float]  # of the squared norm in the largest 1 % of the channels


def movement(states: Sequence[Tensor]) -> Movement:
    """Of the states (N, S, n, C) of all steps."""
    first, final = states[0], states[-1]
    pairs = list(pairwise(states))
    return Movement(
        cosine=[float(F.cosine_similarity(state, final, dim=-1).mean()) for state in states],
        update=[float(update_sizes(a, b).mean()) for a, b in pairs],
        norm=[float(state.norm() / first.norm()) for state in states],
        direction=[float(F.cosine_similarity(b - a, final - a, dim=-1).mean()) for a, b in pairs],
        top_share=[top_share(state) for state in states],
    )


def top_share(state: Tensor) -> float:
    """Part of the squared norm that the largest 1 % of the channels have."""
    power = state.flatten(0, -2).square().sum(0)
    count = max(1, round(TOP_CHANNELS * len(power)))
    return float(power.topk(count).values.sum() / power.sum())
