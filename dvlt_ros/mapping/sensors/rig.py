"""A rig of several cameras: constrains their poses to the known mounts, and gives the scale by their baselines.

The mounts are compared with the network's poses over the last frame sets before they are used: a wrong mount is off by
the same angle in every frame set, the network's errors vary.
"""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from ...alignment import Sim3
from ...errors import ConfigError, InputError
from ...health import Health
from ...robust import mean_rotation
from ..data.frames import Frame
from ..data.views import View
from ..scale.observations import NoObservation, ScaleObservation, scale_from_baseline
from .frame_sets import FrameSynchronizer
from .odometry import interpolate, inverse
from .rig_config import RigConfig

MIN_BASELINE_M = 0.01  # a shorter baseline gives no scale
MIN_FRAME_SETS = 5  # before mounts are used
REMEMBERED_FRAME_SETS = 30  # over which they are compared

Pair = tuple[str, str]
Poses = dict[str, np.ndarray]  # window_from_cam (4, 4) by camera


@dataclass(frozen=True, eq=False)
class RigReport:
    """A rig's measurements in one window."""

    baseline: ScaleObservation | NoObservation  # metres per unit of the map, by the mounts' baselines
    residual_deg: float | None  # angle between mounts and recent poses; None: not known yet


@dataclass(frozen=True, eq=False)
class RigFit:
    """A window's cameras with the mounts applied."""

    window_from_cam: np.ndarray  # (D, 4, 4), constrained to the mounts; unchanged if the mounts are not used
    scale: ScaleObservation | NoObservation  # metres per unit of the window
    residual_deg: float | None  # angle between mounts and recent poses; None: not known yet

    def scale_in(self, map_from_window: Sim3) -> ScaleObservation | NoObservation:
        """Metres per unit of the map."""
        if isinstance(self.scale, NoObservation):
            return self.scale
        return replace(self.scale, log_scale=self.scale.log_scale - math.log(map_from_window.scale.item()))


class Rig:
    """The cameras by name (the first one is the reference) and their mounts."""

    def __init__(
        self, cameras: Sequence[str], look_up: Callable[[str], np.ndarray], config: RigConfig | None = None
    ) -> None:
        """``look_up`` gives base_from_cam (4, 4), metres, of an optical frame (frame_id), or raises InputError."""
        if len(cameras) < 2 or len(set(cameras)) < len(cameras) or "" in cameras:
            raise ConfigError(f"a rig needs two cameras or more, each with a name of its own, got {list(cameras)}")
        self.config = config or RigConfig()
        self.cameras = tuple(cameras)
        self.synchronizer = FrameSynchronizer(cameras, self.config)
        self._look_up = look_up
        self._frame_ids: dict[str, str] = {}
        self._base_from_cam: dict[str, np.ndarray] = {}
        self._seen: dict[Pair, deque[np.ndarray]] = defaultdict(lambda: deque(maxlen=REMEMBERED_FRAME_SETS))
        self._latest_frame_set = -1

    def health(self, residual_deg: float | None) -> Health:
        """``residual_deg``: how far the mounts were from what the latest window saw; None: unknown."""
        if self.synchronizer.problem:
            return Health.warn(f"cameras: {self.synchronizer.problem}")
        if residual_deg is not None and residual_deg > self.config.max_residual_deg:
            return Health.warn(
                f"cameras: seen {residual_deg:.1f} degrees from their mounts, which are not believed; is TF right?"
            )
        return Health.ok()

    def learn(self, frame: Frame) -> None:
        """The mount of a frame's camera, when its first frame comes.

        Raises:
            InputError: it is not known, or not the camera's own.
        """
        if self._frame_ids.get(frame.camera) == frame.frame_id:
            return
        for camera, frame_id in self._frame_ids.items():
            if frame_id == frame.frame_id and camera != frame.camera:
                raise InputError(f"the cameras '{camera}' and '{frame.camera}' have the same frame_id '{frame_id}'")
        base_from_cam = self._look_up(frame.frame_id)
        self._frame_ids[frame.camera] = frame.frame_id
        self._base_from_cam[frame.camera] = base_from_cam

    def forget(self) -> int:
        """The stream has ended; mounts are looked up anew. Returns how many frames waited for company."""
        self._frame_ids.clear()
        self._base_from_cam.clear()
        self._seen.clear()
        return self.synchronizer.clear()

    def base_from_cam(self, camera: str) -> np.ndarray:
        return self._base_from_cam[camera]

    def fit(self, views: Sequence[View], window_from_cam: np.ndarray) -> RigFit:
        """Constrains the cameras (D, 4, 4) of a window's decoded views; NaN where a camera is unknown."""
        indices = _by_frame_set(views, window_from_cam)
        frame_sets = {m: {camera: window_from_cam[i] for camera, i in found.items()} for m, found in indices.items()}
        scale = self._scale(list(frame_sets.values()))
        self._remember(frame_sets)
        residual_deg, objection = self._judge()
        if objection:
            return RigFit(window_from_cam, NoObservation("baseline", objection), residual_deg)
        if isinstance(scale, NoObservation):
            return RigFit(window_from_cam, scale, residual_deg)
        metres_per_unit = np.exp(scale.log_scale)
        placed = window_from_cam.copy()
        mounts = {camera: _in_units(pose, metres_per_unit) for camera, pose in self._base_from_cam.items()}
        for frame_set, poses in frame_sets.items():
            window_from_base = middle(np.stack([pose @ inverse(mounts[camera]) for camera, pose in poses.items()]))
            for camera, index in indices[frame_set].items():
                placed[index] = window_from_base @ mounts[camera]
        return RigFit(placed, scale, residual_deg)

    def _mounted(self, pair: Pair) -> np.ndarray:
        """first_from_second (4, 4), metres."""
        first, second = (self._base_from_cam[camera] for camera in pair)
        return inverse(first) @ second

    def _scale(self, frame_sets: Sequence[Poses]) -> ScaleObservation | NoObservation:
        """Metres per unit of the window, by the baselines of all pairs of cameras."""
        found: list[ScaleObservation] = []
        reason = "no frame set has frames of two cameras"
        for pair, poses in _pairs(frame_sets).items():
            mounted = self._mounted(pair)
            if np.linalg.norm(mounted[:3, 3]) < MIN_BASELINE_M:
                reason = "the cameras are too close to each other to give a scale"
                continue
            told = scale_from_baseline(*poses, mounted)
            if isinstance(told, ScaleObservation):
                found.append(told)
            else:
                reason = told.reason
        if not found:
            return NoObservation("baseline", reason)
        weight = np.array([told.spread**-2 for told in found])
        mean = float(weight @ np.array([told.log_scale for told in found]) / weight.sum())
        spread = min(told.spread for told in found)
        residual = max(told.residual for told in found)
        return ScaleObservation("baseline", mean, spread, residual)

    def _remember(self, frame_sets: Mapping[int, Poses]) -> None:
        """Adds the frame sets that were not in an earlier window."""
        new = [poses for frame_set, poses in frame_sets.items() if frame_set > self._latest_frame_set]
        self._latest_frame_set = max([self._latest_frame_set, *frame_sets])
        for pair, (first, second) in _pairs(new).items():
            self._seen[pair] += [inverse(a) @ b for a, b in zip(first, second, strict=True)]

    def _judge(self) -> tuple[float | None, str]:
        """The angle of the worst pair, and why the mounts are not used; empty: they are."""
        known = {pair: np.stack(list(seen)) for pair, seen in self._seen.items() if len(seen) >= MIN_FRAME_SETS}
        if not known:
            count = max(map(len, self._seen.values()), default=0)
            return None, f"{count} of {MIN_FRAME_SETS} frame sets to check the mounts"
        residuals = {pair: mount_residual_deg(seen, self._mounted(pair)) for pair, seen in known.items()}
        (first, second), worst = max(residuals.items(), key=lambda entry: entry[1])
        if worst <= self.config.max_residual_deg:
            return worst, ""
        return worst, (
            f"'{first}' and '{second}' are seen {worst:.1f} degrees from where their mounts have them "
            f"(cameras.max_residual_deg is {self.config.max_residual_deg:g}); are the mounts right?"
        )


