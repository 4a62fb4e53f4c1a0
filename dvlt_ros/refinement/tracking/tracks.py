"""The tracks of a window: those that go on from the windows before, or features compared where frames are far apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import cv2
import numpy as np

from ..window import WindowFrame
from .descriptors import Features, describe, match
from .epipolar import essential_inliers
from .flow import FlowTracker, Sights

MIN_CONTINUED = 30  # tracks that two neighbours share, or they are far apart
MIN_CONTINUED_SHARE = 0.3
MIN_CORNERS = 20  # of a frame; below it there is nothing to describe either
FLOW_DEVIATION = 0.5 / 640  # of a sight, in image widths
MATCH_DEVIATION = 1.0 / 640
LEAST_FLOW_PX, LEAST_MATCH_PX = 0.25, 0.5
PAIR_TOLERANCE = 1.5  # deviations of a match from its epipolar line


@dataclass(frozen=True, eq=False)
class Tracks:
    pixels: np.ndarray  # (P, S, 2) of the images, pixel (0, 0) centred at (0.5, 0.5); 0 where not seen
    mask: np.ndarray  # (P, S) bool
    numbers: np.ndarray  # (P,) int; of a followed track the same in every window, of a matched one -1
    textured: bool  # at least two frames show something
    deviation_px: float  # standard deviation of a sight in each direction
    why_apart: str  # what says that the frames cannot be followed; empty: they can

    @property
    def far_apart(self) -> bool:
        return bool(self.why_apart)


class TrackStore:
    """Owns what is kept from window to window: each frame is followed, and described, once."""

    def __init__(self) -> None:
        self._tracker = FlowTracker()
        self._camera = ""  # that is followed
        self._sights: dict[int, Sights] = {}
        self._features: dict[int, Features] = {}

    def reset(self) -> None:
        """Forgets the stream."""
        self._tracker.begin_anew()
        self._sights.clear()
        self._features.clear()

    def followed(self, frames: Sequence[WindowFrame]) -> Tracks:
        """Tracks that at least two frames see; frames of windows before are not followed anew.

        Frames of several cameras are not followed at all.
        """
        cameras = {frame.camera for frame in frames}
        for frame in frames if len(cameras) == 1 else ():
            if frame.number not in self._sights:
                self._sights[frame.number] = self._tracked(frame)
        inside = {frame.number for frame in frames}
        self._sights = {number: sights for number, sights in self._sights.items() if number in inside}
        self._features = {number: found for number, found in self._features.items() if number in inside}
        deviation_px = sight_deviation_px(frames[0].image.shape[1])
        if len(cameras) > 1:
            self._tracker.begin_anew()
            nothing = np.zeros((0, len(frames), 2)), np.zeros((0, len(frames)), dtype=bool), np.zeros(0, dtype=int)
            return Tracks(*nothing, True, deviation_px, f"frames of {len(cameras)} cameras are not followed")
        sights = [self._sights[frame.number] for frame in frames]
        seen = np.array([len(found.tracks) for found in sights])
        pixels, mask, numbers = joined(sights)
        textured = bool((seen >= MIN_CORNERS).sum() >= 2)
        return Tracks(pixels, mask, numbers, textured, deviation_px, why_apart(seen, mask))

    def _tracked(self, frame: WindowFrame) -> Sights:
        if frame.camera != self._camera:
            self._camera = frame.camera
            self._tracker.begin_anew()
        return self._tracker.track(frame.image)

    def num_to_follow(self, frames: Sequence[WindowFrame]) -> int:
        """Frames that `followed` has not seen, and will follow."""
        is_one_camera = len({frame.camera for frame in frames}) == 1
        return sum(frame.number not in self._sights for frame in frames) if is_one_camera else 0

    def num_to_describe(self, frames: Sequence[WindowFrame]) -> int:
        """Frames that `matched` would describe, at least 1."""
        return max(1, sum(frame.number not in self._features for frame in frames))

    def matched(self, frames: Sequence[WindowFrame], intrinsics: np.ndarray) -> Tracks:
        """Tracks of features that fit their pairs' epipolar geometries; ``intrinsics`` (S, 3, 3) of the images."""
        for frame in frames:
            if frame.number not in self._features:
                self._features[frame.number] = describe(cv2.cvtColor(frame.image, cv2.COLOR_RGB2GRAY))
        features = [self._features[frame.number] for frame in frames]
        flat = [normalised(f.pixels, k) for f, k in zip(features, intrinsics, strict=True)]
        deviation_px = max(MATCH_DEVIATION * frames[0].image.shape[1], LEAST_MATCH_PX)
        links, usable = [], np.flatnonzero(np.isfinite(intrinsics).all(axis=(1, 2)))
        for i, j in combinations(usable.tolist(), 2):
            pairs = match(features[i], features[j])
            tolerance = PAIR_TOLERANCE * deviation_px / intrinsics[i][0, 0]
            fits, _ = essential_inliers(flat[i][pairs[:, 0]], flat[j][pairs[:, 1]], tolerance)
            if fits.any():
                links.append((i, j, pairs[fits]))
        links.sort(key=lambda link: -len(link[2]))  # the surest first: a later match that contradicts is left out
        pixels, mask = linked([found.pixels for found in features], links)
        return Tracks(pixels, mask, np.full(len(mask), -1), True, deviation_px, "frames are matched by descriptors")


