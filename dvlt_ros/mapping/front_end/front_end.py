"""The front end: frames in, reconstructions out, one window at a time.

admit(frame)     decode, gate, keep
run()            window = buffer.take()
                 prediction = predictor.predict(window, K from the budget)
                 placed = placer.place(window, prediction)
                 one Reconstruction per new frame

Single-threaded, and deterministic apart from the clock.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence

from ...errors import InputError
from ...health import Health
from ..budget.arrivals import Arrivals
from ..budget.controller import BudgetController
from ..budget.limits import Limits
from ..data.counters import Counters
from ..data.frames import Frame
from ..data.views import Anchor, View, Window, last_frame_sets
from ..inference.prediction import DeviceMemoryError, Predictor, SeveralReferences, WindowPrediction
from ..keyframes.admission import Admission, Opened, reason_for_a_new_map
from ..keyframes.gate import KeyframeGate
from ..keyframes.window_buffer import WindowBuffer
from ..loops.detector import LoopDetector
from ..loops.verification import UnverifiedLoop
from ..pose_graph.config import LoopClosure
from ..sensors.gravity import Gravity
from ..sensors.rig import Rig, RigReport
from ..submaps.placement import reconstruct
from ..submaps.submap import Submap
from ..submaps.window_placer import WindowPlacer
from .beside import BesideNetwork
from .config import FrontEndConfig
from .window_result import NO_SUBMAP, WindowResult

REGISTRATION_VIEWS = 3  # shared views that are decoded again to join a window


class FrontEnd:
    """Owns the state of the stream. ``notify`` gets one sentence for every problem after which the stream goes on."""

    def __init__(
        self,
        predictor: Predictor,
        config: FrontEndConfig,
        notify: Callable[[str], None] = lambda _: None,
        clock_ns: Callable[[], int] = time.monotonic_ns,
        rig: Rig | None = None,
        gravity: Gravity | None = None,
        loops: LoopDetector | None = None,
    ) -> None:
        """``rig`` is None with one camera, ``loops`` if none are closed; without ``gravity`` the first is level."""
        self.predictor = predictor
        self.rig = rig
        self.gravity = gravity
        self.loops = loops
        self.counters = Counters()
        self.overhead_ms = 0.0  # from the end of a window to the publication of its frames
        self._config = config
        self._notify = notify
        self._clock_ns = clock_ns
        self._beside = BesideNetwork(predictor)
        self.budget = BudgetController(self.limits, self._beside.usual_ms)
        self._admission = Admission(rig, self.counters, notify, config.model.image_rotation)
        self._gate = KeyframeGate()
        self._buffer = WindowBuffer()
        self._taken_ns: deque[int] = deque(maxlen=2)  # stamps of the last frame sets, keyframes or not
        self._placer = WindowPlacer(rig, gravity, self.counters, notify)
        self._arrivals_ns = Arrivals()
        self._number = 0
        self._submap_id = NO_SUBMAP
        self._latest_rig: RigReport | None = None

    @property
    def config(self) -> FrontEndConfig:
        return self._config

    @property
    def limits(self) -> Limits:
        """What the budget may choose from."""
        return self._limits(self._config)

    @property
    def latest_stamp_ns(self) -> int:
        """Newest stamp of all frames that were not out of order."""
        return self._admission.latest_stamp_ns

    @property
    def map_id(self) -> int:
        return self._placer.map_id

    @property
    def quality_level(self) -> str:
        """The budget's quality level, and why it was changed last."""
        return str(self.budget.quality_levels)

    @property
    def rig_residual_deg(self) -> float | None:
        """Angle between the mounts and the cameras of the latest window; None: unknown, or there is one camera."""
        return None if self._latest_rig is None else self._latest_rig.residual_deg

    def health(self) -> dict[str, Health]:
        """Health of the components up to the registration, by name."""
        found = {"images": self._admission.health(), "registration": self._placer.health()}
        if self.rig is not None:
            found["cameras"] = self.rig.health(self.rig_residual_deg)
        if self.gravity is not None:
            found["gravity"] = self.gravity.health()
        return found

    def configure(self, config: FrontEndConfig) -> None:
        """Takes effect with the next frame and window.

        Raises:
            ConfigError: values that do not fit the checkpoint.
        """
        self.budget.update(self._limits(config))
        self._config = config

    def rehearse(self, views: Sequence[View]) -> None:
        """Runs a window with k_min steps and discards its prediction; the budget learns how long it took."""
        num_steps, image_size, start_ns = self.limits.k_min, self.limits.image_size, self._clock_ns()
        self.predictor.predict(views, num_steps, image_size, range(len(views)))
        spent_ms = (self._clock_ns() - start_ns) * 1e-6
        self.budget.expect(len(views), num_steps, image_size, spent_ms - self._beside.spent_ms)
        self.predictor.reset()

    def admit(self, frame: Frame) -> None:
        """Adds a frame to the next window, or counts it as refused or passed over; a rig waits for whole sets."""
        for opened in self.open(frame):
            self.take(opened)

    def open(self, frame: Frame) -> list[Sequence[Opened]]:
        """The frame sets that go on with this frame, decoded; images without content are refused and counted."""
        return self._decoded(self._admission.frame_sets(frame, self._config.window.max_gap_s))

    def open_last(self) -> list[Sequence[Opened]]:
        """At the end of a stream: the frame set that waits for another one, because its stamp has jumped."""
        return self._decoded(self._admission.release())

    def _decoded(self, sets: Sequence[tuple[Frame, ...]]) -> list[Sequence[Opened]]:
        frame_sets = deque(sets)
        try:
            opened: list[Sequence[Opened]] = []
            while frame_sets:
                opened.append(self._admission.open(frame_sets.popleft()))
        except Exception:
            self.counters.add(refused=sum(map(len, [*opened, *frame_sets])))
            raise
        return [images for images in opened if images]

    def ends_map(self, opened: Sequence[Opened]) -> bool:
        """Whether these images begin another map, which would drop the keyframes that still wait."""
        return bool(self._buffer.num_waiting) and self._reason_for_a_new_map(opened) is not None

    def _reason_for_a_new_map(self, opened: Sequence[Opened]) -> str | None:
        return reason_for_a_new_map(self._buffer.latest, self._taken_ns, opened[0], self._config.window.max_gap_s)

    def take(self, opened: Sequence[Opened]) -> None:
        """Adds the images of one frame set to the next window, all of them or none."""
        reason = self._reason_for_a_new_map(opened)
        if reason is not None:
            self._clear()
            self._notify(f"a new map begins: {reason}")
        self._taken_ns.append(opened[0].frame.stamp_ns)
        thumbnails = {o.frame.camera: o.thumbnail for o in opened}
        if not self._gate.passes(opened[0].frame.stamp_ns, thumbnails, self._config.keyframes):
            self.counters.add(passed_over=len(opened))
            return
        self.counters.add(accepted=len(opened))
        self._arrivals_ns += [o.frame.received_ns for o in opened]
        first = self._number
        self._buffer.put(*(View(n, o.frame, o.picture, first, o.turn) for n, o in enumerate(opened, start=first)))
        self._number += len(opened)
        self._make_room()

    def begin_anew(self) -> None:
        """Begins another map, which no loop joins to earlier ones; frames that still wait count as dropped."""
        self._clear()
        self._admission.forget()
        if self.loops is not None:
            self.loops.forget()

    def forget(self) -> None:
        """Ends the stream: frames that still wait count as dropped, and the next stream looks up the mounts again."""
        self._clear()
        self._admission.forget()
        if self.rig is not None:
            waiting = self.rig.forget()
            self.counters.add(accepted=waiting, dropped=waiting)

    def _clear(self) -> None:
        self.counters.add(dropped=len(self._buffer.clear()))
        self.predictor.reset()
        self._gate = KeyframeGate()
        self._taken_ns.clear()
        self._placer.restart()
        self._arrivals_ns.clear()

    def is_full(self) -> bool:
        """Whether another frame would push one out. Whoever gives a pose hint waits: half a window is enough then."""
        share = 2 if self.loops is not None and self.loops.is_awaited else 1
        return self._buffer.is_full(max(2, self.budget.level.window_size // share))

    def flush_at_ns(self) -> int | None:
        """When a frame that waits for a second one runs without it; None: no frame waits."""
        oldest = self._buffer.oldest
        if oldest is None or self._buffer.is_ready():
            return None
        return oldest.frame.received_ns + int(self._config.window.max_wait_s * 1e9)

    def run(self, flush: bool = False, keep_all: bool = False) -> WindowResult | None:
        """Runs one window if there is one; ``flush``: also a single first frame; ``keep_all``: memory drops none."""
        while self._buffer.num_waiting and (flush or self._buffer.is_ready()):
            if keep_all:
                self._buffer.shrink_overlap(self.budget.level.window_size, self._config.window.overlap)
            else:
                self._make_room()
            window = self._buffer.take(self.budget.level.window_size if keep_all else None)
            try:
                return self._run(window)
            except DeviceMemoryError as error:
                if not self.budget.out_of_memory(len(window.views)):
                    self.counters.add(dropped=len(window.new))
                    raise
                self._notify(f"out of memory: {error}; smaller windows from now on")
                self._buffer.put_back(window)
            except Exception:
                self.counters.add(dropped=len(window.new))
                raise
        return None

    def _run(self, window: Window) -> WindowResult:
        start_ns, level = self._clock_ns(), self.budget.level
        waited_ms = (start_ns - window.new[0].frame.received_ns) * 1e-6
        plan = self.budget.plan(len(window.views), len(window.new), waited_ms, self._arrivals_ns.interval_ms)
        shared = last_frame_sets(window.shared, REGISTRATION_VIEWS)
        decoded = range(len(window.shared) - len(shared), len(window.views))
        self._beside.limit(self.budget.remaining_ms(waited_ms))
        if isinstance(self.predictor, SeveralReferences):
            self.predictor.use_references(plan.references)
        prediction = self.predictor.predict(window.views, plan.num_steps, level.image_size, decoded)
        predicted_ns, plan = self._clock_ns(), plan.taking(prediction.num_steps)
        confidence = self._config.confidence.for_checkpoint(self.predictor.cut_share)
        joining, masks = self._config.registration, self._config.masks
        placed = self._placer.place(window, shared, prediction, confidence, joining, masks)
        self._latest_rig = placed.rig
        if placed.new:
            self._buffer.retain(last_frame_sets(placed.in_map, self._config.window.overlap))
        submap, map_id = self._submap(placed.in_map, prediction, level.image_size), self._placer.map_id
        reconstructions = tuple(reconstruct(anchor, prediction.mapping, map_id, confidence) for anchor in placed.new)
        finished_ns = self._clock_ns()
        window_ms = (finished_ns - start_ns) * 1e-6
        times_ms = window_ms - self._beside.spent_ms, self.overhead_ms, (finished_ns - predicted_ns) * 1e-6
        self.budget.observe(len(window.views), plan.work, level.image_size, *times_ms)
        return WindowResult(
            reconstructions, placed.registration, map_id, plan, len(window.views), level.image_size, waited_ms,
            window_ms, finished_ns, placed.rig, submap, self._submap_id, prediction.motion,
        )  # fmt: skip

    def _submap(self, anchors: Sequence[Anchor], prediction: WindowPrediction, image_size: int) -> Submap | None:
        """The window as a submap, if it has a keyframe or the camera has moved or turned far enough since the last."""
        if self.loops is None:
            return None
        try:
            submap = self.loops.see(anchors, self._placer.map_id, image_size, prediction.motion)
        except InputError as error:  # its frames are placed in the map nevertheless
            self._notify(f"a window cannot become a submap: {error}")
            return None
        if submap is not None:
            self._submap_id = submap.number
        return submap

    def check_loop(
        self, waited_ms: float, expected_scale: Callable[[int, int], float | None] = lambda *_: None
    ) -> LoopClosure | UnverifiedLoop | None:
        """Verifies one loop candidate (`LoopDetector.check`); None: there is none, or the next window needs the time.

        ``waited_ms``: since the oldest frame for that one arrived.
        """
        if self.loops is None or not self.loops.is_due:
            return None
        plan = self.budget.plan_apart(self.loops.num_views, waited_ms, self._beside.usual_joint_ms)
        if plan is not None:
            self._beside.limit(plan.limit_ms)
        return None if plan is None else self.loops.check(plan.num_steps, expected_scale)

    def _make_room(self) -> None:
        lost = self._buffer.shrink(self.budget.level.window_size, self._config.window.overlap)
        self.counters.add(dropped=len(lost))

    def _limits(self, config: FrontEndConfig) -> Limits:
        num_cameras = 1 if self.rig is None else len(self.rig.cameras)
        return Limits.of(config.budget, config.window, config.model.image_size, self.predictor, num_cameras)
