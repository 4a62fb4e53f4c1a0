"""The map's frame: registers each window to the map, or begins another map if it does not fit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch

from ...alignment import Sim3
from ...errors import AlignmentError
from ...geometry import every, pixel_grid
from ...model import PixelMapping
from ...refinement import NO_LANDMARKS
from ..data.frames import Reconstruction, RegistrationReport
from ..data.views import Anchor, View
from ..inference.prediction import WindowPrediction
from .config import ConfidenceConfig
from .registration import SharedPoints, register_points
from .shared_landmarks import shared_landmarks

MAP_FROM_OPTICAL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])  # x forward, z up (REP-103)
POINTS_PER_REGISTRATION = 6000


class MapFrame:
    """The id of the current map, and the poses of windows in it.

    Without gravity the first camera of a map looks along x with its image's top along z; the cameras of a rig are
    mounted on a body with x forward and z up.
    """

    def __init__(self) -> None:
        self.map_id = 0
        self._is_empty = True

    def restart(self) -> None:
        """The next window begins another map; an empty map is kept."""
        if not self._is_empty:
            self.map_id += 1
            self._is_empty = True

    def place(
        self,
        prediction: WindowPrediction,
        shared: Sequence[Anchor],
        max_residual: float,
        axes: Callable[[int], np.ndarray],
    ) -> tuple[Sim3, RegistrationReport]:
        """map_from_window, and how it was found.

        Args:
            prediction: the shared views first, then new views, at least one of them with a known pose.
            axes: gives map_from_cam (3, 3) of a map that begins at the view with this index. If it raises, the map
                has not begun.
        """
        report = RegistrationReport("first", None)
        if shared and not self._is_empty:
            try:
                shown = shared_landmarks(prediction, shared) or shared_points(prediction, shared)
                registration = register_points(shown)
                if registration.residual <= max_residual:
                    return registration.map_from_window, RegistrationReport("joined", registration.residual)
                reason = f"residual {registration.residual:.3f} is above registration.max_residual {max_residual}"
                report = RegistrationReport("refused", registration.residual, reason)
            except AlignmentError as error:
                report = RegistrationReport("refused", None, str(error))
            self.restart()
        known = np.isfinite(prediction.window_from_cam).all(axis=(-2, -1))
        first = len(shared) + int(known[len(shared) :].argmax())
        map_from_window = begin_at(prediction.window_from_cam[first], axes(first))
        self._is_empty = False
        return map_from_window, report


def begin_at(window_from_cam: np.ndarray, map_from_optical: np.ndarray) -> Sim3:
    """map_from_window of a map that begins at this camera (4, 4), with the camera's rotation (3, 3) in the map."""
    rotation = map_from_optical @ window_from_cam[:3, :3].T
    translation = -rotation @ window_from_cam[:3, 3]
    return Sim3.of(1.0, rotation, translation)


def shared_points(prediction: WindowPrediction, shared: Sequence[Anchor]) -> SharedPoints:
    """The pixels of the views that window and map share, evenly thinned."""
    height, width = prediction.depth.shape[1:]
    stride = max(1, round((len(shared) * height * width / POINTS_PER_REGISTRATION) ** 0.5))
    thin = every(stride)
    found: list[tuple[np.ndarray, ...]] = []
    for view, known in enumerate(shared):
        depth = prediction.depth[view]
        intrinsics = prediction.intrinsics[view]
        anchor = on_grid(known, (height, width), intrinsics)
        window_from_cam, map_from_cam = prediction.window_from_cam[view], anchor.map_from_cam
        found.append(
            (
                unprojected(depth, intrinsics, window_from_cam, stride),
                unprojected(anchor.depth, anchor.intrinsics, map_from_cam, stride),
                np.minimum(prediction.confidence[view][thin], anchor.confidence[thin]).ravel(),
                depth[thin].ravel(),
                anchor.depth[thin].ravel(),
                window_from_cam[:3, :3],
                map_from_cam[:3, :3],
            )
        )
    return SharedPoints(*(torch.from_numpy(np.stack(part)) for part in zip(*found, strict=True)))


