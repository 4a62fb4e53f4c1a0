"""A window's poses, intrinsics and depth, corrected by what its tracks say."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from .adjusting.covariance import joint_covariance, motion_deviation
from .adjusting.estimate import (
    GOOD_SHARE,
    Estimate,
    finished,
    likely_estimates,
    ranked_estimates,
    with_poses,
)
from .adjusting.memory import NOTHING, going_on, landmarks, remembered, with_recalled_depth
from .adjusting.metric import in_metres
from .adjusting.planes import told_apart
from .adjusting.rotations import inverse
from .adjusting.start import Start, costly_starts, grown, in_networks_unit, plane_starts
from .answer import answered, kept
from .checks import BEFORE, Verdict, compared, judged
from .degeneracy import MIN_TRACKS, degenerate
from .dense import sharpened
from .focal import FocalEvidence
from .inputs import check, image_intrinsics, nearest_finite, observed
from .time_limit import Part, PartCosts, TimeLimit
from .tracking.observations import Observations
from .tracking.tracks import Tracks, TrackStore
from .window import NetworkAnswer, PosePrior, Reason, Refined, Report, WindowFrame

MAX_FOLLOWED, MAX_MATCHED = 120, 700  # tracks that are adjusted: those with most sights
FITTED_FOCAL = 2.5  # inverse spread of the logarithm of a focal length that nobody knows
LEAST_WIDTH = 96  # pixels of an image; a sight of a smaller one says next to nothing
WORTH_MATCHING: tuple[Reason, ...] = ("too few tracks", "the tracks do not agree", "doubtful motion")
AGREEING: Reason = "the network already agrees"
PLANAR: Reason = "planar scene"
ADJUSTING: tuple[Part, ...] = ("adjustment", "check", "depth")


@dataclass(frozen=True, eq=False)
class Given:
    """A window and the network's answer, in the adjustment's terms."""

    frames: Sequence[WindowFrame]
    network: NetworkAnswer
    poses: np.ndarray  # (S, 4, 4) cam_from_window, all finite
    intrinsics: np.ndarray  # (S, 3, 3) pixels of the images


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
        self._costs = PartCosts()
        self._newest = -1  # number of the newest frame of the windows before

    def reset(self) -> None:
        """Forgets the stream: another camera, or another place."""
        self._store.reset()
        self._focal.reset()
        self._memory = NOTHING
        self._newest = -1

    def refine(
        self,
        frames: Sequence[WindowFrame],
        network: NetworkAnswer,
        priors: Sequence[PosePrior] = (),
        matching_ms: float = np.inf,
        limit_ms: float = np.inf,
    ) -> Refined:
        """The window with what its tracks say in it, or as it is and why.

        Args:
            frames: the S images of the window in the order of their numbers; tracks of frames of the window before
                go on.
            network: its answer for the same S frames.
            priors: relative poses that are known in metres; with them all lengths of the answer are metres.
            matching_ms: descriptors and dense depth, which cost most, are left out where it does not suffice for each.
            limit_ms: of everything. Parts that do not fit are left out: dense depth and descriptors first, then starts
                beside the likely one, then the adjustment; the report names them, but for dense depth.

        Raises:
            InputError: shapes that do not belong together.
        """
        start_s = time.perf_counter()
        check(frames, network, priors)
        limit = TimeLimit(self._costs, limit_ms)
        refined = self._refined(frames, network, priors, matching_ms, limit)
        self._newest = frames[-1].number
        spent_ms = 1e3 * (time.perf_counter() - start_s)
        return replace(refined, report=replace(refined.report, milliseconds=spent_ms, left_out=limit.left_out))

    def usual_ms(self, frames: int, new: int, far_apart: bool = False) -> float:
        """What following and adjusting a window of so many frames takes, those of it that are new among them.

        ``far_apart``: with descriptors.
        """
        usual = self._costs.usual_ms
        matching_ms = usual("descriptors", frames) if far_apart else 0.0
        return usual("tracking", new) + matching_ms + sum(usual(part, frames) for part in ADJUSTING)

    def _refined(
        self,
        frames: Sequence[WindowFrame],
        network: NetworkAnswer,
        priors: Sequence[PosePrior],
        matching_ms: float,
        limit: TimeLimit,
    ) -> Refined:
        width = frames[0].image.shape[1]
        if width < LEAST_WIDTH:
            return kept(network, Report("kept", "too few tracks", f"images are {width} pixels wide, of {LEAST_WIDTH}"))
        tracks, finite = self._followed(frames, limit), nearest_finite(network.window_from_cam)
        if tracks is None:
            return kept(network, Report("kept", "no time left", limit.detail))
        if finite is None:
            return kept(network, Report("kept", "no network pose"))
        given = Given(frames, network, inverse(finite), image_intrinsics(frames, network))
        attempt = Attempt(tracks, Verdict("too few tracks", tracks.why_apart))
        if not tracks.far_apart:
            attempt = self._attempt(given, tracks, limit, far_apart=False)
        if is_worth_matching(attempt) and self._may_match(frames, matching_ms, limit):
            other = self._matched(given, limit, tracks.far_apart)
            if attempt.found is None or attempt.tracks.far_apart or not other.verdict.reason:
                attempt = other
        found, report = attempt.found, described(attempt)
        if found is None or attempt.verdict.reason not in ("", AGREEING):
            return kept(network, report)
        if not limit.allows("depth", len(frames)):
            return kept(network, replace(report, state="kept", reason="no time left", detail=limit.detail))
        if attempt.verdict.reason == AGREEING:
            found = with_poses(found, given.poses)
        found, metres, problem = in_metres(found, priors, focal_weight(frames))
        report = replace(report, metres_per_unit=metres, detail=report.detail or problem)
        seen, joint = landmarks(found), joint_covariance(found)
        self._memory = remembered(found, joint, seen, [frame.number for frame in frames])
        before = max((s for s, frame in enumerate(frames) if frame.number <= self._newest), default=0)
        motion = motion_deviation(found, joint, before, len(frames) - 1)
        refined = replace(answered(network, found, seen, given.poses, report, metres), motion=motion)
        limit.took("depth", len(frames))
        return self._sharpened(given, refined, found.solution.log_focal, matching_ms, limit)

    def _sharpened(
        self, given: Given, refined: Refined, log_focal: float, matching_ms: float, limit: TimeLimit
    ) -> Refined:
        """Dense depth of the frames that no window before had, where time allows."""
        new = [s for s, frame in enumerate(given.frames) if frame.number > self._newest]
        fits = matching_ms >= self._costs.most_ms("dense depth", len(new))
        if not (fits and limit.allows("dense depth", len(new), is_extra=True)):
            return refined
        intrinsics = given.intrinsics.copy()
        intrinsics[:, [0, 1], [0, 1]] *= np.exp(log_focal)
        refined = sharpened(given.frames, intrinsics, given.network, refined, new)
        limit.took("dense depth", len(new))
        return refined

    def _followed(self, frames: Sequence[WindowFrame], limit: TimeLimit) -> Tracks | None:
        """None: there is no time; what the next window shares is followed then."""
        new = self._store.num_to_follow(frames)
        if not limit.allows("tracking", new):
            return None
        tracks = self._store.followed(frames)
        limit.took("tracking", new)
        return tracks

    def _may_match(self, frames: Sequence[WindowFrame], matching_ms: float, limit: TimeLimit) -> bool:
        number = self._store.num_to_describe(frames)
        fits = matching_ms >= self._costs.most_ms("descriptors", number)
        return fits and limit.allows("descriptors", number, (("depth", len(frames)),))

    def _matched(self, given: Given, limit: TimeLimit, far_apart: bool) -> Attempt:
        """What tracks by descriptors lead to, as one part, whatever it takes."""
        number = self._store.num_to_describe(given.frames)
        tracks = self._store.matched(given.frames, given.intrinsics)
        attempt = self._attempt(given, tracks, TimeLimit(PartCosts()), far_apart)
        limit.took("descriptors", number)
        return attempt

    def _attempt(self, given: Given, tracks: Tracks, limit: TimeLimit, far_apart: bool) -> Attempt:
        frames, poses, count = given.frames, given.poses, len(given.frames)
        most = MAX_MATCHED if tracks.far_apart else MAX_FOLLOWED
        sights, numbers = observed(tracks, given.network, given.intrinsics, most), [frame.number for frame in frames]
        if len(sights.mask) < MIN_TRACKS:
            return Attempt(tracks, Verdict("too few tracks", f"{len(sights.mask)} of {MIN_TRACKS}"))
        width = frames[0].image.shape[1]
        recalled = with_recalled_depth(sights, self._memory, numbers)
        if recalled is None and (why := degenerate(sights, width))[0]:
            return Attempt(tracks, Verdict(*why))
        if not limit.allows("adjustment", count, (("check", count), ("depth", count))):
            return Attempt(tracks, Verdict("no time left", limit.detail))
        sights = recalled or sights
        thorough = tracks.far_apart or self._memory is NOTHING
        likely = likely_estimates(sights, self._likely(frames, sights, poses), thorough)
        limit.took("adjustment", count)
        costly = in_time(costly_starts(sights, poses, tracks.far_apart, width), count, limit)
        ranked = ranked_estimates(sights, likely, costly, thorough, tracks.far_apart)
        costly.close()  # the time of the start that ended the search counts, too
        if not ranked:
            return Attempt(tracks, Verdict("too few tracks", "no two frames share enough"))
        if not limit.allows("check", count, (("depth", count),)):
            return Attempt(tracks, Verdict("no time left", limit.detail))
        weight = focal_weight(frames)
        found, rivals = ranked[0], ranked[1:]
        if found.start == BEFORE:
            found, rivals = going_on(found, self._memory, numbers), []
        found = finished(found, weight)
        focal = self._focal if np.isinf(weight) else None
        verdict = judged(found, rivals, poses, not tracks.far_apart, far_apart, focal)
        limit.took("check", count)
        if verdict.reason == PLANAR and limit.allows("another start", count, (("depth", count),)):
            told = told_apart(found, sights, plane_starts(sights, poses))
            limit.took("another start", count)
            if told is not None:
                found = finished(told, weight)
                verdict = compared(verdict, found)
        return Attempt(tracks, verdict, found)

    def _likely(self, frames: Sequence[WindowFrame], sights: Observations, poses: np.ndarray) -> Iterator[Start]:
        """The poses of the window before, carried on by the points they see; the network's."""
        before = self._memory.cam_from_window
        known = [s for s, frame in enumerate(frames) if frame.number in before]
        if len(known) >= 2:
            begin = poses.copy()
            begin[known] = [before[frames[s].number] for s in known]
            if sights.known_depth is None:
                begin = in_networks_unit(sights, begin, known)
            else:
                begin[known, :3, 3] *= sights.known_depth.unit
            yield grown(BEFORE, sights, begin, known, poses, settle=False)
        yield Start("the network", poses)


def in_time(starts: Iterator[Start], frames: int, limit: TimeLimit) -> Generator[Start]:
    """Those that the limit allows; whoever asks for them adjusts each before the next."""
    following: tuple[tuple[Part, int], ...] = (("check", frames), ("depth", frames))
    while limit.allows("another start", frames, following):
        start = next(starts, None)
        if start is None:
            return
        try:
            yield start
        finally:
            limit.took("another start", frames)


def is_worth_matching(attempt: Attempt) -> bool:
    """Whether descriptors may find what following did not."""
    if not attempt.tracks.textured:
        return False
    too_loose = attempt.found is not None and attempt.found.inlier_share < GOOD_SHARE
    return attempt.tracks.far_apart or too_loose or attempt.verdict.reason in WORTH_MATCHING


def focal_weight(frames: Sequence[WindowFrame]) -> float:
    """Inverse spread of the focal length's logarithm: what cameras have told of themselves is not touched."""
    known = {frame.camera for frame in frames if frame.intrinsics is not None}
    return np.inf if known >= {frame.camera for frame in frames} else FITTED_FOCAL


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