def why_apart(seen: np.ndarray, mask: np.ndarray) -> str:
    """The two neighbours of S frames, which see (S,) points, that lack most of the tracks (P, S) they should share.

    Empty: all share enough.
    """
    shared = (mask[:, :-1] & mask[:, 1:]).sum(axis=0)
    wanted = np.maximum(MIN_CONTINUED, MIN_CONTINUED_SHARE * seen[:-1])
    worst = int(np.argmin(shared / wanted))
    if shared[worst] >= wanted[worst]:
        return ""
    return f"frames {worst} and {worst + 1} share {shared[worst]} tracks, of {np.ceil(wanted[worst]):.0f}"


def sight_deviation_px(width: int) -> float:
    """Standard deviation of a followed point's sight in an image so wide, in each direction."""
    return max(FLOW_DEVIATION * width, LEAST_FLOW_PX)


def normalised(pixels: np.ndarray, intrinsics: np.ndarray) -> np.ndarray:
    """Pixels (..., 2) -> x / z and y / z."""
    return (pixels - intrinsics[..., [0, 1], 2]) / intrinsics[..., [0, 1], [0, 1]]


def joined(sights: Sequence[Sights]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pixels (P, S, 2), mask (P, S) and numbers (P,) of followed tracks that at least two frames see."""
    frames = np.repeat(np.arange(len(sights)), [len(found.tracks) for found in sights])
    tracks = np.concatenate([found.tracks for found in sights])
    numbers, rows, counts = np.unique(tracks, return_inverse=True, return_counts=True)
    shared = counts >= 2
    row_of, chosen = np.cumsum(shared) - 1, shared[rows]
    rows, frames, numbers = row_of[rows[chosen]], frames[chosen], numbers[shared]
    pixels, mask = np.zeros((len(numbers), len(sights), 2)), np.zeros((len(numbers), len(sights)), dtype=bool)
    pixels[rows, frames], mask[rows, frames] = np.concatenate([found.pixels for found in sights])[chosen], True
    return pixels, mask, numbers


def linked(pixels: Sequence[np.ndarray], links: Sequence[tuple[int, int, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Pairwise matches (i, j, (M, 2)) as tracks: pixels (P, S, 2) and mask (P, S); no track is twice in a frame."""
    track_of: dict[tuple[int, int], dict[int, int]] = {}  # a feature's (frame, index): its track's features by frame
    for i, j, pairs in links:
        for a, b in pairs.tolist():
            first = track_of.setdefault((i, a), {i: a})
            second = track_of.setdefault((j, b), {j: b})
            if first is second or first.keys() & second.keys():
                continue
            first.update(second)
            for node in second.items():
                track_of[node] = first
    tracks = [t for t in {id(track): track for track in track_of.values()}.values() if len(t) > 1]
    found, mask = np.zeros((len(tracks), len(pixels), 2)), np.zeros((len(tracks), len(pixels)), dtype=bool)
    for p, track in enumerate(tracks):
        for s, index in track.items():
            found[p, s], mask[p, s] = pixels[s][index], True
    return found, mask
