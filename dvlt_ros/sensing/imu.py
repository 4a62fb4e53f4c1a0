"""Up by an IMU: its own orientation where it has one, else its accelerations (REP-145)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ..errors import DvltError
from ..frame_names import frame_name
from ..geometry import matrix_from_quaternion
from ..mapping.sensors.gravity import GravityError, UpFilter, level_from_cam
from ..sources.messages import stamp_ns_of
from ..sources.poses import MAX_NORM_ERROR
from .measured_depth import LookUp


class ImuReader:
    """Follows where up is in the IMU's frame. One thread may add while another one asks."""

    def __init__(self, averaging_s: float, look_up: LookUp) -> None:
        """``look_up`` gives cam_from_imu (4, 4) by the names of the frames."""
        self._look_up, self._up = look_up, UpFilter(averaging_s)
        self._frame = ""
        self._refusal = ""  # of the latest message that was refused

    def add(self, message: Any) -> None:
        """Raises GravityError: the message cannot be used."""
        try:
            self._add(message)
        except GravityError as error:
            self._refusal = str(error)
            raise

    def _add(self, message: Any) -> None:
        if not (frame := frame_name(message.header.frame_id)):
            raise GravityError("imu refused: it has no frame_id; the driver must set it")
        if frame != self._frame:
            self.clear()
            self._frame = frame
        if (stamp_ns := stamp_ns_of(message.header)) < 0:
            raise GravityError(f"imu refused: its stamp is {stamp_ns * 1e-9:.3f} s")
        if (up_imu := orientation_up(message)) is not None:
            self._up.tell(stamp_ns, up_imu)
        else:
            self._up.add(stamp_ns, *motion(message))

    def clear(self) -> None:
        """Forgets all messages."""
        self._up.clear()

    def level_from_cam(self, stamp_ns: int, frame_id: str) -> np.ndarray:
        """(3, 3) of a camera: x forward as it looks, z up.

        Raises:
            GravityError: the IMU does not tell, or its mount is not known.
        """
        if self._up.is_empty and self._refusal:
            raise GravityError(f"all that has arrived of the imu was refused: {self._refusal}")
        up_imu = self._up.at(stamp_ns)
        try:
            cam_from_imu = self._look_up(frame_id, self._frame, stamp_ns)
        except DvltError as error:
            raise GravityError(str(error)) from error
        return level_from_cam(cam_from_imu[:3, :3] @ up_imu)


def orientation_up(message: Any) -> np.ndarray | None:
    """Up (3,) in the IMU's frame by its own orientation; None: its covariance does not say that there is one.

    REP-145 has -1 for none; all zero is unknown, and what drivers leave there that have none.
    """
    if not message.orientation_covariance[0] > 0:
        return None
    q = message.orientation
    quaternion = np.array([q.x, q.y, q.z, q.w])
    length = float(np.linalg.norm(quaternion))
    if not abs(length - 1) <= MAX_NORM_ERROR:
        raise GravityError(
            f"imu refused: its orientation is no rotation, but has a covariance: its quaternion has length {length:.3g}"
        )
    up_imu: np.ndarray = matrix_from_quaternion(torch.from_numpy(quaternion)).numpy()[2]
    return up_imu


def motion(message: Any) -> tuple[np.ndarray, np.ndarray | None]:
    """Acceleration (3,) m/s² and turn rate (3,) rad/s; None: it has no gyros."""
    if message.linear_acceleration_covariance[0] == -1:
        raise GravityError("imu refused: it has neither orientation nor acceleration")
    a, w = message.linear_acceleration, message.angular_velocity
    has_gyros = message.angular_velocity_covariance[0] != -1
    return np.array([a.x, a.y, a.z]), np.array([w.x, w.y, w.z]) if has_gyros else None
