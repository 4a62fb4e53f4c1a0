"""Several reference views: one set of features from several sides, and one answer of all (arXiv 2412.06974).

    paths = predict_paths(model, model.encode(images), K, spread_references(num_views, M))
    prediction = fuse(paths).prediction

The network answers in the frame of one view, and does best for what that view sees. Images are encoded once; each path
runs the loop with another view as the reference. Nothing is trained for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..alignment import Sim3, fit_sim3
from ..cameras import fit_cameras, pose_encoding_from_cameras
from ..errors import AlignmentError, InputError
from ..geometry import rotate
from .checks import checked_views
from .stages import Features, Looped, Prediction

DISAGREES = 0.2  # median distance between two paths' points over the distance to the reference: one of them is wrong


def spread_references(num_views: int, count: int) -> list[int]:
    """``count`` views, evenly spread over all of them, the first one among them.

    Raises:
        InputError: not from 1 to the number of views.
    """
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= num_views:
        raise InputError(f"references must be from 1 to the number of views, {num_views}, got {count!r}")
    return [i * num_views // count for i in range(count)]


def predict(
    model: Looped, features: Features, num_steps: int, references: int = 1, views: Sequence[int] | None = None
) -> Prediction:
    """The answer of K steps, in the first view's frame: of one path, or of several reference views together.

    Args:
        views: those that are decoded, all by default.

    Raises:
        InputError: more references than views.
    """
    chosen = spread_references(features.tokens.shape[1], references)
    paths = predict_paths(model, features, num_steps, chosen, views)
    return paths[0] if references == 1 else fuse(paths).prediction


def predict_paths(
    model: Looped,
    features: Features,
    num_steps: int,
    references: Sequence[int],
    views: Sequence[int] | None = None,
) -> list[Prediction]:
    """One prediction of the same views per reference, each in the frame of its own reference.

    One after the other: they take no more memory than one, and a graph that was captured serves all of them.
    """
    num_views = features.tokens.shape[1]
    decoded = checked_views(range(num_views) if views is None else views, num_views)
    return [_path(model, features, num_steps, reference, decoded) for reference in checked_views(references, num_views)]


def _path(model: Looped, features: Features, num_steps: int, reference: int, views: Sequence[int]) -> Prediction:
    if reference == 0:
        return model.run_and_decode(model.begin(features), num_steps, views)
    order = reference_first(features.tokens.shape[1], reference)
    begun = model.begin(features.views(order))
    return model.run_and_decode(begun, num_steps, [order.index(view) for view in views])


def reference_first(num_views: int, reference: int) -> list[int]:
    """Indices of all views, the reference before the others, which keep their order."""
    return [reference, *(view for view in range(num_views) if view != reference)]


@dataclass(frozen=True)
class Fusion:
    """What several paths say together."""

    prediction: Prediction  # in the frame and unit of the first path
    disagreement: Tensor  # (M, B), each path's median distance to the first one's points over that to the reference
    used: Tensor  # (M, B), bool; the first path always is


def fuse(paths: Sequence[Prediction]) -> Fusion:
    """Late fusion: each path is moved into the first one's frame by the similarity that fits its points best, weighed
    by both confidences; depth, rays and confidence are then means weighed by confidence.

    A path that disagrees with the first one, or whose points give no similarity, is left out.
    """
    first = paths[0]
    moved = [first]
    disagreement = [first.depth.new_zeros(len(first.depth))]
    for path in paths[1:]:
        try:
            first_from_path = fit_sim3(
                path.points.flatten(1, 3),
                first.points.flatten(1, 3),
                (path.depth_confidence * first.depth_confidence).flatten(1),
                scale_estimator="symmetric",
            )
        except AlignmentError:
            moved.append(first)
            disagreement.append(torch.full_like(disagreement[0], torch.inf))
            continue
        moved.append(_moved(path, first_from_path))
        distance = (moved[-1].points - first.points).norm(dim=-1) / first.points.norm(dim=-1)
        disagreement.append(distance.flatten(1).median(dim=1).values)
    apart = torch.stack(disagreement)
    used = apart <= DISAGREES
    return Fusion(_mean(moved, used), apart, used)


def _moved(path: Prediction, first_from_path: Sim3) -> Prediction:
    """Directions turn with the frame and keep their length, so that depth times direction is scaled once."""
    return Prediction(
        depth=first_from_path.scale[:, None, None, None] * path.depth,
        depth_confidence=path.depth_confidence,
        ray_directions=rotate(first_from_path.rotation, path.ray_directions),
        ray_origins=first_from_path.apply(path.ray_origins),
        pose_encoding=path.pose_encoding,  # the fused one is that of the fused rays
    )


def _mean(paths: Sequence[Prediction], used: Tensor) -> Prediction:
    confidence = torch.stack([path.depth_confidence for path in paths]) * used[:, :, None, None, None]
    share = confidence / confidence.sum(dim=0)

    def mean(values: Sequence[Tensor]) -> Tensor:
        stacked = torch.stack(list(values))
        return (share.reshape(*share.shape, *(1,) * (stacked.dim() - share.dim())) * stacked).sum(dim=0)

    directions = mean([path.ray_directions for path in paths])
    origins = mean([path.ray_origins for path in paths])
    return Prediction(
        depth=mean([path.depth for path in paths]),
        depth_confidence=mean([path.depth_confidence for path in paths]),
        ray_directions=directions,
        ray_origins=origins,
        pose_encoding=pose_encoding_from_cameras(fit_cameras(directions, origins), *directions.shape[2:4]),
    )
