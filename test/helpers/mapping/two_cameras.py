"""A rig of two cameras in the room in test/helpers/room.py."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
from configs import mapper_config
from drive import windows_of
from room import FRAME_NS, FakePredictor, picture, pose, room_depth, walk

from dvlt_ros.errors import InputError
from dvlt_ros.mapping.data.frames import Frame
from dvlt_ros.mapping.front_end.front_end import FrontEnd
from dvlt_ros.mapping.maps.metric_map import MetricMap
from dvlt_ros.mapping.scale.estimator import ScaleConfig
from dvlt_ros.mapping.sensors.odometry import inverse
from dvlt_ros.mapping.sensors.rig import Rig
from dvlt_ros.mapping.sensors.rig_config import RigConfig

LATER_NS = 2_000_000  # the right camera's shutter


BASE_FROM_OPTICAL = np.array([[0, 0, 1.0, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]])


def mount(left_m, yaw=0.0):
    optical = BASE_FROM_OPTICAL @ pose((0, 0, 0), yaw)
    optical[:3, 3] = 0.1, left_m, 0.4
    return optical


MOUNTS = {"left_optical": mount(0.15, -0.1), "right_optical": mount(-0.15, 0.1)}  # 0.3 m apart, a little outwards


COUNT = 40


def frame_set_of(stamp_ns):
    return stamp_ns // FRAME_NS


class TwoCameras(FakePredictor):
    """Right but for a gauge per window, and for noise of each camera's place, in metres."""

    def __init__(self, noise_m=0.0, **options):
        poses = {}
        for number, world_from_left in enumerate(walk(80), start=1):
            world_from_base = world_from_left @ inverse(MOUNTS["left_optical"])
            poses[number * FRAME_NS] = world_from_left
            poses[number * FRAME_NS + LATER_NS] = world_from_base @ MOUNTS["right_optical"]
        super().__init__(poses, **options)
        self.noise_m = noise_m

    def predict(self, views, num_steps, image_size, decoded):
        found = super().predict(views, num_steps, image_size, decoded)
        scale = np.median(found.depth[0] / room_depth(self.poses[views[decoded[0]].frame.stamp_ns]))
        poses = found.window_from_cam.copy()
        poses[:, :3, 3] += self.noise_m * scale * self.rng.normal(size=(len(poses), 3))
        return replace(found, window_from_cam=poses)


def frame(number, camera, shows=None, frame_id=None, late_ns=None):
    late_ns = LATER_NS * (camera == "right") if late_ns is None else late_ns
    stamp_ns = number * FRAME_NS + late_ns
    shown = picture(2 * number + (camera == "right")) if shows is None else shows
    return Frame(stamp_ns, frame_id or f"{camera}_optical", stamp_ns, lambda: shown, camera)


def both(numbers):
    return [frame(number, camera) for number in numbers for camera in ("left", "right")]


def make(predictor=None, mounts=None, **changes):
    said, mounts = [], MOUNTS if mounts is None else mounts

    def look_up(frame_id):
        if frame_id not in mounts:
            raise InputError(f"no transform from '{frame_id}'")
        return mounts[frame_id]

    rig = Rig(("left", "right"), look_up, RigConfig(patience_s=0.35))
    config = mapper_config(**{"confidence_cut_share": 0.0, "window_overlap": 2} | changes)
    clock = itertools.count(0, 10**6).__next__
    return FrontEnd(predictor or TwoCameras(), config, said.append, clock_ns=clock, rig=rig), said


def feed(front_end, frames):
    windows = windows_of(front_end, frames)
    assert front_end.counters.read().in_flight == 0
    return windows


def metric_windows(windows, look_up=None):
    metric = MetricMap(look_up, ScaleConfig())
    placed = [metric.place(window) for window in windows]
    return metric, [window for window in placed if window.is_metric]
