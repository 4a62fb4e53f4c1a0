"""The front end's maps in metres and in one frame: by odometry (REP-105), the mounts of cameras or measured depth.

    visual   a map of the front end: its unit is arbitrary, and differs between its map_ids
    odom     frame of the odometry: continuous, but it drifts
    map      metres, z up; equal to odom when the scale is first known

In the map the odometry gives the motion from frame to frame; the visual map corrects, slowly, the drift of the
odometry: that is ``map_from_odom``. Without odometry the map is the visual one in metres, and each visual map, and each
lock of the scale, begins another map. A closed loop moves everything at once, and may join two maps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from ...alignment import Sim3, similarity_between
from ...health import Health
from ..data.frames import Reconstruction
from ..front_end.window_result import WindowResult
from ..pose_graph.submap_graph import SubmapGraph
from ..scale.estimator import MetricScaleEstimator, ScaleConfig, ScaleStatus, rescale_about
from ..scale.observations import NoObservation, ScaleObservation
from ..sensors.odometry import CameraInOdom, inverse
from ..sensors.sparse_depth import SparseDepth
from .localizer import Localizer, Sighting
from .map_from_odom import OdomInMap
from .map_update import MapUpdate
from .odometry_comparison import OdometryComparison
from .placed_map import PlacedMap
from .visual_odometry import VisualOdometry

SIGHTED_SPREAD = 0.02  # relative, of the scale that one recognized place tells
MAX_AWAY_M = 0.25  # small steps lead to a place that was recognized nearer than this; farther away, one step


class MetricMap(PlacedMap):
    """Not thread-safe; any thread may read ``status``, ``problem``, ``disagreement`` and `health`."""

    def __init__(
        self,
        look_up: Callable[[int, str], CameraInOdom] | None,
        config: ScaleConfig,
        depth: SparseDepth | None = None,
        graph: SubmapGraph | None = None,
        localizer: Localizer | None = None,
    ) -> None:
        """``look_up`` gives a camera (frame_id) at a stamp in ns, or raises OdometryError; None: no odometry.

        ``depth`` is None without measured depth; for the others see `PlacedMap`.
        """
        super().__init__(graph, localizer)
        self.depth = depth
        self._odometry = None if look_up is None else OdometryComparison(look_up)
        self._scale = MetricScaleEstimator(config)
        self._odom = OdomInMap()
        self._visual_odometry = VisualOdometry()
        self._num_maps = 1
        self._holds_frames = False
        self._latest: tuple[np.ndarray, np.ndarray] | None = None  # visual_from_cam and map_from_cam of a frame
        self._sighted: list[ScaleObservation] = []  # by places of a saved map, for the next window
        self._is_relocated = False  # the window is the first one at a place that was recognized
        self._knows_odom = False  # a saved map's places have told where odom lies in it

    @property
    def has_odometry(self) -> bool:
        return self._odometry is not None

    @property
    def status(self) -> ScaleStatus:
        return self._scale.status

    @property
    def problem(self) -> str:
        """Why frames have no odometry; empty: they have."""
        return "" if self._odometry is None else self._odometry.problem

    @property
    def disagreement(self) -> str:
        """Between odometry and images, if more than small steps can correct; empty: none."""
        return self._odom.disagreement

    def health(self) -> dict[str, Health]:
        """Health of scale and odometry; until the scale is locked, nothing that has a length is published."""
        found = {"scale": Health.ok()}
        if self.status.state != "locked":
            reasons = [reason for reason in (self.status.reason, self.problem) if reason]
            if self.depth is not None and self.depth.problem and self.depth.problem not in self.status.reason:
                reasons.append(self.depth.problem)
            reason = "; ".join(reasons) or "no window yet"
            found["scale"] = Health.warn(
                f"depth, points, poses and TF are withheld: their scale is {self.status.state}: {reason}"
            )
        if self.has_odometry:
            found["odometry"] = Health.unless(self.disagreement)
        return found

    def configure(self, config: ScaleConfig) -> None:
        self._scale.config = config

    def restart(self) -> None:
        """Another map begins, with the frame of odom; no loop joins it to earlier ones."""
        super().restart()
        self._begin_another()

    def place(self, window: WindowResult) -> MapUpdate:
        if window.map_id != self._visual_id:
            self._turn_to(window.map_id)
        frames = window.reconstructions
        if not frames:
            return self._waiting(window)
        cameras = [None if self._odometry is None else self._odometry.camera(frame) for frame in frames]
        self._observe_scale(window, cameras)
        self._follow_breaks(frames, cameras)
        is_new = self._map_from_visual is None
        self._map_from_visual = self._rescaled(frames[-1].map_from_cam)
        if self._map_from_visual is None:
            self._hold_submap(window, cameras)
            return self._waiting(window)
        steps = self._visual_odometry.follow(window, self._map_from_visual)
        self._follow_odometry(self._seen(frames[-1].map_from_cam), cameras[-1])
        self._holds_frames = True
        placed = tuple(self._placed(frame, camera) for frame, camera in zip(frames, cameras, strict=True))
        self._latest = frames[-1].map_from_cam, placed[-1].map_from_cam
        map_from_submap = self._add_submaps(window, cameras, placed, is_new)
        return MapUpdate(
            replace(window, reconstructions=placed, map_id=self.map_id),
            window,
            is_metric=True,
            is_placed=True,
            map_from_visual=self._map_from_visual if is_new else None,
            map_from_submap=map_from_submap,
            map_from_odom=None if self._odometry is None else self._odom.map_from_odom,
            odometry=steps,
        )

    def _waiting(self, window: WindowResult) -> MapUpdate:
        """Frames in the visual map, as long as the scale is not known."""
        self._visual_odometry.lose()
        return MapUpdate(window, window, is_metric=False, is_placed=False, is_lost=self.localizer is not None)

    def _turn_to(self, visual_id: int) -> None:
        """Begins another visual map, of unknown scale and pose."""
        self._visual_id = visual_id
        self._lose()
        self._scale.begin(visual_id)
        if self._odometry is not None:
            self._odometry.begin()

    def _begin_another(self) -> None:
        self._number_map()
        self._odom.begin()
        self._lose()
        self._visual_id, self._knows_odom = None, False

    def _number_map(self) -> None:
        self.map_id, self._num_maps = self._num_maps, self._num_maps + 1
        self._holds_frames = False

    def _observe_scale(self, window: WindowResult, cameras: Sequence[CameraInOdom | None]) -> None:
        """Passes the findings of all sources to the scale estimator; odometry has one every few frames."""
        findings: list[ScaleObservation | NoObservation] = [*self._sighted]
        self._sighted = []
        if window.rig is not None:
            findings.append(window.rig.baseline)
        odometry = self._odometry
        if self.depth is not None:
            by_odometry = None if odometry is None else odometry.finding
            findings.append(self.depth.compare(window.reconstructions, [*findings, by_odometry]))
        if odometry is not None:
            is_new = odometry.compare(window.reconstructions, cameras, window.motion)
            has_reason = findings and isinstance(odometry.finding, NoObservation)  # repeated beside other findings
            if odometry.finding is not None and (is_new or has_reason):
                findings.append(odometry.finding)
        if findings:
            self._scale.observe(window.map_id, window.reconstructions[-1].stamp_ns, findings)

    def _follow_breaks(self, frames: Sequence[Reconstruction], cameras: Sequence[CameraInOdom | None]) -> None:
        """A new odometry epoch is placed by the visual map; if that is not placed either, another map begins."""
        for frame, camera in zip(frames, cameras, strict=True):
            if camera is None or not self._odom.has_broken(camera):
                continue
            if self._map_from_visual is None:
                self._begin_another()
            else:
                self._odom.lay(self._seen(frame.map_from_cam), camera)

    def _rescaled(self, visual_from_cam: np.ndarray) -> Sim3 | None:
        """map_from_visual in metres, the scale changed about this camera (4, 4); None: it is not known."""
        metres_per_unit = self.status.metres_per_unit
        if self.status.state != "locked" or metres_per_unit is None:
            return None
        known = self._map_from_visual
        if known is None:
            return self._anchored(metres_per_unit, visual_from_cam)
        return rescale_about(known.apply(visual_from_cam[:3, 3]), metres_per_unit / known.scale.item()).compose(known)

    def _anchored(self, metres_per_unit: float, visual_from_cam: np.ndarray) -> Sim3 | None:
        """map_from_visual by odometry, or by a saved map's places; None: there was no odometry, or the camera is lost.

        ``visual_from_cam``: (4, 4) of the latest camera, which does not move with the scale.
        """
        if self.localizer is not None:
            if (found := self._take_found()) is not None:
                self._is_relocated = True
                factor = metres_per_unit / found.scale.item()
                return rescale_about(found.apply(visual_from_cam[:3, 3]), factor).compose(found)
            if not self._knows_odom:
                return None
        if self._odometry is not None:
            self._odom.stay()
            return self._odometry.map_from_visual(self._odom, metres_per_unit)
        if self._holds_frames:  # nothing relates this visual map to the one before
            self._number_map()
        return rescale_about(np.zeros(3), metres_per_unit)

    def _follow_odometry(self, seen: np.ndarray, camera: CameraInOdom | None) -> None:
        """``seen``: map_from_cam (4, 4) by the visual map. In small steps, but at once where a place was recognized."""
        is_relocated, self._is_relocated = self._is_relocated, False
        if is_relocated and camera is not None:
            self._odom.lay(seen, camera)
            self._knows_odom = True
        else:
            self._odom.follow(seen, camera)

    def locate(self, sighting: Sighting) -> bool:
        """Places of a saved map tell the scale, too."""
        if not super().locate(sighting):
            return False
        log_scale = math.log(sighting.saved_from_visual.scale.item())
        told = ScaleObservation("saved map", log_scale, SIGHTED_SPREAD, sighting.loop.residual)
        if self.status.state == "locked":
            self._sighted.append(told)
        else:
            self._scale.adopt(told)
        return True

    @property
    def _saved_per_visual(self) -> float | None:
        return self.status.metres_per_unit if self.status.state == "locked" else None

    def _placed(self, frame: Reconstruction, camera: CameraInOdom | None) -> Reconstruction:
        assert self._map_from_visual is not None
        depth = self._map_from_visual.apply_to_depth(frame.depth)
        map_from_cam = self._odom.published(self._seen(frame.map_from_cam), camera)
        return replace(frame, map_id=self.map_id, depth=depth, map_from_cam=map_from_cam)

    def _seen(self, visual_from_cam: np.ndarray) -> np.ndarray:
        """map_from_cam (4, 4) by the visual map alone."""
        assert self._map_from_visual is not None
        return self._map_from_visual.apply_to_poses(visual_from_cam)

    def _move(self, map_from_visual: Sim3, map_id: int, at_once: bool = True) -> None:
        """``map_from_odom`` moves too, the frame odom does not; in a saved map small steps follow small corrections."""
        super()._move(map_from_visual, map_id)
        at_once = at_once and self.localizer is None
        assert self._latest is not None
        visual_from_cam, map_from_cam = self._latest
        seen = self._seen(visual_from_cam)
        if at_once or np.linalg.norm(seen[:3, 3] - map_from_cam[:3, 3]) > MAX_AWAY_M:
            self._odom.move(seen @ inverse(map_from_cam))

    def _hold_submap(self, window: WindowResult, cameras: Sequence[CameraInOdom | None]) -> None:
        if self._graph is not None and window.submap is not None and self.localizer is None:
            self._graph.hold(window.submap, cameras[window.submap.index_in(window.reconstructions)])

    def _add_submaps(
        self,
        window: WindowResult,
        cameras: Sequence[CameraInOdom | None],
        placed: Sequence[Reconstruction],
        is_new: bool,
    ) -> Sim3 | None:
        """Adds submaps to the graph with their published poses, which follow the odometry.

        Returns map_from_visual at the new submap; None: the window is no submap.
        """
        assert self._map_from_visual is not None
        if self.localizer is not None:
            return None if window.submap is None else self._map_from_visual
        unit = self.status.metres_per_unit if self._odometry is None else None
        if self._graph is not None and is_new:
            self._graph.place_waiting(self._map_from_visual, self.map_id, window.map_id, unit)
        if self._graph is None or window.submap is None:
            return None
        at = window.submap.index_in(placed)
        map_from_visual = similarity_between(
            placed[at].map_from_cam, window.reconstructions[at].map_from_cam, self._map_from_visual.scale.item()
        )
        self._graph.add(window.submap, map_from_visual, self.map_id, cameras[at], unit)
        return map_from_visual
