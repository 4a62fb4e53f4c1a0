"""What a window's refinement is given and what it answers."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from ..errors import InputError
from .arrays import found_in

State = Literal["refined", "kept"]
Reason = Literal[
    "", "too few tracks", "standing still", "pure rotation", "planar scene", "the tracks do not agree",
    "wrong intrinsics", "doubtful motion", "the network already agrees", "no network pose", "no time left",
]  # fmt: skip


@dataclass(frozen=True, eq=False)
class WindowFrame:
    """One rectified image of the window."""

    number: int  # counts up over the stream's life; a frame that comes again in the next window keeps its own
    image: np.ndarray  # (H, W, 3) uint8 RGB
    intrinsics: np.ndarray | None  # (3, 3) pixels of the image, pixel (0, 0) centred at (0.5, 0.5); None: not known
    camera: str = ""  # which one of a rig


@dataclass(frozen=True, eq=False)
class NetworkAnswer:
    """The network's views of the window, up to one scale; NaN where it has no answer."""

    depth: np.ndarray  # (S, h, w) float32, along the optical axis
    confidence: np.ndarray  # (S, h, w) float32, from 1 upwards
    window_from_cam: np.ndarray  # (S, 4, 4) float64
    intrinsics: np.ndarray  # (S, 3, 3) float64, pixels of the maps
    scale: tuple[float, float]  # pixels of the maps are scale * pixels of the image + offset
    offset: tuple[float, float]

    def __post_init__(self) -> None:
        maps, frames = self.depth.shape, len(self.depth)
        shapes = {"confidence": maps, "window_from_cam": (frames, 4, 4), "intrinsics": (frames, 3, 3)}
        for name, shape in shapes.items():
            if len(maps) != 3 or getattr(self, name).shape != shape:
                raise InputError(f"{name} must be {shape} beside depth {maps}, got {getattr(self, name).shape}")


@dataclass(frozen=True, eq=False)
class PosePrior:
    """What odometry or a rig knows of two of the window's frames, in metres."""

    first: int  # index in the window
    second: int
    first_from_second: np.ndarray  # (4, 4)
    covariance: np.ndarray  # (6, 6) of turn (rad) and shift (m) in the first camera's frame, positive definite

    def __post_init__(self) -> None:
        if self.first_from_second.shape != (4, 4) or self.covariance.shape != (6, 6):
            raise InputError(
                f"a pose prior is (4, 4) with a (6, 6) covariance, got {self.first_from_second.shape} and "
                f"{self.covariance.shape}"
            )
        if not (np.isfinite(self.first_from_second).all() and np.linalg.eigvalsh(self.covariance)[0] > 0):
            raise InputError(f"the pose prior of frames {self.first} and {self.second} needs finite, known spreads")


@dataclass(frozen=True)
class Report:
    """What was done, or why the network's answer stays."""

    state: State  # of the poses: where the network already agrees they are kept, and depth is corrected all the same
    reason: Reason = ""
    detail: str = ""  # the figures behind the reason
    tracks: int = 0  # seen in at least two frames
    moving_tracks: int = 0  # of those, which no point of the scene explains
    inliers: float = 0.0  # share of their sights that fit
    residual_px: float = np.nan  # median, pixels of the image
    network_residual_px: float = np.nan  # of the network's poses, for comparison
    parallax_deg: float = np.nan  # median over the points
    start: str = ""  # what the adjustment started from
    far_apart: bool = False  # descriptors were needed
    refined_frames: tuple[int, ...] = ()  # indices; the others have too few tracks and keep the network's pose
    focal_factor: float = np.nan  # what the tracks would multiply the focal length by, where they can tell
    focal_deviation: float = np.nan  # standard deviation of its logarithm
    metres_per_unit: float = np.nan  # of the network's unit, where pose priors tell
    milliseconds: float = 0.0
    left_out: tuple[str, ...] = ()  # parts for which there was no time


@dataclass(frozen=True, eq=False)
class Landmarks:
    """The triangulated points that one frame sees.

    The same pixel of the same frame is the same point in any window, but for matches of one place in two orientations.
    """

    pixels: np.ndarray  # (N, 2) of the image
    points: np.ndarray  # (N, 3) in the camera's frame
    deviation: np.ndarray  # (N,) of the logarithm of their depth
    moving: np.ndarray = field(default_factory=lambda: np.zeros((0, 2)))  # (M, 2) pixels of tracks that no point holds
    tracks: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=int))  # (N,) numbers; -1: not followed

    def scaled(self, factor: float) -> Landmarks:
        """The same points in another unit."""
        return replace(self, points=factor * self.points)

    def common(self, other: Landmarks) -> tuple[Landmarks, Landmarks]:
        """The points that both have of the same frame, in the same order."""
        here, there = same_pixels(self.pixels, other.pixels)
        return self._select(here), other._select(there)

    def _select(self, chosen: np.ndarray) -> Landmarks:
        return Landmarks(self.pixels[chosen], self.points[chosen], self.deviation[chosen])


def same_pixels(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Indices of pixels (N, 2) that are in (M, 2), too, and where they are there."""
    ours, theirs = (pixels[:, 0] + 1j * pixels[:, 1] for pixels in (first, second))
    return found_in(ours, theirs)


NO_LANDMARKS = Landmarks(np.zeros((0, 2)), np.zeros((0, 3)), np.zeros(0))


@dataclass(frozen=True)
class MotionDeviation:
    """Standard deviations of the motion between two cameras of a window, along each axis, the window's unit held."""

    turn: float  # rad
    shift: float  # of the points' median depth


@dataclass(frozen=True, eq=False)
class Refined:
    """The window's answer with the tracks' geometry in it; lengths in the network's unit, in metres with priors."""

    depth: np.ndarray  # (S, h, w) float32
    confidence: np.ndarray  # (S, h, w) float32
    window_from_cam: np.ndarray  # (S, 4, 4) float64
    covariance: np.ndarray  # (S, 6, 6) of turn and shift in the camera's frame, against the reference; NaN: unknown
    intrinsics: np.ndarray  # (S, 3, 3) float64, pixels of the maps
    report: Report
    reference: int = 0  # the frame whose pose is the network's
    landmarks: tuple[Landmarks, ...] = ()  # of each frame, those that hold; empty: the network's answer stays
    motion: MotionDeviation | None = None  # of the newest frame, since the last one that the window before had
