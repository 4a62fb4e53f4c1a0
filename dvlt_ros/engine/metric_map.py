"""The engine's maps in metres and in one frame, through the robot's odometry (REP-105) or the mounts of its cameras.

    visual   a map of the engine: a unit of its own, and another one with each of its map_ids
    odom     where the wheels say that the robot is: without jumps, but it drifts
    map      metres, z up: that of odom when the scale is first known

Within the map the wheels tell how the camera moves from frame to frame; the visual map tells, slowly, where they have
drifted to: that is ``map_from_odom``. Without odometry the map is the visual one in metres, and each visual map, and
each lock of the scale, is another map. A closed loop moves everything at once, and may make two maps one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from ..alignment import Sim3
from ..errors import InputError
from .corrections import Correction
from .engine import WindowResult
from .frames import Reconstruction
from .graph_config import Loop, RefusedLoop
from .map_from_odom import step_towards
from .map_graph import MapGraph, similarity_between
from .metric_scale import MetricScale, MetricScaleConfig, ScaleStatus, rescale_about
from .odometry import CameraInOdom, OdometryError, inverse
from .scale_sources import NoObservation, ScaleObservation, mean_rotation, scale_from_odometry
from .sparse_depth import SparseDepth

COMPARED_FRAMES = 8  # at a time, with the odometry
NEW_FRAMES = 5  # before they are compared again
MAX_BEHIND_M = 1.0  # of map_from_odom; wheels that slip or stand still while the camera moves are further off


@dataclass(frozen=True, eq=False)
class PlacedWindow:
    """A window as it leaves: in metres and in the map, or, as long as that is not known, as the engine made it."""

    window: WindowResult
    is_metric: bool
    map_from_odom: np.ndarray | None = None  # (4, 4), metres, at the newest frame
    map_from_visual: Sim3 | None = None  # the frames of this visual map that came before have become known by it
    corrections: tuple[Correction, ...] = ()  # of what came before
    map_from_station: Sim3 | None = None  # map_from_visual at the window's station; None: its place is not known


@dataclass(frozen=True, eq=False)
class _Sample:
    visual_from_cam: np.ndarray  # (4, 4)
    found: CameraInOdom | None


class MetricMap:
    """Takes every window of the engine, in order. Not thread-safe; ``status`` may be read from anywhere."""

    def __init__(
        self,
        look_up: Callable[[int, str], CameraInOdom] | None,
        config: MetricScaleConfig,
        depth: SparseDepth | None = None,
        graph: MapGraph | None = None,
    ) -> None:
        """``look_up`` gives a camera (frame_id) at a stamp in ns, or raises OdometryError; None: no odometry.

        ``depth`` is None without measured depth, ``graph`` if no loops are closed.
        """
        self.problem = ""  # why frames have no odometry; empty: they have
        self.disagreement = ""  # by how much more the wheels are wrong than small steps can mend, or the images
        self.map_id = 0
        self.depth = depth
        self._look_up = look_up
        self._scale = MetricScale(config)
        self._samples: deque[_Sample] = deque(maxlen=COMPARED_FRAMES)
        self._uncompared = 0
        self._compared_camera = ""  # frame_id
        self._by_wheels: ScaleObservation | NoObservation | None = None  # at the last comparison
        self._holds_frames = False
        self._visual_id: int | None = None
        self._stretch: int | None = None
        self._map_from_odom = np.eye(4)
        self._map_from_visual: Sim3 | None = None
        self._map_from_seen = np.eye(4)  # map_from_odom lags behind what is seen: its part that is still missing
        self._num_maps = 1
        self._latest: tuple[np.ndarray, np.ndarray] | None = None  # visual_from_cam and map_from_cam of a frame
        self._graph = graph
        self._corrections: tuple[Correction, ...] = ()  # nobody has been told yet

    @property
    def has_odometry(self) -> bool:
        return self._look_up is not None

    @property
    def is_placed(self) -> bool:
        """Whether the camera has a place in the map now."""
        return self._map_from_visual is not None and self._latest is not None

    @property
    def status(self) -> ScaleStatus:
        return self._scale.status

    def configure(self, config: MetricScaleConfig) -> None:
        self._scale.config = config

    def restart(self) -> None:
        """Another map begins, where odom is now; no loop will join it to those before."""
        if self._graph is not None:
            self._graph.forget()
        self._corrections = ()
        self._begin_another()

    def _begin_another(self) -> None:
        self.map_id, self._num_maps = self._num_maps, self._num_maps + 1
        self._holds_frames = False
        self._map_from_odom, self._map_from_visual, self._visual_id = np.eye(4), None, None

    def load(self, stations: Sequence[int]) -> int:
        """Begins anew beside a saved map, to which loops may join what comes. Returns its number."""
        if self._graph is None:
            raise InputError("no loops are closed")
        self.restart()
        return self._graph.load(stations)

    def expected_scale(self, first: int, second: int) -> float | None:
        """The first station's units per unit of the second, as far as anybody knows."""
        return None if self._graph is None else self._graph.expected_scale(first, second)

    def close(self, loop: Loop) -> Correction | RefusedLoop:
        """Between two windows. The map moves once, and ``map_from_odom`` with it; odom itself does not."""
        if self._graph is None:
            return RefusedLoop(loop, "no loops are closed")
        if self._map_from_visual is None or self._latest is None:
            return RefusedLoop(loop, "the camera has no place in the map now that could move with it")
        found = self._graph.close(loop)
        if isinstance(found, RefusedLoop):
            return found
        self._corrections += (found,)
        if (latest := self._graph.latest(found, self._visual_id)) is not None:
            self._map_from_visual, self.map_id = latest
            visual_from_cam, map_from_cam = self._latest
            self._map_from_odom = self._seen(visual_from_cam) @ inverse(map_from_cam) @ self._map_from_odom
            self._map_from_seen = np.eye(4)
        return found

    def place(self, window: WindowResult) -> PlacedWindow:
        if window.map_id != self._visual_id:
            self._visual_id, self._map_from_visual = window.map_id, None
            self._scale.begin(window.map_id)
            self._samples.clear()
            self._uncompared = 0
        if not window.reconstructions:
            return PlacedWindow(window, is_metric=False)
        found = [self._found(reconstruction) for reconstruction in window.reconstructions]
        self._compare(window, found)
        self._follow_breaks(window.reconstructions, found)
        if self.status.state != "locked" or self.status.metres_per_unit is None:
            self._map_from_visual = None
            self._hold_station(window, found)
            return PlacedWindow(window, is_metric=False)
        is_new = self._map_from_visual is None
        if is_new and not self._anchor(self.status.metres_per_unit):
            self._hold_station(window, found)
            return PlacedWindow(window, is_metric=False)
        self._follow(window.reconstructions[-1].map_from_cam, found[-1], self.status.metres_per_unit)
        self._holds_frames = True
        reconstructions = tuple(
            self._placed(reconstruction, pose)
            for reconstruction, pose in zip(window.reconstructions, found, strict=True)
        )
        self._latest = window.reconstructions[-1].map_from_cam, reconstructions[-1].map_from_cam
        map_from_station = self._add_stations(window, found, reconstructions, is_new)
        corrections, self._corrections = self._corrections, ()
        return PlacedWindow(
            replace(window, reconstructions=reconstructions, map_id=self.map_id), True,
            None if self._look_up is None else self._map_from_odom, self._map_from_visual if is_new else None,
            corrections, map_from_station,
        )  # fmt: skip

    def _hold_station(self, window: WindowResult, found: Sequence[CameraInOdom | None]) -> None:
        if self._graph is not None and window.station is not None:
            self._graph.hold(window.station, found[window.station.index_in(window.reconstructions)])

    def _add_stations(
        self,
        window: WindowResult,
        found: Sequence[CameraInOdom | None],
        placed: Sequence[Reconstruction],
        is_new: bool,
    ) -> Sim3 | None:
        """To the graph, as they leave: by the wheels, beside which the map as it is seen lags a little.

        Returns where the visual map is at the window's own station, if it is one.
        """
        assert self._map_from_visual is not None
        unit = self.status.metres_per_unit if self._look_up is None else None
        if self._graph is not None and is_new:
            self._graph.place_waiting(self._map_from_visual, self.map_id, window.map_id, unit)
        if self._graph is None or window.station is None:
            return None
        at = window.station.index_in(placed)
        map_from_visual = similarity_between(
            placed[at].map_from_cam, window.reconstructions[at].map_from_cam, self._map_from_visual.scale
        )
        self._graph.add(window.station, map_from_visual, self.map_id, found[at], unit)
        return map_from_visual

    def _found(self, reconstruction: Reconstruction) -> CameraInOdom | None:
        if self._look_up is None:
            return None
        try:
            found = self._look_up(reconstruction.stamp_ns, reconstruction.frame_id)
        except OdometryError as error:
            self.problem = str(error)
            return None
        self.problem = ""
        return found

    def _compare(self, window: WindowResult, found: Sequence[CameraInOdom | None]) -> None:
        """Hands the scale what the sources say, the odometry as many frames at a time as make an observation."""
        findings = [] if window.rig is None else [window.rig.baseline]
        if self.depth is not None:
            findings.append(self.depth.compare(window.reconstructions, [*findings, self._by_wheels]))
        if self._look_up is not None:
            self._sample(window.reconstructions, found)
            is_due = self._uncompared >= NEW_FRAMES
            if is_due:
                self._uncompared, self._by_wheels = 0, self._by_odometry()
            if self._by_wheels is not None and (is_due or (findings and isinstance(self._by_wheels, NoObservation))):
                findings.append(self._by_wheels)
        if findings:
            self._scale.observe(window.map_id, window.reconstructions[-1].stamp_ns, findings)

    def _sample(self, reconstructions: Sequence[Reconstruction], found: Sequence[CameraInOdom | None]) -> None:
        """Of one camera: the distance between two is no motion."""
        if reconstructions[0].frame_id != self._compared_camera:
            self._compared_camera = reconstructions[0].frame_id
            self._samples.clear()
            self._uncompared = 0
        for reconstruction, pose in zip(reconstructions, found, strict=True):
            if reconstruction.frame_id == self._compared_camera:
                self._samples.append(_Sample(reconstruction.map_from_cam, pose))
                self._uncompared += 1

    def _by_odometry(self) -> ScaleObservation | NoObservation:
        poses = [s.found.odom_from_cam if s.found is not None else np.full((4, 4), np.nan) for s in self._samples]
        stretches = [s.found.stretch if s.found is not None else -1 for s in self._samples]
        return scale_from_odometry(
            np.stack([s.visual_from_cam for s in self._samples]), np.stack(poses), np.array(stretches)
        )

    def _follow_breaks(self, reconstructions: Sequence[Reconstruction], found: Sequence[CameraInOdom | None]) -> None:
        """After a break of the odometry the visual map alone knows where odom lies now; if it is new too, nobody."""
        for reconstruction, pose in zip(reconstructions, found, strict=True):
            if pose is None or pose.stretch == self._stretch:
                continue
            if self._stretch is not None:
                if self._map_from_visual is None:
                    self._begin_another()
                else:
                    self._map_from_odom = self._seen(reconstruction.map_from_cam) @ inverse(pose.odom_from_cam)
                    self._map_from_seen = np.eye(4)
            self._stretch = pose.stretch

    def _anchor(self, metres_per_unit: float) -> bool:
        """Lays the visual map where odometry has the camera; False: it has it nowhere of late."""
        if self._look_up is None:
            return self._begin(metres_per_unit)
        known = [s for s in self._samples if s.found is not None and s.found.stretch == self._stretch]
        if not known:
            return False
        map_from_cam = [self._map_from_odom @ s.found.odom_from_cam for s in known if s.found is not None]
        visual_from_cam = np.stack([s.visual_from_cam for s in known])
        rotation = mean_rotation(np.stack(map_from_cam)[:, :3, :3] @ visual_from_cam[:, :3, :3].transpose(0, 2, 1))
        translation = map_from_cam[-1][:3, 3] - metres_per_unit * rotation @ visual_from_cam[-1, :3, 3]
        self._map_from_visual = Sim3(
            torch.tensor(metres_per_unit, dtype=torch.float64),
            torch.from_numpy(rotation),
            torch.from_numpy(translation),
        )
        self._map_from_seen = np.eye(4)
        return True

    def _begin(self, metres_per_unit: float) -> bool:
        """The visual map in metres, where it is: without odometry nothing relates it to one before."""
        if self._holds_frames:
            self.map_id, self._num_maps = self._num_maps, self._num_maps + 1
        unit = torch.tensor(metres_per_unit, dtype=torch.float64)
        self._map_from_visual = Sim3(unit, torch.eye(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64))
        return True

    def _follow(self, visual_from_cam: np.ndarray, found: CameraInOdom | None, metres_per_unit: float) -> None:
        """Changes the scale about the camera, and moves map_from_odom towards where the visual map has the robot."""
        assert self._map_from_visual is not None
        position = torch.from_numpy(self._seen(visual_from_cam)[:3, 3])
        change = rescale_about(position, metres_per_unit / self._map_from_visual.scale.item())
        self._map_from_visual = change.compose(self._map_from_visual)
        self.disagreement = ""
        if found is None:
            return
        seen_from_odom = self._seen(visual_from_cam) @ inverse(found.odom_from_cam)
        self._map_from_odom = step_towards(self._map_from_odom, seen_from_odom, found.odom_from_cam)
        self._map_from_seen = self._map_from_odom @ inverse(seen_from_odom)
        behind_m = float(np.linalg.norm(((self._map_from_odom - seen_from_odom) @ found.odom_from_cam)[:3, 3]))
        if behind_m > MAX_BEHIND_M:
            self.disagreement = f"odometry and images are {behind_m:.1f} m apart; do the wheels slip?"

    def _placed(self, reconstruction: Reconstruction, found: CameraInOdom | None) -> Reconstruction:
        """By the wheels, as TF has it too; where they are not known, by what is seen."""
        if found is not None and found.stretch == self._stretch:
            map_from_cam = self._map_from_odom @ found.odom_from_cam
        else:
            map_from_cam = self._map_from_seen @ self._seen(reconstruction.map_from_cam)
        assert self._map_from_visual is not None
        depth = np.float32(self._map_from_visual.scale.item()) * reconstruction.depth
        return replace(reconstruction, map_id=self.map_id, depth=depth, map_from_cam=map_from_cam)

    def _seen(self, visual_from_cam: np.ndarray) -> np.ndarray:
        """(4, 4) of a camera in the map, by the visual map alone."""
        assert self._map_from_visual is not None
        return self._map_from_visual.apply_to_poses(torch.from_numpy(visual_from_cam)).numpy()
