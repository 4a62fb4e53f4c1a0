"""Camera poses by odometry beside those of the visual map: scale of the visual map, and its pose in the map."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ...alignment import Sim3
from ...refinement import MotionDeviation
from ...robust import mean_rotation
from ..data.frames import Reconstruction
from ..scale.observations import NoObservation, ScaleObservation, scale_from_odometry
from ..sensors.odometry import CameraInOdom, OdometryError
from .map_from_odom import OdomInMap

COMPARED_FRAMES = 8, 48  # at a time: at least and at most
ENOUGH_M = 0.1  # root mean square about the mean by odometry (35 cm along a line) at which no more are compared
NEW_FRAMES = 5  # before they are compared again


@dataclass(frozen=True, eq=False)
class _Sample:
    visual_from_cam: np.ndarray  # (4, 4)
    camera: CameraInOdom | None
    step: float  # standard deviation of its shift since the frame before, the unit of its pose; NaN: not known


class OdometryComparison:
    """Keeps the latest frames of one camera; the distance between two cameras of a rig is no motion."""

    def __init__(self, look_up: Callable[[int, str], CameraInOdom]) -> None:
        """``look_up`` gives a camera (frame_id) at a stamp in ns, or raises OdometryError."""
        self.problem = ""  # why frames have no odometry; empty: they have
        self.finding: ScaleObservation | NoObservation | None = None  # of the last comparison; None: there was none
        self._look_up = look_up
        self._samples: deque[_Sample] = deque(maxlen=max(COMPARED_FRAMES))
        self._uncompared = 0
        self._frame_id = ""  # of the camera

    def begin(self) -> None:
        """Another visual map, or another camera."""
        self._samples.clear()
        self._uncompared, self.finding = 0, None

    def camera(self, reconstruction: Reconstruction) -> CameraInOdom | None:
        """None: there is no odometry at this frame."""
        try:
            found = self._look_up(reconstruction.stamp_ns, reconstruction.frame_id)
        except OdometryError as error:
            self.problem = str(error)
            return None
        self.problem = ""
        return found

    def compare(
        self,
        reconstructions: Sequence[Reconstruction],
        cameras: Sequence[CameraInOdom | None],
        motion: MotionDeviation | None = None,
    ) -> bool:
        """Whether there is a new finding, which takes several frames.

        Args:
            reconstructions: at least one. motion: of the last of them since the window before; None: not known.
        """
        if reconstructions[0].frame_id != self._frame_id:
            self._frame_id = reconstructions[0].frame_id
            self.begin()
        for reconstruction, camera in zip(reconstructions, cameras, strict=True):
            if reconstruction.frame_id == self._frame_id:
                step = np.nan if motion is None else _step(reconstruction.depth, motion, len(reconstructions))
                self._samples.append(_Sample(reconstruction.map_from_cam, camera, step))
                self._uncompared += 1
        if self._uncompared < NEW_FRAMES:
            return False
        self._uncompared, self.finding = 0, self._found()
        return True

    def map_from_visual(self, odom: OdomInMap, metres_per_unit: float) -> Sim3 | None:
        """By odometry; None: there was none at the latest frames."""
        placed = [(s.visual_from_cam, odom.map_from_cam(s.camera)) for s in self._samples]
        known = [(visual_from_cam, pose) for visual_from_cam, pose in placed if pose is not None]
        if not known:
            return None
        visual_from_cam, map_from_cam = (np.stack(poses) for poses in zip(*known, strict=True))
        rotation = mean_rotation(map_from_cam[:, :3, :3] @ visual_from_cam[:, :3, :3].transpose(0, 2, 1))
        translation = map_from_cam[-1, :3, 3] - metres_per_unit * rotation @ visual_from_cam[-1, :3, 3]
        return Sim3.of(metres_per_unit, rotation, translation)

    def _found(self) -> ScaleObservation | NoObservation:
        cameras = [sample.camera for sample in self._samples]
        poses = [np.full((4, 4), np.nan) if camera is None else camera.odom_from_cam for camera in cameras]
        epochs = [-1 if camera is None else camera.epoch for camera in cameras]
        visual_from_cam = np.stack([sample.visual_from_cam for sample in self._samples])
        latest = slice(-_enough(np.stack(poses)[:, :3, 3]), None)
        steps = np.array([sample.step for sample in self._samples])
        return scale_from_odometry(
            visual_from_cam[latest], np.stack(poses)[latest], np.array(epochs)[latest], steps[latest]
        )


def _step(depth: np.ndarray, motion: MotionDeviation, count: int) -> float:
    """Deviation of the shift of one of ``count`` frames since the one before, in the unit of its ``depth`` (h, w)."""
    known = depth[np.isfinite(depth)]
    return motion.shift / float(np.sqrt(count)) * float(np.median(known)) if len(known) else np.nan


def _enough(driven: np.ndarray) -> int:
    """How many of the latest positions (N, 3) to compare: few follow the unit, but a short way is full of noise."""
    least, most = (min(limit, len(driven)) for limit in COMPARED_FRAMES)
    for count in range(least, most):
        moved = driven[-count:]
        moved = moved[np.isfinite(moved[:, 0])]
        if len(moved) and moved.var(axis=0).sum() >= ENOUGH_M**2:
            return count
    return most
