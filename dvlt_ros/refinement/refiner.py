"""A window's poses, intrinsics and depth, corrected by what its tracks say."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from .adjusting.estimate import GOOD_SHARE, Estimate, best_estimate, finished, with_poses
from .adjusting.memory import NOTHING, going_on, remembered, with_recalled_depth
from .adjusting.metric import in_metres
from .adjusting.rotations import inverse
from .adjusting.start import Start, essential_starts, grown
from .answer import answered, kept
from .checks import BEFORE, Verdict, judged
from .degeneracy import degenerate
from .focal import FocalEvidence
from .inputs import check, image_intrinsics, nearest_finite, observed
from .tracking.observations import Observations
from .tracking.tracks import Tracks, TrackStore
from .window import NetworkAnswer, PosePrior, Reason, Refined, Report, WindowFrame

MAX_FOLLOWED, MAX_MATCHED = 140, 700  # tracks that are adjusted: those with most sights
MOST_STARTS = 2  # essential matrices that are tried
FITTED_FOCAL = 2.5  # inverse spread of the logarithm of a focal length that nobody knows
LEAST_WIDTH = 96  # pixels of an image; a sight of a smaller one says next to nothing
MATCHING_MS = 150.0  # of a frame, about, until it is measured; it is not begun where less is left
LEARNING = 0.3  # share of the latest measurement in it
WORTH_MATCHING: tuple[Reason, ...] = ("too few tracks", "moving objects")
DEPTHLESS: tuple[Reason, ...] = ("standing still", "pure rotation")  # no new depth is told, and known ones serve
AGREEING: Reason = "the network already agrees"


@dataclass(frozen=True, eq=False)
class Attempt:
    """What one kind of tracks has led to."""

    tracks: Tracks
    verdict: Verdict
    found: Estimate | None = None


class WindowRefiner:
    """Refines one stream's windows, in order. It owns the tracks and the poses that the next window may begin from."""

    def __init__(self) -> None:
        self._store = TrackStore()
        self._focal = FocalEvidence()
        self._memory = NOTHING  # of the last refined window
        self._matching_ms = MATCHING_MS

    def reset(self) -> None:
        """Forgets the stream: another camera, or another place."""
        self._store.reset()
        self._focal.reset()
        self._memory = NOTHING

    def refine(
        self,
        frames: Sequence[WindowFrame],
        network: NetworkAnswer,
        priors: Sequence[PosePrior] = (),
        matching_ms: float = np.inf,
    ) -> Refined:
        """The window with what its tracks say in it, or as it is and why.

        Args:
            frames: the S images of the window in the order of their numbers; tracks of frames of the window before
                go on.
            network: its answer for the same S frames.
            priors: relative poses that are known in metres; with them all lengths of the answer are metres.
            matching_ms: descriptors, which cost most, are left out where it does not suffice for them.

        Raises:
            InputError: shapes that do not belong together.
        """
        start_s = time.perf_counter()
        check(frames, network, priors)
        refined = self._refined(frames, network, priors, matching_ms)
        spent_ms = 1e3 * (time.perf_counter() - start_s)
        return replace(refined, report=replace(refined.report, milliseconds=spent_ms))

    def _refined(
        self, frames: Sequence[WindowFrame], network: NetworkAnswer, priors: Sequence[PosePrior], matching_ms: float
    ) -> Refined:
        width = frames[0].image.shape[1]
        if width < LEAST_WIDTH:
            return kept(network, Report("kept", "too few tracks", f"images are {width} pixels wide, of {LEAST_WIDTH}"))
        finite = nearest_finite(network.window_from_cam)
        if finite is None:
            self._store.followed(frames)
            return kept(network, Report("kept", "no network pose"))
        poses, intrinsics = inverse(finite), image_intrinsics(frames, network)
        tracks = self._store.followed(frames)
        attempt = Attempt(tracks, Verdict("too few tracks", "the frames are far apart"))
        if not tracks.far_apart:
            attempt = self._attempt(frames, network, poses, intrinsics, tracks)
        if is_worth_matching(attempt) and matching_ms >= self._matching_ms * self._store.num_new(frames):
            other = self._attempt(frames, network, poses, intrinsics, self._matched(frames, intrinsics))
            if attempt.found is None or attempt.tracks.far_apart or not other.verdict.reason:
                attempt = other
        found, report = attempt.found, described(attempt)
        if found is None or attempt.verdict.reason not in ("", AGREEING):
            return kept(network, report)
        if attempt.verdict.reason == AGREEING:
            found = with_poses(found, poses)
        found, metres, problem = in_metres(found, priors, focal_weight(frames))
        report = replace(report, metres_per_unit=metres, detail=report.detail or problem)
        self._memory = remembered(found, [frame.number for frame in frames])
        return answered(network, found, poses, report, metres)

    def _matched(self, frames: Sequence[WindowFrame], intrinsics: np.ndarray) -> Tracks:
        """Tracks by descriptors; learns what they cost."""
        start_s, number = time.perf_counter(), self._store.num_new(frames)
        tracks = self._store.matched(frames, intrinsics)
        spent_ms = 1e3 * (time.perf_counter() - start_s) / number
        self._matching_ms += LEARNING * (spent_ms - self._matching_ms)
        return tracks

    def _attempt(
        self,
        frames: Sequence[WindowFrame],
        network: NetworkAnswer,
        poses: np.ndarray,
        intrinsics: np.ndarray,
        tracks: Tracks,
    ) -> Attempt:
        """``poses``: the network's cam_from_window (S, 4, 4), all finite."""
        sights = observed(tracks, network, intrinsics, MAX_MATCHED if tracks.far_apart else MAX_FOLLOWED)
        numbers = [frame.number for frame in frames]
        reason, detail = degenerate(sights, frames[0].image.shape[1])
        recalled = with_recalled_depth(sights, self._memory, numbers)
        if reason and (reason not in DEPTHLESS or recalled is None):
            return Attempt(tracks, Verdict(reason, detail))
        sights = recalled or sights
        costly = () if reason else essential_starts(sights, poses, MOST_STARTS)
        likely, is_new = self._likely(frames, sights, poses), self._memory is NOTHING
        found = best_estimate(sights, likely, costly, thorough=tracks.far_apart or is_new)
        if found is None:
            return Attempt(tracks, Verdict("too few tracks", "no two frames share enough"))
        weight = focal_weight(frames)
        if found.start == BEFORE:
            found = going_on(found, self._memory, numbers)
        found = finished(found, weight)
        focal = self._focal if np.isinf(weight) else None
        return Attempt(tracks, judged(found, poses, not tracks.far_apart, focal), found)

    def _likely(self, frames: Sequence[WindowFrame], sights: Observations, poses: np.ndarray) -> Iterator[Start]:
        """The poses of the window before, carried on by the points they see; the network's."""
        before = self._memory.cam_from_window
        known = [s for s, frame in enumerate(frames) if frame.number in before]
        if len(known) >= 2:
            begin = poses.copy()
            begin[known] = [before[frames[s].number] for s in known]
            yield grown(BEFORE, sights, begin, known, poses, settle=False)
        yield Start("the network", poses)


