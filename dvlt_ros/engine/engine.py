"""The engine: frames in, reconstructions out, one window at a time.

admit(frame)     decode, gate, keep
run()            window = buffer.take()
                 prediction = predictor.predict(window, K from the budget)
                 map_from_window = map.place(prediction)
                 one Reconstruction per new frame

Single-threaded and deterministic but for the clock; `worker` gives it a thread.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..errors import ConfigError, InputError
from .admission import BLANK, OUT_OF_ORDER_S, Admission, Opened
from .budget import BudgetController, Limits, Plan
from .config import EngineConfig
from .counters import Counters
from .frames import Frame, Reconstruction, SeamReport
from .graph_config import Loop
from .gravity import Gravity, GravityError
from .keyframes import KeyframeGate
from .loop_closing import LoopFinder
from .loops import NoLoop
from .placing import MAP_FROM_OPTICAL, MapFrame, anchor_views, reconstruct, without_the_blind
from .prediction import DeviceMemoryError, Predictor, WindowPrediction
from .rig import Rig, RigFit
from .scale_sources import NoObservation, ScaleObservation
from .stations import Station
from .windows import Anchor, View, Window, WindowBuffer, last_moments

NO_CAMERA = "no camera explains their rays"
NOTHING_SEEN = "too few pixels reach min_confidence; is the camera covered?"
NO_STATION = -1
SEAM_VIEWS = 3  # shared views that are decoded again to join a window
REMEMBERED_ARRIVALS = 20


@dataclass(frozen=True, eq=False)
class RigReport:
    """What the cameras of a rig say of each other."""

    baseline: ScaleObservation | NoObservation  # metres per unit of the map, by the distance of their mounts
    residual_deg: float | None  # how far the mounts are from what was seen of late; None: not known yet


@dataclass(frozen=True, eq=False)
class WindowResult:
    """What came of one window."""

    reconstructions: tuple[Reconstruction, ...]  # of the new frames, oldest first
    seam: SeamReport
    map_id: int
    plan: Plan
    num_views: int
    image_size: int
    waited_ms: float  # of the oldest new frame, before the window began
    window_ms: float  # network and joining, copies included
    rig: RigReport | None = None  # None with one camera
    station: Station | None = None  # if it is one
    segment: int = NO_STATION  # number of the latest station: what a loop moves together

    @property
    def leading_camera(self) -> str:
        """The first of a rig that has something new."""
        return self.reconstructions[0].camera if self.reconstructions else ""


class Engine:
    """Owns the stream's state. ``notify`` gets one sentence for everything that went wrong and was survived."""

    def __init__(
        self,
        predictor: Predictor,
        config: EngineConfig,
        notify: Callable[[str], None] = lambda _: None,
        clock_ns: Callable[[], int] = time.monotonic_ns,
        rig: Rig | None = None,
        gravity: Gravity | None = None,
        loops: LoopFinder | None = None,
    ) -> None:
        """``rig`` is None with one camera; without ``gravity`` maps begin as the camera or the rig stands.

        ``loops`` is None if places are not recognised.
        """
        self.predictor = predictor
        self.rig = rig
        self.gravity = gravity
        self.loops = loops
        self.counters = Counters()
        self.own_ms = 0.0  # what follows a window until its frames are published; the publisher measures it
        self._config = config
        self._notify = notify
        self._clock_ns = clock_ns
        self._budget = BudgetController(limits(config, predictor, self._num_cameras))
        self._admission = Admission(rig, self.counters, notify)
        self._gate = KeyframeGate()
        self._buffer = WindowBuffer()
        self._map = MapFrame()
        self._arrivals_ns: deque[int] = deque(maxlen=REMEMBERED_ARRIVALS)
        self._number = 0
        self._lost = ""  # why none of the latest window's new frames has a place
        self._placed: tuple[Anchor, ...] = ()  # of the latest window
        self._segment = NO_STATION

    @property
    def config(self) -> EngineConfig:
        return self._config

    @property
    def limits(self) -> Limits:
        """What the budget may choose from."""
        return limits(self._config, self.predictor, self._num_cameras)

    @property
    def latest_stamp_ns(self) -> int:
        """Of all frames that were not out of order."""
        return self._admission.latest_stamp_ns

    @property
    def covered(self) -> frozenset[str]:
        """Cameras whose latest image shows nothing."""
        return self._admission.covered

    @property
    def sight_problem(self) -> str:
        """Why nothing new has a place in the map; empty: something has."""
        return BLANK if len(self.covered) == self._num_cameras else self._lost

    @property
    def ladder(self) -> str:
        """Where the budget's ladder stands and why."""
        return self._budget.ladder

    def configure(self, config: EngineConfig) -> None:
        """Takes effect with the next frame and window.

        Raises:
            ConfigError: values that do not fit the checkpoint.
        """
        self._budget.update(limits(config, self.predictor, self._num_cameras))
        self._config = config

    def rehearse(self, views: Sequence[View]) -> None:
        """A window with k_min steps that leads nowhere: only the budget learns from it."""
        num_steps, image_size = self.limits.k_min, self.limits.image_size
        start_ns = self._clock_ns()
        self.predictor.predict(views, num_steps, image_size, range(len(views)))
        self._budget.expect(len(views), num_steps, image_size, (self._clock_ns() - start_ns) * 1e-6)
        self.predictor.reset()

    def admit(self, frame: Frame) -> None:
        """Takes a frame into the next window, or counts why not; those of a rig wait for each other."""
        moments = deque(self._admission.moments(frame))
        try:
            while moments:
                self._admit(self._admission.open(moments.popleft()))
        except Exception:
            self.counters.add(refused=sum(map(len, moments)))
            raise

    def _admit(self, opened: Sequence[Opened]) -> None:
        """The images of one moment: together or not at all."""
        if not opened:
            return
        if (reason := self._reason_for_a_new_map(opened[0])) is not None:
            self.restart(reason)
        thumbnails = {frame.camera: thumbnail for frame, _, thumbnail in opened}
        if not self._gate.passes(opened[0].frame.stamp_ns, thumbnails, self._config):
            self.counters.add(passed_over=len(opened))
            return
        self.counters.add(accepted=len(opened))
        self._arrivals_ns += [frame.received_ns for frame, _, _ in opened]
        numbers = range(self._number, self._number + len(opened))
        self._buffer.put(*(View(n, o.frame, o.picture, self._number) for n, o in zip(numbers, opened, strict=True)))
        self._number += len(opened)
        self._make_room()

    def restart(self, reason: str, forget_places: bool = False) -> None:
        """What comes next begins another map; frames that still wait for their window count as dropped.

        ``forget_places``: it will not be joined to those before.
        """
        self._clear()
        if forget_places and self.loops is not None:
            self.loops.forget()
        self._notify(f"a new map begins: {reason}")

    def forget(self) -> None:
        """The stream has ended; frames that still wait count as dropped, and mounts are looked up anew."""
        self._clear()
        if self.rig is not None:
            waiting = self.rig.forget()
            self.counters.add(accepted=waiting, dropped=waiting)

    def _clear(self) -> None:
        self.counters.add(dropped=len(self._buffer.clear()))
        self.predictor.reset()
        self._gate = KeyframeGate()
        self._map.restart()
        self._arrivals_ns.clear()
        self._lost = ""

    def is_full(self) -> bool:
        """Whether another frame would push one out."""
        return self._buffer.is_full(self._budget.rung.window_size)

    def flush_at_ns(self) -> int | None:
        """When a frame that waits for a second one goes alone; None: nobody waits."""
        oldest = self._buffer.oldest
        if oldest is None or self._buffer.is_ready():
            return None
        return oldest.frame.received_ns + int(self._config.max_wait_s * 1e9)

    def run(self, flush: bool = False) -> WindowResult | None:
        """Runs one window if there is one; ``flush``: a lonely first frame too."""
        while self._buffer.num_waiting and (flush or self._buffer.is_ready()):
            self._make_room()
            window = self._buffer.take()
            try:
                return self._run(window)
            except DeviceMemoryError as error:
                if not self._budget.out_of_memory(len(window.views)):
                    self.counters.add(dropped=len(window.new))
                    raise
                self._notify(f"out of memory: {error}; smaller windows from now on")
                self._buffer.put_back(window)
            except Exception:
                self.counters.add(dropped=len(window.new))
                raise
        return None

    def _run(self, window: Window) -> WindowResult:
        start_ns, rung = self._clock_ns(), self._budget.rung
        waited_ms = (start_ns - window.new[0].frame.received_ns) * 1e-6
        plan = self._budget.plan(len(window.views), len(window.new), waited_ms, self._frame_interval_ms())
        shared = last_moments(window.shared, SEAM_VIEWS)
        decoded = range(len(window.shared) - len(shared), len(window.views))
        prediction = self.predictor.predict(window.views, plan.num_steps, rung.image_size, decoded)
        new, seam, rig = self._place(window, shared, prediction)
        station = self._station(rung.image_size)
        reconstructions = tuple(
            reconstruct(anchor, prediction.mapping, self._map.map_id, self._config) for anchor in new
        )
        window_ms = (self._clock_ns() - start_ns) * 1e-6
        self._budget.observe(len(window.views), plan.num_steps, rung.image_size, window_ms, self.own_ms)
        return WindowResult(
            reconstructions, seam, self._map.map_id, plan, len(window.views), rung.image_size, waited_ms, window_ms,
            rig, station, self._segment,
        )  # fmt: skip

    def _station(self, image_size: int) -> Station | None:
        """The latest window as one, if it is new enough."""
        if self.loops is None:
            return None
        try:
            station = self.loops.see(self._placed, self._map.map_id, image_size)
        except InputError as error:  # the frames have their place all the same
            self._notify(f"a window cannot be remembered as a place: {error}")
            return None
        if station is not None:
            self._segment = station.number
        return station

    def check_loop(
        self, waited_ms: float, expected_scale: Callable[[int, int], float | None] = lambda *_: None
    ) -> Loop | NoLoop | None:
        """One more window over two visits of what may be one place; None: there is none, or no time for it.

        Between two windows, and only where the next one keeps the latency budget all the same: ``waited_ms`` is what
        the oldest frame for it has waited. For ``expected_scale`` see `LoopFinder.check`.
        """
        if self.loops is None or not self.loops.is_due:
            return None
        num_steps = self._budget.steps_apart(self.loops.num_views, waited_ms)
        return None if num_steps is None else self.loops.check(num_steps, expected_scale)

    def _place(
        self, window: Window, shared: Sequence[Anchor], prediction: WindowPrediction
    ) -> tuple[list[Anchor], SeamReport, RigReport | None]:
        """The new views in the map, and how they came there; those without a camera are dropped."""
        self._placed = ()
        prediction, self._lost = self._without_the_lost(prediction, len(shared))
        if self._lost:
            return [], SeamReport("refused", None, self._lost), None
        views = [*(anchor.view for anchor in shared), *window.new]
        prediction, fit = self._constrained(views, prediction)
        try:
            map_from_window, seam = self._map.place(
                prediction, shared, self._config.max_seam_residual, lambda index: self._axes(views[index].frame)
            )
        except GravityError as error:
            self._lost = f"a new map cannot begin before gravity is known: {error}"
            self.counters.add(dropped=int(np.isfinite(prediction.window_from_cam[len(shared) :, 0, 0]).sum()))
            self._notify(self._lost)
            return [], SeamReport("refused", None, self._lost), None
        if seam.state == "refused":
            self._notify(f"a new map begins: a window does not join it, {seam.reason}")
        placed = anchor_views(views, prediction, map_from_window)
        new = [anchor for anchor in placed if anchor.view in window.new]
        known = list(window.shared) if seam.state == "joined" else [a for a in placed if a.view not in window.new]
        self._placed = (*known, *new)
        self._buffer.retain(last_moments(self._placed, self._config.window_overlap))
        return new, seam, None if fit is None else RigReport(fit.scale_in(map_from_window), fit.residual_deg)

    def _without_the_lost(self, prediction: WindowPrediction, num_shared: int) -> tuple[WindowPrediction, str]:
        """Drops new views that have no place; and why, if none has one."""
        seeing = without_the_blind(prediction, num_shared, self._config)
        posed, placed = (np.isfinite(p.window_from_cam[num_shared:]).all(axis=(-2, -1)) for p in (prediction, seeing))
        reasons = {NO_CAMERA: ~posed, NOTHING_SEEN: posed & ~placed}
        for reason, lost in reasons.items():
            if lost.any():
                self.counters.add(dropped=int(lost.sum()))
                self._notify(f"{lost.sum()} of {len(lost)} frames dropped: {reason}")
        return seeing, "" if placed.any() else next(reason for reason, lost in reasons.items() if lost.any())

    def _constrained(
        self, views: Sequence[View], prediction: WindowPrediction
    ) -> tuple[WindowPrediction, RigFit | None]:
        """The cameras of a rig, as their mounts allow."""
        if self.rig is None:
            return prediction, None
        fit = self.rig.fit(views, prediction.window_from_cam)
        return replace(prediction, window_from_cam=fit.window_from_cam), fit

    def _axes(self, frame: Frame) -> np.ndarray:
        """map_from_cam rotation (3, 3) of a map that begins at this frame. Raises GravityError: it should wait."""
        standing = MAP_FROM_OPTICAL if self.rig is None else self.rig.base_from_cam(frame.camera)[:3, :3]
        return standing if self.gravity is None else self.gravity.map_from_cam(frame, standing)

    def _make_room(self) -> None:
        rung = self._budget.rung
        lost = self._buffer.shrink(rung.window_size, self._config.window_overlap)
        self.counters.add(dropped=len(lost))

    def _reason_for_a_new_map(self, opened: Opened) -> str | None:
        latest, frame, size = self._buffer.latest, opened.frame, opened.picture.image.shape[:2]
        if latest is None:
            return None
        elapsed_s = (frame.stamp_ns - latest.frame.stamp_ns) * 1e-9
        if elapsed_s <= -OUT_OF_ORDER_S:
            return f"stamps went back by {-elapsed_s:.1f} s"
        if elapsed_s > self._config.max_gap_s:
            return f"no frame for {elapsed_s:.1f} s"
        if frame.camera == latest.frame.camera and frame.frame_id != latest.frame.frame_id:
            return f"the camera is now {frame.frame_id!r}, it was {latest.frame.frame_id!r}"
        before = latest.picture.image.shape[:2]
        if size != before:
            return f"images are now {size[1]} x {size[0]}, they were {before[1]} x {before[0]}"
        return None

    @property
    def _num_cameras(self) -> int:
        return 1 if self.rig is None else len(self.rig.cameras)

    def _frame_interval_ms(self) -> float | None:
        if len(self._arrivals_ns) < 2:
            return None
        return (self._arrivals_ns[-1] - self._arrivals_ns[0]) * 1e-6 / (len(self._arrivals_ns) - 1)


def limits(config: EngineConfig, predictor: Predictor, num_cameras: int) -> Limits:
    """What configuration, checkpoint and cameras allow together.

    Raises:
        ConfigError: a range of K that is empty with what the checkpoint adds to it, or a window too small.
    """
    if config.window_size < 2 * num_cameras:
        raise ConfigError(
            f"window_size must be at least {2 * num_cameras}, two moments of {num_cameras} cameras, "
            f"got {config.window_size}"
        )
    k_max = config.k_max or predictor.max_steps
    k_min = config.k_min or min(predictor.min_steps, k_max)
    if k_min > k_max:
        raise ConfigError(f"k_min {k_min} is above k_max {k_max} (0 stands for the checkpoint's own)")
    if predictor.has_fixed_steps and not k_min == k_max == predictor.max_steps:
        raise ConfigError(f"this model has one number of steps: k_min and k_max must be 0 or {predictor.max_steps}")
    return Limits(
        config.latency_budget_ms, k_min, k_max, config.window_size, config.window_overlap,
        config.image_size or predictor.image_size, 2 * num_cameras,
    )  # fmt: skip
