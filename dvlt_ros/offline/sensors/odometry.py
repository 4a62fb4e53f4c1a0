"""Recorded odometry as the metric map asks for it, with the node's own checks."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ...errors import DataError
from ...mapping.sensors.odometry import CameraInOdom, OdometryConfig, OdometryError, OdometryHistory, OdometryPose
from ...sources.messages import UNSET
from ...sources.odometry import RecordedOdometry
from ...sources.poses import pose_from_quaternion


class Link(NamedTuple):
    """An edge of the TF tree."""

    parent: str
    child: str
    parent_from_child: np.ndarray  # (4, 4), metres


class CameraOdometry:
    """Where the camera was, from odometry and its mount."""

    def __init__(self, recorded: RecordedOdometry, config: OdometryConfig, notify: Callable[[str], None]) -> None:
        """``notify`` gets what cannot be used, and where odometry starts anew.

        Raises:
            DataError: nothing of it can be used.
        """
        self.name, self.odom_frame = recorded.name, recorded.odom_frame
        self._recorded, self._max_gap_ns = recorded, round(config.max_gap_s * 1e9)
        samples = recorded.samples
        if recorded.remark:
            notify(recorded.remark)
        self._history = OdometryHistory(config, max_samples=max(2, len(samples)))
        refusals: list[str] = []
        for sample in samples:
            if sample.stamp_ns == self._history.latest_ns:  # TF repeats itself
                continue
            try:
                if recorded.is_of_messages and not sample.stamp_ns:
                    raise OdometryError(f"odometry refused: {UNSET}")
                odom_from_base = pose_from_quaternion(sample.translation, sample.quaternion, "odometry refused")
                if (reason := self._history.add(sample.stamp_ns, odom_from_base)) is not None:
                    notify(f"{self.name} starts anew at {sample.stamp_ns * 1e-9:.3f} s: {reason}")
            except (DataError, OdometryError) as error:
                refusals.append(str(error))
        if not len(self._history):
            first = f"; {refusals[0]}" if refusals else ""
            raise DataError(f"{self.name}: none of {len(samples)} poses can be used{first}")
        if refusals:
            notify(f"{self.name}: {len(refusals)} of {len(samples)} poses are left out; {refusals[0]}")

    def camera(self, stamp_ns: int, frame_id: str) -> CameraInOdom:
        """Raises OdometryError: there is no odometry at that stamp, or no mount."""
        found, base_from_cam = self._look_up(stamp_ns, frame_id)
        return CameraInOdom(found.odom_from_base @ base_from_cam, found.epoch)

    def links(self, stamp_ns: int, frame_id: str) -> list[Link]:
        """From odom down to the camera, at a stamp. Raises OdometryError, as `camera`."""
        found, base_from_cam = self._look_up(stamp_ns, frame_id)
        base = self._recorded.base_frame
        links = [Link(self.odom_frame, base, found.odom_from_base)]
        return links if base == frame_id.lstrip("/") else [*links, Link(base, frame_id, base_from_cam)]

    def _look_up(self, stamp_ns: int, frame_id: str) -> tuple[OdometryPose, np.ndarray]:
        found = self._history.at(stamp_ns)
        try:
            return found, self._recorded.base_from_cam(frame_id, stamp_ns, self._max_gap_ns)
        except DataError as error:
            raise OdometryError(f"no odometry: {error}") from error
