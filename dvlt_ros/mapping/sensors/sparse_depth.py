"""Scale from sparse depth: points of another sensor (laser, depth camera) are projected into the network's frames.

Each frame gives a robust ratio of measured and predicted depth; the frames of a window give one observation together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...errors import ConfigError, InputError
from ...geometry import every, pixel_axes
from ...parameters import check_parameters, parameter
from ...robust import deviation
from ..data.frames import Reconstruction
from ..scale.observations import NoObservation, ScaleObservation, scale_from_depth

MAX_POINTS = 10_000  # used of one message
WRONG_UNIT = math.log(1000.0)  # millimetres for metres, or the other way round
NEARLY = math.log(2.0)  # tolerance of WRONG_UNIT
MAX_WAITING = 16  # frames whose measurement may still arrive


class DepthError(InputError):
    """Measured depth that cannot be used, or a stamp without measured depth."""


class LateDepthError(DepthError):
    """A stamp for which measured depth may still arrive: a laser is often slower than the network."""


@dataclass(frozen=True)
class SparseDepthConfig:
    """Which measured depth is used for an image."""

    GROUP: ClassVar[str] = "measured_depth"
    tolerance_s: float = parameter(
        0.05, "stamps further from the image's are not compared with it", 0.0, 10.0, expert=True
    )
    min_m: float = parameter(0.1, "what is nearer to its sensor is not used", 0.0, 1000.0, expert=True)
    max_m: float = parameter(30.0, "what is farther from its sensor is not used", 0.0, 1e5, expert=True)

    def __post_init__(self) -> None:
        check_parameters(self)
        if self.min_m >= self.max_m:
            raise ConfigError(f"measured_depth.max_m must be above measured_depth.min_m {self.min_m}, got {self.max_m}")


class SparseDepth:
    """Compares the frames of windows with measured depth; ``problem`` may be read from any thread."""

    def __init__(self, look_up: Callable[[int, str], np.ndarray]) -> None:
        """``look_up`` gives points (N, 3), metres, in a camera (frame_id) at a stamp in ns, or raises DepthError."""
        self.problem = ""  # why there is no measured depth at present, or what is wrong with it
        self._look_up = look_up
        self._waiting: list[Reconstruction] = []  # frames of the same map whose measurement is late

    def compare(
        self, reconstructions: Sequence[Reconstruction], others: Sequence[ScaleObservation | NoObservation | None] = ()
    ) -> ScaleObservation | NoObservation:
        """Metres per unit of the map, by the new frames of a window.

        Frames of earlier windows are used, too, if their measurement has arrived only now.

        Args:
            reconstructions: at least one.
            others: what other sources found, to detect a wrong unit.
        """
        frames = [r for r in (*self._waiting, *reconstructions) if r.map_id == reconstructions[-1].map_id]
        self._waiting = []
        findings = [self._compare(frame) for frame in frames[-MAX_WAITING - len(reconstructions) :]]
        heard = [finding for finding in findings if isinstance(finding, ScaleObservation)]
        if not heard:
            refused = [finding for finding in findings if isinstance(finding, NoObservation)]
            self.problem = refused[-1].reason
            return refused[-1]
        found = _middle(heard)
        self.problem = unit_problem(found, [other for other in others if isinstance(other, ScaleObservation)])
        return found

    def _compare(self, reconstruction: Reconstruction) -> ScaleObservation | NoObservation:
        try:
            points_cam = self._look_up(reconstruction.stamp_ns, reconstruction.frame_id)
        except LateDepthError as error:
            self._waiting.append(reconstruction)
            return NoObservation("depth", str(error))
        except DepthError as error:
            return NoObservation("depth", str(error))
        measured_m = project(points_cam, reconstruction.intrinsics, reconstruction.depth.shape)
        hit = np.isfinite(measured_m)
        if not hit.any():
            return NoObservation("depth", f"none of {len(points_cam)} measured points is in the camera's view")
        return scale_from_depth(measured_m[hit], reconstruction.depth[hit], reconstruction.confidence[hit])


def project(points_cam: np.ndarray, intrinsics: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Depth (h, w) along the optical axis of points (N, 3) in the camera frame; NaN where there is none.

    A pixel gets its nearest point, which hides the others.
    """
    depth = np.full(size, np.nan)
    points_cam = points_cam[points_cam[:, 2] > 0]
    points_cam = points_cam[np.argsort(-points_cam[:, 2])]  # the last assignment to a pixel remains
    z = points_cam[:, 2]
    u, v = (points_cam @ intrinsics.T)[:, :2].T / z
    inside = (u >= 0) & (u < size[1]) & (v >= 0) & (v < size[0])
    depth[v[inside].astype(np.intp), u[inside].astype(np.intp)] = z[inside]
    return depth


def points_of_image(depth_m: np.ndarray, intrinsics: np.ndarray) -> np.ndarray:
    """Points (N, 3), at most `MAX_POINTS`, of a depth image (H, W) in metres, in its camera; 0 and NaN are no depth."""
    stride = max(1, math.ceil(math.sqrt(depth_m.size / MAX_POINTS)))
    thinned = depth_m[every(stride)]
    u, v = pixel_axes(depth_m.shape, stride)
    rows, columns = np.nonzero(np.isfinite(thinned) & (thinned > 0))
    z = thinned[rows, columns].astype(np.float64)
    u, v = u[columns], v[rows]
    (fx, _, cx), (_, fy, cy) = intrinsics[:2]
    return np.stack([(u - cx) / fx * z, (v - cy) / fy * z, z], axis=-1)


def usable(points: np.ndarray, config: SparseDepthConfig) -> np.ndarray:
    """The points of (N, 3) in the sensor's frame within the configured distances, at most `MAX_POINTS`.

    Raises:
        DepthError: there are none; the message says what may be wrong.
    """
    distance = np.sqrt(np.einsum("ij,ij->i", points, points))
    known = np.isfinite(distance)
    if not known.any():
        raise DepthError("it has no valid point: all are NaN, infinite or 0")
    low, high = config.min_m, config.max_m
    kept = points[known & (distance >= low) & (distance <= high)]
    if not len(kept):
        median_m = float(np.median(distance[known]))
        raise DepthError(
            f"none of {known.sum()} points is {low:g} to {high:g} m away, their median is {median_m:.4g} m; "
            "is their unit right? 16UC1 is millimetres, all else metres"
        )
    return kept[:: math.ceil(len(kept) / MAX_POINTS)]


def unit_problem(found: ScaleObservation, others: Sequence[ScaleObservation]) -> str:
    """What to check if another source gives about 1000 times or 1/1000 of this scale; empty: none does."""
    for other in others:
        apart = found.log_scale - other.log_scale
        if abs(abs(apart) - WRONG_UNIT) < NEARLY:
            times = math.exp(abs(apart))
            return (
                f"measured depth gives {times:.0f} times as {'much' if apart > 0 else 'little'} as {other.source}: "
                "is its unit right? 16UC1 is millimetres, all else metres"
            )
    return ""


def _middle(heard: Sequence[ScaleObservation]) -> ScaleObservation:
    """One observation of several frames; they share the network's errors, so more frames do not reduce the spread."""
    logs = np.array([found.log_scale for found in heard])
    middle = float(np.median(logs))
    scatter = deviation(logs, middle) / math.sqrt(len(logs))
    spread, residual = np.median([(found.spread, found.residual) for found in heard], axis=0).tolist()
    return ScaleObservation("depth", middle, math.hypot(spread, scatter), residual)
