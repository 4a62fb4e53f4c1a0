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
from dataclasses import dataclass

import numpy as np

from ..errors import ConfigError, InputError
from .budget import BudgetController, Limits, Plan
from .config import EngineConfig
from .counters import Counters
from .frames import Frame, Reconstruction, SeamReport
from .keyframes import KeyframeGate, Thumbnail
from .placing import MapFrame, anchor_views, reconstruct
from .predictor import DeviceMemoryError, DvltPredictor, WindowPrediction
from .windows import Anchor, View, Window, WindowBuffer

SEAM_VIEWS = 3  # shared views that are decoded again to join a window
OUT_OF_ORDER_S = 0.5  # a stamp that goes back by less is a late frame, by more another run of the clock
REMEMBERED_ARRIVALS = 20


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


class Engine:
    """Owns the stream's state. ``notify`` gets one sentence for everything that went wrong and was survived."""

    def __init__(
        self,
        predictor: DvltPredictor,
        config: EngineConfig,
        notify: Callable[[str], None] = lambda _: None,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.predictor = predictor
        self.counters = Counters()
        self.own_ms = 0.0  # what follows a window until its frames are published; the publisher measures it
        self._config = config
        self._notify = notify
        self._clock_ns = clock_ns
        self._budget = BudgetController(limits(config, predictor))
        self._gate = KeyframeGate()
        self._buffer = WindowBuffer()
        self._map = MapFrame()
        self._arrivals_ns: deque[int] = deque(maxlen=REMEMBERED_ARRIVALS)
        self._latest_stamp_ns = 0
        self._number = 0

    @property
    def config(self) -> EngineConfig:
        return self._config

    @property
    def limits(self) -> Limits:
        """What the budget may choose from."""
        return limits(self._config, self.predictor)

    @property
    def ladder(self) -> str:
        """Where the budget's ladder stands and why."""
        return self._budget.ladder

    def configure(self, config: EngineConfig) -> None:
        """Takes effect with the next frame and window.

        Raises:
            ConfigError: values that do not fit the checkpoint.
        """
        self._budget.update(limits(config, self.predictor))
        self._config = config

    def admit(self, frame: Frame) -> None:
        """Takes a frame into the next window, or counts why not."""
        if (problem := self._out_of_order(frame)) is not None:
            self._refuse(frame, problem)
            return
        self._latest_stamp_ns = frame.stamp_ns
        try:
            picture = frame.load()
        except InputError as error:
            self._refuse(frame, str(error))
            return
        except Exception:
            self.counters.add(refused=1)
            raise
        thumbnail = Thumbnail.of(picture.image)
        if thumbnail.is_blank:
            self._refuse(frame, "the image shows nothing; is the camera covered?")
            return
        if (reason := self._reason_for_a_new_map(frame, picture.image.shape[:2])) is not None:
            self.restart(reason)
        if not self._gate.passes(frame.stamp_ns, thumbnail, self._config):
            self.counters.add(passed_over=1)
            return
        self.counters.add(accepted=1)
        self._arrivals_ns.append(frame.received_ns)
        self._buffer.put(View(self._number, frame, picture))
        self._number += 1
        self._make_room()

    def restart(self, reason: str) -> None:
        """What comes next begins another map."""
        self.forget()
        self._notify(f"a new map begins: {reason}")

    def forget(self) -> None:
        """The stream has ended; frames that still wait count as dropped."""
        self.counters.add(dropped=len(self._buffer.clear()))
        self.predictor.reset()
        self._gate = KeyframeGate()
        self._map.restart()
        self._arrivals_ns.clear()

    def is_full(self) -> bool:
        """Whether another frame would push one out."""
        return self._buffer.room(self._budget.rung.window_size) == 0

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
        shared = window.shared[-SEAM_VIEWS:]
        decoded = range(len(window.shared) - len(shared), len(window.views))
        prediction = self.predictor.predict(window.views, plan.num_steps, rung.image_size, decoded)
        new, seam = self._place(window, shared, prediction)
        reconstructions = tuple(
            reconstruct(anchor, prediction.mapping, self._map.map_id, self._config) for anchor in new
        )
        window_ms = (self._clock_ns() - start_ns) * 1e-6
        self._budget.observe(len(window.views), plan.num_steps, rung.image_size, window_ms, self.own_ms)
        return WindowResult(
            reconstructions, seam, self._map.map_id, plan, len(window.views), rung.image_size, waited_ms, window_ms
        )

    def _place(
        self, window: Window, shared: Sequence[Anchor], prediction: WindowPrediction
    ) -> tuple[list[Anchor], SeamReport]:
        """The new views in the map, and how they came there; those without a camera are dropped."""
        posed = np.isfinite(prediction.window_from_cam[len(shared) :]).all(axis=(-2, -1))
        if not posed.all():
            self.counters.add(dropped=int((~posed).sum()))
            self._notify(f"{(~posed).sum()} of {len(posed)} frames dropped: no camera explains their rays")
        if not posed.any():
            return [], SeamReport("refused", None, "no camera explains the rays of any new frame")
        map_from_window, seam = self._map.place(prediction, shared, self._config.max_seam_residual)
        if seam.state == "refused":
            self._notify(f"a new map begins: a window does not join it, {seam.reason}")
        views = [*(anchor.view for anchor in shared), *window.new]
        placed = anchor_views(views, prediction, map_from_window)
        new = [anchor for anchor in placed if anchor.view in window.new]
        known = list(window.shared) if seam.state == "joined" else [a for a in placed if a.view not in window.new]
        self._buffer.retain([*known, *new][-self._config.window_overlap :])
        return new, seam

    def _make_room(self) -> None:
        rung = self._budget.rung
        lost = self._buffer.shrink(rung.window_size, min(self._config.window_overlap, rung.window_size - 1))
        self.counters.add(dropped=len(lost))

    def _refuse(self, frame: Frame, problem: str) -> None:
        self.counters.add(refused=1)
        self._notify(f"frame {frame.stamp_ns * 1e-9:.3f} s refused: {problem}")

    def _out_of_order(self, frame: Frame) -> str | None:
        if frame.stamp_ns <= 0:
            return "its stamp is zero; the driver must set it"
        back_s = (self._latest_stamp_ns - frame.stamp_ns) * 1e-9
        if 0 <= back_s < OUT_OF_ORDER_S:
            return f"its stamp is {back_s:.3f} s behind the frame before it"
        return None

    def _reason_for_a_new_map(self, frame: Frame, size: tuple[int, int]) -> str | None:
        latest = self._buffer.latest
        if latest is None:
            return None
        elapsed_s = (frame.stamp_ns - latest.frame.stamp_ns) * 1e-9
        if elapsed_s < 0:
            return f"stamps went back by {-elapsed_s:.1f} s"
        if elapsed_s > self._config.max_gap_s:
            return f"no frame for {elapsed_s:.1f} s"
        if frame.frame_id != latest.frame.frame_id:
            return f"the camera is now {frame.frame_id!r}, it was {latest.frame.frame_id!r}"
        before = latest.picture.image.shape[:2]
        if size != before:
            return f"images are now {size[1]} x {size[0]}, they were {before[1]} x {before[0]}"
        return None

    def _frame_interval_ms(self) -> float | None:
        if len(self._arrivals_ns) < 2:
            return None
        return (self._arrivals_ns[-1] - self._arrivals_ns[0]) * 1e-6 / (len(self._arrivals_ns) - 1)


def limits(config: EngineConfig, predictor: DvltPredictor) -> Limits:
    """What configuration and checkpoint allow together.

    Raises:
        ConfigError: a range of K that is empty with what the checkpoint adds to it.
    """
    k_max = config.k_max or predictor.max_steps
    k_min = config.k_min or min(predictor.min_steps, k_max)
    if k_min > k_max:
        raise ConfigError(f"k_min {k_min} is above k_max {k_max} (0 stands for the checkpoint's own)")
    if predictor.has_fixed_steps and not k_min == k_max == predictor.max_steps:
        raise ConfigError(f"this checkpoint has one block per step: k_min and k_max must be 0 or {predictor.max_steps}")
    return Limits(
        config.latency_budget_ms, k_min, k_max, config.window_size, config.window_overlap,
        config.image_size or predictor.image_size,
    )  # fmt: skip
