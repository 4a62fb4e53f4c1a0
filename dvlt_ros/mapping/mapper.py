"""The mapper: frames in, map updates out. The algorithm is `add`, `step` and `_next`; the stages are packages here.

    mapper = Mapper(MapperConfig(), load_predictor(...), Sensors(odometry=look_up))
    for frame in frames:
        if (update := mapper.add(frame)) is not None:
            use(update.frames, update.corrections)
    for update in mapper.finish():
        use(update.frames, update.corrections)
    cloud = mapper.snapshot().cloud

The stages of a frame:

    keyframes/   the frame is decoded, and accepted, passed over or refused with a reason; keyframes wait for a window
    inference/   the network predicts the window, with K steps that `budget/` chooses
    submaps/     the window is registered to earlier ones; if the camera has moved far enough it becomes a submap
    sensors/, scale/, maps/    odometry, measured depth or two cameras give metres and the map's frame
    loops/, pose_graph/        between two windows: loop closures are verified, and the map is corrected at once

All calls come from one thread, which owns the network's device, except those that are marked thread-safe.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from .config import MapperConfig
from .data.corrections import Correction
from .data.counters import Counters
from .data.frames import Frame
from .front_end.front_end import FrontEnd
from .front_end.known_poses import refined
from .front_end.warm_up import warm_up
from .inference.prediction import Predictor
from .kept_maps import KeptMaps
from .keyframes.admission import Opened
from .loop_closer import LoopCloser, prepare_loops
from .maps.builder import MapBuilder
from .maps.localizer import Localizer
from .maps.map_part import MapSnapshot
from .maps.map_update import MapUpdate
from .maps.metric_map import MetricMap
from .maps.placed_map import PlacedMap
from .maps.unscaled_map import UnscaledMap
from .sensors.suite import Sensors
from .status import MapperStatus, status_of
from .surfaces.surface_map import SurfaceMap


class Mapper(KeptMaps):
    """The one way in for the node, the offline tool, the web page and the benchmarks."""

    def __init__(
        self,
        config: MapperConfig,
        predictor: Predictor,
        sensors: Sensors | None = None,
        notify: Callable[[str], None] = lambda _: None,
        clock_ns: Callable[[], int] = time.monotonic_ns,
        ended: Callable[[MapSnapshot, bool], None] | None = None,
        loop_closed: Callable[[str], None] | None = None,
        in_real_time: bool = False,
    ) -> None:
        """Args:
            sensors: what the robot knows beside the images of one camera.
            notify: gets one sentence for everything that went wrong and was survived.
            ended: gets maps that are not kept any longer, see `MapBuilder`.
            loop_closed: gets one sentence for every closed loop; None: ``notify`` gets it.
            in_real_time: frames do not wait, as those of a recording do.

        Raises:
            ConfigError: values that do not fit the checkpoint, or loops that must be closed and cannot be.
        """
        super().__init__(config, notify)
        predictor.reset()  # it may have seen another stream
        self.predictor, self.sensors = predictor, (sensors := sensors or Sensors())
        predictor = refined(predictor, config.refinement, self.sensors, in_real_time)
        localizer = Localizer() if config.map.mode == "localization" else None
        needed = localizer is not None
        self.loops = prepare_loops(config.loops, predictor, sensors.tell_metres, sensors.odometry, needed)
        about = sensors.rig, sensors.gravity, self.loops.detector
        self._front_end = FrontEnd(predictor, config, notify, clock_ns, *about)
        self._map: PlacedMap = UnscaledMap(self.loops.graph, localizer)
        if sensors.tell_metres:
            self._map = MetricMap(sensors.odometry, config.scale, sensors.depth, self.loops.graph, localizer)
        self._closer = LoopCloser(self._front_end, self._map, self.loops, loop_closed or notify)
        self._builder = MapBuilder(config.map, self.sensors.first_camera, ended)
        self.surfaces = SurfaceMap(config.surfaces, sensors.tell_metres, sensors.why_not_level, localizer is not None)
        self._opened: deque[Sequence[Opened]] = deque()  # frame sets of `add` that wait for the window before them
        self._corrections: tuple[Correction, ...] = ()  # for the next update
        self._latest: MapUpdate | None = None
        self._refresh()

    # ---- the algorithm

    def add(self, frame: Frame) -> MapUpdate | None:
        """Adds one frame and runs a window when it is full; no frame is dropped for lack of time.

        The map contains the update when this returns. None: the frame waits for others.

        Raises:
            DeviceMemoryError: the smallest window does not fit on the device.
        """
        self._opened += self._front_end.open(frame)
        return self._next(flush=False)

    def finish(self) -> Iterator[MapUpdate]:
        """Runs the frames that still wait, at the end of a stream; the last update has the last loop corrections."""
        self._opened += self._front_end.open_last()
        while (update := self._next(flush=True)) is not None:
            yield update
        if (update := self.last_corrections()) is not None:
            self.integrate(update)
            yield update

    def last_corrections(self) -> MapUpdate | None:
        """At the end of a stream: the latest keyframes are adjusted once more; with what waits for the next window."""
        if (correction := self._closer.adjust()) is not None:
            self._corrections += (correction,)
            self._refresh()
        if not self._corrections:
            return None
        return MapUpdate(None, None, is_metric=False, is_placed=True, corrections=self._take_corrections())

    def close(self) -> None:
        """Hands every map to ``ended``, the current one last."""
        self._builder.finish()

    def step(self, flush: bool = False, keep_all: bool = False) -> MapUpdate | None:
        """Runs one window if there is one, and places it in the map; for the arguments see `FrontEnd.run`."""
        window = self._front_end.run(flush, keep_all)  # keyframes, network, registration
        if window is None:
            return None
        update = replace(self._map.place(window), corrections=self._take_corrections())  # metres, map frame, pose graph
        self._latest = update
        self._refresh()
        return update

    def integrate(self, update: MapUpdate) -> None:
        """Adds an update to cloud, path and surfaces, in order; large corrections take time. Thread-safe."""
        self._builder.integrate(update)
        self.surfaces.integrate(update)

    def close_loop(self, waited_ms: float = 0.0) -> Correction | None:
        """Checks at most one loop candidate, between two windows.

        The next update contains the correction. ``waited_ms``: of the oldest frame for the next window, which must
        still keep the latency budget.
        """
        correction = self._closer.work(waited_ms)
        if correction is not None:
            self._corrections += (correction,)
        self._refresh()
        return correction

    def _next(self, flush: bool) -> MapUpdate | None:
        """Runs the next full window of the frame sets that `add` has decoded, integrates it and checks for a loop."""
        update: MapUpdate | None = None
        while update is None and self._opened:
            if self._front_end.ends_map(self._opened[0]) or self._front_end.is_full():
                update = self.step(flush=True, keep_all=True)
                continue
            self._front_end.take(self._opened.popleft())
            if self._front_end.is_full():
                update = self.step(keep_all=True)
        if update is None and flush:
            update = self.step(flush=True, keep_all=True)
        if update is not None:
            self.integrate(update)
            self.counters.add(published=len(update.frames))
            self.close_loop()
        else:
            self._refresh()  # frames may have been refused
        return update

    def _drop_opened(self) -> None:
        """Frame sets that no window has taken yet: accepted, and dropped."""
        count = sum(map(len, self._opened))
        self._opened.clear()
        self.counters.add(accepted=count, dropped=count)

    def _take_corrections(self) -> tuple[Correction, ...]:
        """Each correction is part of one update."""
        corrections, self._corrections = self._corrections, ()
        return corrections

    # ---- the parts of `add` for a stream in real time: see `MappingThread`

    def admit(self, frame: Frame) -> None:
        """Adds a frame to the next window; if there is no room, the oldest new frames are dropped and counted."""
        try:
            self._front_end.admit(frame)
        finally:
            self._refresh()

    def flush_at_ns(self) -> int | None:
        """When a frame that waits for a second one runs without it; None: no frame waits."""
        return self._front_end.flush_at_ns()

    def observe_overhead(self, overhead_ms: float) -> None:
        """Latest time from the end of a window to its publication, part of the latency budget. Thread-safe."""
        self._front_end.overhead_ms = overhead_ms

    # ---- the stream

    @property
    def counters(self) -> Counters:
        """Number of frames by what became of them. Thread-safe."""
        return self._front_end.counters

    @property
    def latest_stamp_ns(self) -> int:
        """Newest stamp of all frames that were not out of order; -1: there was none."""
        return self._front_end.latest_stamp_ns

    def end_stream(self) -> None:
        """Frames that still wait count as dropped; another stream looks up the mounts again."""
        self._drop_opened()
        self._front_end.forget()
        self._refresh()

    # ---- configuration and status

    def configure(self, config: MapperConfig) -> None:
        """Parameters that may change at any time; they take effect with the next frame and window.

        Raises:
            ConfigError: values that do not fit the checkpoint.
        """
        self._front_end.configure(config)
        if isinstance(self._map, MetricMap):
            self._map.configure(config.scale)
        if self.loops.detector is not None:
            self.loops.detector.configure(config.loops)
        self.config = config

    def warm_up(self) -> None:
        """Runs two windows of noise: kernels are chosen, memory is reserved, the budget learns the machine's speed."""
        warm_up(self._front_end)

    def _refresh(self) -> None:
        self.status: MapperStatus = status_of(self._front_end, self._map, self._closer, self._latest)