def on_grid(anchor: Anchor, size: tuple[int, int], intrinsics: np.ndarray) -> Anchor:
    """The anchor resampled (nearest) to another size (height, width), if the network's resolution has changed."""
    if anchor.depth.shape == size:
        return anchor
    pixels = np.insert(pixel_grid(size), 2, 1.0, axis=-1) @ (anchor.intrinsics @ np.linalg.inv(intrinsics)).T
    pixels = np.nan_to_num(pixels)  # without a camera any pixel will do
    height, width = anchor.depth.shape
    here = pixels[..., 1].clip(0, height - 1).astype(np.intp), pixels[..., 0].clip(0, width - 1).astype(np.intp)
    return replace(anchor, depth=anchor.depth[here], confidence=anchor.confidence[here], intrinsics=intrinsics)


def unprojected(depth: np.ndarray, intrinsics: np.ndarray, target_from_cam: np.ndarray, stride: int) -> np.ndarray:
    """Points (N, 3) in the target frame of a depth map (H, W) thinned by ``stride``; NaN where the depth is NaN."""
    directions = np.insert(pixel_grid(depth.shape, stride), 2, 1.0, axis=-1) @ np.linalg.inv(intrinsics).T
    points = (directions * depth[every(stride)][..., None]).reshape(-1, 3)
    return points @ target_from_cam[:3, :3].T + target_from_cam[:3, 3]


def anchor_views(views: Sequence[View], prediction: WindowPrediction, map_from_window: Sim3) -> list[Anchor]:
    """The decoded views in the map, without those whose pose is unknown."""
    depth = map_from_window.apply_to_depth(prediction.depth)
    map_from_cam = map_from_window.apply_to_poses(prediction.window_from_cam)
    scale = map_from_window.scale.item()
    hidden = None if prediction.hidden is None else map_from_window.apply_to_depth(prediction.hidden)
    landmarks = [seen.scaled(scale) for seen in prediction.landmarks] or [NO_LANDMARKS] * len(depth)
    return [
        Anchor(
            view,
            depth[i],
            prediction.confidence[i],
            prediction.intrinsics[i],
            map_from_cam[i],
            landmarks[i],
            None if hidden is None else hidden[i],
        )
        for i, view in enumerate(views)
        if np.isfinite(map_from_cam[i]).all()
    ]


def reconstruct(anchor: Anchor, mapping: PixelMapping, map_id: int, config: ConfidenceConfig) -> Reconstruction:
    """A view as it is published, as its camera took it: depth that is not trusted is NaN."""
    frame, turn = anchor.view.frame, anchor.view.turn
    depth = np.where(trusted(anchor, config), anchor.depth, np.float32(np.nan))
    masked = None
    if anchor.hidden is not None:
        masked = np.isfinite(anchor.hidden) & (anchor.confidence >= config.min)
        depth = np.where(masked, anchor.hidden, depth)
        masked = turn.restored(masked)
    depth = turn.restored(depth)
    return Reconstruction(
        frame.stamp_ns, frame.frame_id, frame.received_ns, map_id, turn.restored_picture(anchor.view.picture),
        depth, turn.restored(anchor.confidence), turn.restored_intrinsics(anchor.intrinsics, depth.shape),
        turn.restored_poses(anchor.map_from_cam), turn.restored_mapping(mapping), frame.camera,
        frame.name, masked,
    )  # fmt: skip


def without_the_blind(prediction: WindowPrediction, num_shared: int, config: ConfidenceConfig) -> WindowPrediction:
    """Removes the cameras (NaN) of new views with too few trusted pixels, because their pose is a guess."""
    is_trusted = (prediction.depth > 0) & (prediction.confidence >= config.min)
    is_blind = is_trusted.mean(axis=(1, 2)) < config.min_share
    is_blind[:num_shared] = False
    return replace(prediction, window_from_cam=np.where(is_blind[:, None, None], np.nan, prediction.window_from_cam))


def trusted(anchor: Anchor, config: ConfidenceConfig) -> np.ndarray:
    """(h, w) bool: pixels confident enough, in absolute terms and among those of their frame."""
    has_depth = np.isfinite(anchor.depth) & (anchor.depth > 0)
    if not has_depth.any():
        return has_depth
    threshold = max(config.min, float(np.quantile(anchor.confidence[has_depth], config.cut_share)))
    return has_depth & (anchor.confidence >= threshold)
