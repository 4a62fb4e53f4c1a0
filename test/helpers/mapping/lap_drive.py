"""A robot that goes round and round in the room, saves its map, and is found in it."""

from __future__ import annotations

import pytest
from configs import mapper_config
from lap import LAP, RecognizingPredictor, lap_poses
from room import FRAME_NS, SIZE, picture

from dvlt_ros.mapping.data.frames import Frame
from dvlt_ros.mapping.mapper import Mapper
from dvlt_ros.mapping.maps.saved_map import SavedMap, read_saved_map
from dvlt_ros.mapping.sensors.odometry import CameraInOdom
from dvlt_ros.mapping.sensors.suite import Sensors


class Drive:
    """FrontEnd, map, builder and loops of one run of the robot; it goes round and round.

    Unscaled, or with exact odometry that has the world's frame at ``odom_from_world``.
    """

    def __init__(self, max_places=500, odom_from_world=None, mode="mapping"):
        pytest.importorskip("gtsam", reason="GTSAM is not here; `pip install '.[loops]'` runs this")
        self.predictor = RecognizingPredictor(lap_poses(range(1, 9 * LAP)))
        config = mapper_config(
            keyframes_min_change=0.0, confidence_cut_share=0.0, map_voxel_size=0.05, loops_check_every=1,
            loops_place_distance=0.05, loops_min_age_s=1.0, loops_max_places=max_places, map_mode=mode,
        )  # fmt: skip
        self.is_metric, self.odom_from_world = odom_from_world is not None, odom_from_world
        self.said = []
        sensors = Sensors(odometry=self.odometry if self.is_metric else None)
        self.mapper = Mapper(config, self.predictor, sensors, self.said.append)
        self.map_ids, self.poses, self.map_from_odom = [], {}, []
        self.updates = []

    def odometry(self, stamp_ns, _):
        return CameraInOdom(self.odom_from_world @ self.predictor.poses[stamp_ns], epoch=0)

    def go(self, numbers, size=SIZE):
        for number in numbers:
            shown = picture(number, size)
            self.mapper.admit(Frame(number * FRAME_NS, "cam", number * FRAME_NS, lambda shown=shown: shown))
            if (update := self.mapper.step()) is None:
                continue
            self.updates.append(update)
            self.mapper.integrate(update)
            self.poses |= {frame.stamp_ns // FRAME_NS: frame.map_from_cam for frame in update.frames}
            self.map_ids.append(update.map_id)
            if update.map_from_odom is not None:
                self.map_from_odom.append(update.map_from_odom)
            self.mapper.close_loop()

    @property
    def relocalized(self):
        return self.mapper.status.values["relocalized"]

    def saved(self):
        stored = self.mapper.loops.detector.stored_submaps()
        return SavedMap.of(self.mapper.snapshot(), stored, "abc", self.is_metric)

    def load(self, saved):
        self.mapper.load(saved)


def drive_and_save(folder):
    """A lap and a little more, and its map as it comes back from the disk."""
    drive = Drive()
    drive.go(range(1, LAP + 12))
    path = folder / "map"
    path.write_bytes(drive.saved().encoded())
    return drive, read_saved_map(path)
