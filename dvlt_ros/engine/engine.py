"""The engine: frames in, reconstructions out, one window at a time.

admit(frame)     decode, gate, keep
run()            window = buffer.take()
                 prediction = predictor.predict(window, K from the budget)
                 placed = placer.place(window, prediction)
                 one Reconstruction per new frame

Single-threaded and deterministic but for the clock; `worker` gives it a thread.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence

from ..errors import InputError
from .admission import BLANK, Admission, Opened, reason_for_a_new_map
from .budget import BudgetController
from .config import EngineConfig
from .counters import Counters
from .frames import Frame
from .graph_config import Loop
from .gravity import Gravity
from .keyframes import KeyframeGate
from .limits import Limits
from .loop_closing import LoopFinder
from .loops import NoLoop
from .placing import reconstruct
from .prediction import DeviceMemoryError, Predictor
from .results import NO_STATION, WindowResult
from .rig import Rig
from .stations import Station
from .window_placer import WindowPlacer
from .windows import Anchor, View, Window, WindowBuffer, last_moments

SEAM_VIEWS = 3  # shared views that are decoded again to join a window
REMEMBERED_ARRIVALS = 20


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
        self._budget = BudgetController(self.limits)
        self._admission = Admission(rig, self.counters, notify)
        self._gate = KeyframeGate()
        self._buffer = WindowBuffer()
        self._placer = WindowPlacer(rig, gravity, self.counters, notify)
        self._arrivals_ns: deque[int] = deque(maxlen=REMEMBERED_ARRIVALS)
        self._number = 0
        self._segment = NO_STATION

    @property
    def config(self) -> EngineConfig:
        return self._config

    @property
    def limits(self) -> Limits:
        """What the budget may choose from."""
        return Limits.of(self._config, self.predictor, self._num_cameras)

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
        return BLANK if len(self.covered) == self._num_cameras else self._placer.problem

    @property
    def ladder(self) -> str:
        """Where the budget's ladder stands and why."""
        return str(self._budget.ladder)

    def configure(self, config: EngineConfig) -> None:
        """Takes effect with the next frame and window.

        Raises:
            ConfigError: values that do not fit the checkpoint.
        """
        self._budget.update(Limits.of(config, self.predictor, self._num_cameras))
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
        reason = reason_for_a_new_map(self._buffer.latest, opened[0], self._config.max_gap_s)
        if reason is not None:
            self._clear()
            self._notify(f"a new map begins: {reason}")
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

    def begin_anew(self) -> None:
        """What comes next begins a map that is not joined to those before; frames that still wait count as dropped."""
        self._clear()
        if self.loops is not None:
            self.loops.forget()

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
        self._placer.restart()
        self._arrivals_ns.clear()

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
        placed = self._placer.place(window, shared, prediction, self._config)
        if placed.new:
            self._buffer.retain(last_moments(placed.in_map, self._config.window_overlap))
        station, map_id = self._station(placed.in_map, rung.image_size), self._placer.map_id
        reconstructions = tuple(reconstruct(anchor, prediction.mapping, map_id, self._config) for anchor in placed.new)
        window_ms = (self._clock_ns() - start_ns) * 1e-6
        self._budget.observe(len(window.views), plan.num_steps, rung.image_size, window_ms, self.own_ms)
        return WindowResult(
            reconstructions, placed.seam, map_id, plan, len(window.views), rung.image_size, waited_ms, window_ms,
            placed.rig, station, self._segment,
        )  # fmt: skip

    def _station(self, anchors: Sequence[Anchor], image_size: int) -> Station | None:
        """A window's views in the map as one, if it is new enough."""
        if self.loops is None:
            return None
        try:
            station = self.loops.see(anchors, self._placer.map_id, image_size)
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

    def _make_room(self) -> None:
        rung = self._budget.rung
        lost = self._buffer.shrink(rung.window_size, self._config.window_overlap)
        self.counters.add(dropped=len(lost))

    @property
    def _num_cameras(self) -> int:
        return 1 if self.rig is None else len(self.rig.cameras)

    def _frame_interval_ms(self) -> float | None:
        if len(self._arrivals_ns) < 2:
            return None
        return (self._arrivals_ns[-1] - self._arrivals_ns[0]) * 1e-6 / (len(self._arrivals_ns) - 1)
