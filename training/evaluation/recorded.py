"""Windows with ground truth as a Rerun recording: what was found beside what is true, in the truth's frame and unit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dvlt_ros.alignment import fit_sim3_robust
from dvlt_ros.export.rerun import LoggedView, RerunRecording
from dvlt_ros.geometry import transform_points, unproject

from ..data.types import Views
from ..losses.normalize import to_first_camera
from .candidates import Geometry, Run

MOST_POINTS = 20_000  # of each view
ABOUT = "The found is aligned to the truth by one similarity per window; lengths are metres."


def record_windows(path: Path, run: Run, windows: Sequence[Views], num_steps: int, most: int = 8) -> None:
    """At most so many windows, evenly chosen, each in a space ``window_N`` with ``truth`` and ``found`` below it.

    Raises:
        ConfigError: Rerun is not installed.
        InputError: the file cannot be written.
        AlignmentError: a window's truth has too few points to align to.
    """
    chosen = torch.linspace(0, len(windows) - 1, min(most, len(windows))).long().tolist()
    with RerunRecording(path, ABOUT) as recording:
        spaces = [f"window_{index}" for index in chosen]
        cameras = [
            f"{space}/{side}/{i}"
            for side in ("found", "truth")
            for index, space in zip(chosen, spaces, strict=True)
            for i in range(windows[index].images.shape[1])
        ]
        recording.show(spaces, cameras)
        for index, space in zip(chosen, spaces, strict=True):
            views = windows[index].to("cpu")
            with torch.inference_mode():
                prediction = run(views.images, num_steps)
            recording.begin_space(space, "optical")
            record_window(recording, space, views, prediction)


def record_window(recording: RerunRecording, space: str, views: Views, prediction: Geometry) -> None:
    """The first window of a batch, view by view."""
    truth_poses, valid = to_first_camera(views.world_from_cam)[0], views.valid[0]
    truth_points = transform_points(truth_poses, unproject(views.depth[0], views.intrinsics[0]))
    found_points, cameras = prediction.points[0].cpu(), prediction.cameras().to("cpu")
    truth_from_found = fit_sim3_robust(found_points[valid].float(), truth_points[valid])
    found_poses = truth_from_found.apply_to_poses(cameras.world_from_cam[0])
    found_depth = truth_from_found.scale * prediction.depth[0].cpu()
    true_depth = views.depth[0].where(valid, torch.nan)
    true_points = truth_points.where(valid[..., None], torch.nan)
    sides = {
        "truth": (true_depth, None, views.intrinsics[0], truth_poses, true_points),
        "found": (
            found_depth, prediction.depth_confidence[0], cameras.intrinsics[0], found_poses,
            truth_from_found.apply(found_points),
        ),
    }  # fmt: skip
    for index, image in enumerate(views.images[0]):
        rgb = _array(image.permute(1, 2, 0).mul(255).round().byte())
        recording.set_view(index)
        for side, (depth, confidence, intrinsics, poses, points) in sides.items():
            shown = None if confidence is None else _array(confidence[index].float())
            recording.log_camera(
                f"{space}/{side}/{index}",
                LoggedView(rgb, _array(depth[index].float()), shown, _array(intrinsics[index]), _array(poses[index])),
            )
            recording.log_points(f"{space}/{side}/points/{index}", *thinned(_array(points[index].float()), rgb))


def thinned(points: np.ndarray, rgb: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Finite points (N, 3) of a view (H, W, 3), evenly at most `MOST_POINTS`, with their colours."""
    kept = np.flatnonzero(np.isfinite(points).all(axis=-1))
    kept = kept[:: max(1, -(-len(kept) // MOST_POINTS))]
    return points.reshape(-1, 3)[kept], rgb.reshape(-1, 3)[kept]


def _array(values: Tensor) -> np.ndarray:
    array: np.ndarray = values.detach().cpu().numpy()
    return array
