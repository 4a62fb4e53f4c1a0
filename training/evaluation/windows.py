"""How good a network is on windows with ground truth: the figures of `evaluate`, of validation and of the gate."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from dvlt_ros.backends.images import prepare_for
from dvlt_ros.errors import AlignmentError, DataError
from dvlt_ros.geometry import transform_points, unproject
from dvlt_ros.model import Dvlt
from dvlt_ros.model.config import PATCH_SIZE

from ..batches.augment import Frame
from ..data.sequence import RgbdSequence
from ..data.types import Views
from ..losses.normalize import to_first_camera
from .candidates import Geometry
from .metrics import aggregate, depth_metrics, point_metrics, pose_metrics

MIN_BASELINE = 0.05  # of the median depth; closer pairs of cameras have no direction between them to judge


def evaluate_windows(model: Dvlt, batches: Iterable[Views], num_steps: int) -> list[dict[str, float]]:
    """Metrics of every window, by name."""
    device = next(model.parameters()).device
    results = []
    for views in batches:
        views = views.to(device)
        with torch.inference_mode():
            prediction = model(views.images, num_steps=num_steps)
        results += window_metrics(prediction, views)
    return results


def window_metrics(prediction: Geometry, views: Views) -> list[dict[str, float]]:
    """Depth, pose and point metrics of each window of a batch; NaN where a window has no answer.

    ``abs_rel`` and ``delta1`` are after one median scale per window, ``auc@k`` over the pairs of views whose
    baseline is above 5 % of the median depth.
    """
    truth_poses = to_first_camera(views.world_from_cam)
    truth_points = transform_points(truth_poses, unproject(views.depth, views.intrinsics))
    found_poses = prediction.cameras().world_from_cam
    results = []
    for i in range(len(views.images)):
        valid, depth = views.valid[i], views.depth[i]
        if not valid.any():
            results.append({"abs_rel": math.nan})
            continue
        depths = depth_metrics(prediction.depth[i], depth, valid, align="median_scale").named()
        baseline = MIN_BASELINE * float(depth[valid].median())
        poses = pose_metrics(found_poses[i], truth_poses[i], min_baseline=baseline).named()
        kept = {name: poses[name] for name in ("auc@3", "auc@30", "rotation_error_deg", "translation_error_deg")}
        results.append(depths | kept | _points(prediction.points[i], truth_points[i], valid))
    return results


def _points(found: Tensor, truth: Tensor, valid: Tensor) -> dict[str, float]:
    try:
        return point_metrics(found, truth, valid).named()
    except AlignmentError:
        return {"rel_l2": math.nan, "inlier_ratio": math.nan}


def means(results: list[dict[str, float]]) -> dict[str, float]:
    return {name: value.mean for name, value in aggregate(results).items()}


def recording_windows(
    sequence: RgbdSequence, image_size: int, views: int, stride: int = 1, patch_size: int = PATCH_SIZE
) -> Iterator[Views]:
    """Windows (1, S, ...) that tile a recording: every ``stride``-th frame, none used twice.

    Images as the network gets them on a robot: longest edge ``image_size``, cropped to whole patches.

    Raises:
        DataError: fewer frames than one window has.
    """
    span = views * stride
    if len(sequence) < span - stride + 1:
        raise DataError(f"{sequence.name}: {len(sequence)} frames are too few for {views} views {stride} frames apart")
    for start in range(0, len(sequence) - span + stride, span):
        yield recorded_window([sequence.frame(start + i * stride) for i in range(views)], image_size, patch_size)


def recorded_window(frames: Sequence[Frame], image_size: int, patch_size: int = PATCH_SIZE) -> Views:
    """One window (1, S, ...) of frames of equal size, as inference prepares them."""
    prepared = prepare_for(patch_size, [frame.image for frame in frames], image_size)
    depth, intrinsics = [], []
    for frame, mapping in zip(frames, prepared.mappings, strict=True):
        depth.append(mapping.map_to_network(torch.from_numpy(frame.depth)).nan_to_num(0.0))
        intrinsics.append(mapping.intrinsics_to_network(torch.from_numpy(frame.intrinsics)).float())
    depths = torch.stack(depth)[None]
    poses = torch.from_numpy(np.stack([frame.world_from_cam for frame in frames]))[None].float()
    valid = (depths > 0) & prepared.valid
    return Views(prepared.images, poses, torch.stack(intrinsics)[None], depths, valid, torch.zeros(1, dtype=torch.bool))