def mount_residual_deg(seen: np.ndarray, mounted: np.ndarray) -> float:
    """Angle in degrees between poses first_from_second: (N, 4, 4) as seen, in any units, and (4, 4) as mounted.

    The larger one of the angle between the rotations and the angle between the directions of the translation.
    """
    turned = mounted[:3, :3].T @ mean_rotation(seen[:, :3, :3])
    turned_deg = np.degrees(2 * np.arcsin(min(1.0, float(np.linalg.norm(turned - np.eye(3))) / 8**0.5)))
    length_m = np.linalg.norm(mounted[:3, 3])
    if length_m < MIN_BASELINE_M:
        return float(turned_deg)
    apart = seen[:, :3, 3] / np.maximum(np.linalg.norm(seen[:, :3, 3], axis=1, keepdims=True), 1e-12)
    direction = np.median(apart, axis=0)
    expected = mounted[:3, 3] / length_m
    aside_deg = np.degrees(np.arctan2(np.linalg.norm(np.cross(direction, expected)), direction @ expected))
    return float(max(turned_deg, aside_deg))


def middle(poses: np.ndarray) -> np.ndarray:
    """Mean pose (4, 4) of N poses (N, 4, 4) of one body; robust against one wrong pose if N is 3 or more."""
    if len(poses) <= 2:
        return interpolate(poses[0], poses[-1], 0.5)
    found = np.eye(4)
    found[:3, :3] = mean_rotation(poses[:, :3, :3])
    found[:3, 3] = np.median(poses[:, :3, 3], axis=0)
    return found


def _by_frame_set(views: Sequence[View], window_from_cam: np.ndarray) -> dict[int, dict[str, int]]:
    """Indices of the views with a known camera, by frame set and camera."""
    found: dict[int, dict[str, int]] = {}
    for index, (view, pose) in enumerate(zip(views, window_from_cam, strict=True)):
        if np.isfinite(pose).all():
            found.setdefault(view.frame_set, {})[view.frame.camera] = index
    return found


def _pairs(frame_sets: Sequence[Poses]) -> dict[Pair, tuple[np.ndarray, np.ndarray]]:
    """For each pair of cameras their poses (N, 4, 4) each, in the N frame sets that have both."""
    found: dict[Pair, list[tuple[np.ndarray, np.ndarray]]] = {}
    for poses in frame_sets:
        for first, second in combinations(sorted(poses), 2):
            found.setdefault((first, second), []).append((poses[first], poses[second]))
    return {pair: (np.stack([a for a, _ in both]), np.stack([b for _, b in both])) for pair, both in found.items()}


def _in_units(base_from_cam: np.ndarray, metres_per_unit: float) -> np.ndarray:
    pose = base_from_cam.copy()
    pose[:3, 3] /= metres_per_unit
    return pose
