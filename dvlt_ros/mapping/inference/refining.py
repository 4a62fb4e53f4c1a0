"""Any predictor, its poses and depths corrected by what tracks of points say: see `dvlt_ros.refinement`."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, cast

import numpy as np
import torch

from ...health import Health
from ...parameters import check_parameters, parameter
from ...refinement import NetworkAnswer, PosePrior, Refined, Report, WindowFrame, WindowRefiner
from ..data.views import View
from .prediction import PlaceRecognizer, Predictor, WindowPrediction

RefinementMode = Literal["off", "tracks", "auto"]


@dataclass(frozen=True)
class RefinementConfig:
    """Whether windows are refined by bundle adjustment of tracked points."""

    GROUP: ClassVar[str] = "refinement"
    mode: RefinementMode = parameter(
        "auto",
        "bundle adjustment of each window; tracks: over points that are followed from frame to frame; auto: also over "
        "descriptors where frames are far apart, and with dense depth by optical flow, where time allows; a latency "
        "budget limits all",
    )

    def __post_init__(self) -> None:
        check_parameters(self)


class RefiningPredictor:
    """A `Predictor` around another one, and a `PlaceRecognizer` if the other one is; joint windows are refined, too."""

    def __init__(
        self,
        predictor: Predictor,
        matching_share: float,
        known_poses: Callable[[Sequence[View]], Iterable[PosePrior]] = lambda _: (),
    ) -> None:
        """``matching_share``: of the network's time, that descriptors may take where frames are far apart, and dense
        depth.

        ``known_poses`` gives what is known of a window's cameras in metres.
        """
        self._predictor = predictor
        self._known_poses = known_poses
        self._matching_share = matching_share
        self._refiner = WindowRefiner()
        self._joint_refiner = WindowRefiner()  # of windows beside the stream
        self._end_s = math.inf  # of the next prediction, by `time.perf_counter`
        self.report: Report | None = None  # of the latest window
        self.num_windows = self.num_cut_short = 0  # since the start; those where a part was left out for lack of time

    def __getattr__(self, name: str) -> Any:
        """`PlaceRecognizer` and `Preparable`, if the other one is."""
        if name == "_predictor":  # before it is set
            raise AttributeError(name)
        return getattr(self._predictor, name)

    def health(self) -> Health:
        """Tracks that contradict the intrinsics are worth a look."""
        report = self.report
        is_wrong = report is not None and report.reason == "wrong intrinsics"
        return Health.warn(f"intrinsics: {report.detail}") if report is not None and is_wrong else Health.ok()

    def described(self) -> str:
        """What became of the latest window."""
        report = self.report
        if report is None:
            return "no window yet"
        if report.reason == "the network already agrees":
            text = f"the network's poses stay, and depth is corrected: they agree with the tracks ({report.detail})"
        elif report.state == "kept":
            text = f"the network's answer stays: {report.reason} ({report.detail})"
        else:
            tracks = f"{report.tracks} tracks, {report.moving_tracks} of them moving"
            text = f"refined: {tracks}, residual {report.residual_px:.2f} pixels"
        text += f", {report.milliseconds:.0f} ms"
        if report.left_out:
            text += f"; no time for {', '.join(report.left_out)}"
        return text

    def cut_short(self) -> str:
        """How often the latency budget left no time for a part."""
        return f"{self.num_cut_short} of {self.num_windows} windows"

    @property
    def beside_ms(self) -> float:
        return 0.0 if self.report is None else self.report.milliseconds

    def usual_beside_ms(self, num_views: int, num_new: int) -> float:
        return self._refiner.usual_ms(num_views, num_new) if num_views > 1 else 0.0

    def usual_joint_ms(self, num_views: int) -> float:
        return self._joint_refiner.usual_ms(num_views, num_views, far_apart=self._matching_share > 0)

    def limit(self, milliseconds: float) -> None:
        self._end_s = time.perf_counter() + 1e-3 * milliseconds

    @property
    def device(self) -> torch.device:
        return self._predictor.device

    @property
    def min_steps(self) -> int:
        return self._predictor.min_steps

    @property
    def max_steps(self) -> int:
        return self._predictor.max_steps

    @property
    def has_fixed_steps(self) -> bool:
        return self._predictor.has_fixed_steps

    @property
    def image_size(self) -> int:
        return self._predictor.image_size

    @property
    def cut_share(self) -> float:
        return self._predictor.cut_share

    def reset(self) -> None:
        """Forgets the stream, tracks included."""
        self._predictor.reset()
        self._refiner.reset()
        self.report = None

    def predict(
        self, views: Sequence[View], num_steps: int, image_size: int, decoded: Sequence[int]
    ) -> WindowPrediction:
        """All views are decoded, because tracks go through all of them; see `Predictor.predict`."""
        start_s, end_s = self._begin()
        self.report = None
        if len(views) < 2:
            return self._predictor.predict(views, num_steps, image_size, decoded)
        found = self._predictor.predict(views, num_steps, image_size, range(len(views)))
        frames = [WindowFrame(v.number, v.picture.image, v.picture.intrinsics, v.frame.camera) for v in views]
        now_s, priors = time.perf_counter(), list(self._known_poses(views))
        matching_ms = 1e3 * self._matching_share * (now_s - start_s)
        refined = self._refiner.refine(frames, network_answer(found), priors, matching_ms, 1e3 * (end_s - now_s))
        self._count(refined.report)
        return with_refined(found, refined, decoded)

    def predict_apart(self, views: Sequence[View], num_steps: int, image_size: int) -> WindowPrediction:
        """See `PlaceRecognizer.predict_apart`. The frames of a loop lie far apart: descriptors may take all the time.

        A joint window's views may come from two maps, so that they are numbered anew.
        """
        _, end_s = self._begin()
        found = cast(PlaceRecognizer, self._predictor).predict_apart(views, num_steps, image_size)
        frames = [WindowFrame(i, v.picture.image, v.picture.intrinsics, v.frame.camera) for i, v in enumerate(views)]
        matching_ms = math.inf if self._matching_share > 0 else 0.0
        self._joint_refiner.reset()
        left_ms = 1e3 * (end_s - time.perf_counter())
        refined = self._joint_refiner.refine(frames, network_answer(found), (), matching_ms, left_ms)
        return with_refined(found, refined, range(len(views)))

    def _begin(self) -> tuple[float, float]:
        """Start and end of a prediction, by `time.perf_counter`; the next one has no end."""
        end_s, self._end_s = self._end_s, math.inf
        return time.perf_counter(), end_s

    def _count(self, report: Report) -> None:
        self.report = report
        self.num_windows += 1
        self.num_cut_short += bool(report.left_out)


def refining(
    predictor: Predictor,
    config: RefinementConfig,
    in_real_time: bool,
    known_poses: Callable[[Sequence[View]], Iterable[PosePrior]] = lambda _: (),
) -> Predictor:
    """The predictor as ``config`` asks; ``known_poses`` as of `RefiningPredictor`.

    ``in_real_time``: frames do not wait, so that descriptors and dense depth may each take no longer than the network.
    """
    if config.mode == "off":
        return predictor
    if config.mode == "tracks":
        return RefiningPredictor(predictor, 0.0, known_poses)
    return RefiningPredictor(predictor, 1.0 if in_real_time else math.inf, known_poses)


def network_answer(found: WindowPrediction) -> NetworkAnswer:
    return NetworkAnswer(
        found.depth, found.confidence, found.window_from_cam, found.intrinsics, found.mapping.scale,
        found.mapping.offset,
    )  # fmt: skip


def with_refined(found: WindowPrediction, refined: Refined, decoded: Sequence[int]) -> WindowPrediction:
    """The refined views that are needed."""
    chosen = np.asarray(decoded)
    return replace(
        found,
        depth=refined.depth[chosen],
        confidence=refined.confidence[chosen],
        window_from_cam=refined.window_from_cam[chosen],
        intrinsics=refined.intrinsics[chosen],
        landmarks=tuple(refined.landmarks[i] for i in chosen) if refined.landmarks else (),
        motion=refined.motion,
        grays=tuple(found.grays[i] for i in chosen) if found.grays else (),
    )