def is_worth_matching(attempt: Attempt) -> bool:
    """Whether descriptors may find what following did not."""
    if not attempt.tracks.textured:
        return False
    too_loose = attempt.found is not None and attempt.found.inlier_share < GOOD_SHARE
    return attempt.tracks.far_apart or too_loose or attempt.verdict.reason in WORTH_MATCHING


def focal_weight(frames: Sequence[WindowFrame]) -> float:
    """Inverse spread of the focal length's logarithm: a camera's own is not touched."""
    return np.inf if all(frame.intrinsics is not None for frame in frames) else FITTED_FOCAL


def described(attempt: Attempt) -> Report:
    verdict, found = attempt.verdict, attempt.found
    report = Report(
        "kept" if verdict.reason else "refined",
        verdict.reason,
        verdict.detail,
        tracks=len(attempt.tracks.mask),
        far_apart=attempt.tracks.far_apart,
        parallax_deg=verdict.parallax_deg,
        network_residual_px=verdict.network_residual_px,
        focal_factor=verdict.focal_factor,
        focal_deviation=verdict.focal_deviation,
    )
    if found is None:
        return report
    return replace(
        report,
        start=found.start,
        inliers=found.inlier_share,
        moving_tracks=int(found.moves.sum()),
        residual_px=found.residual_px,
        refined_frames=found.placed,
    )
