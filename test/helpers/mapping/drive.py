"""A drive through the room of room.py, with faults of its camera or of its odometry."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
from configs import mapper_config
from room import FRAME_NS, SIZE, FakePredictor, picture, pose, room_depth, walk

from dvlt_ros.mapping.data.frames import Frame, Picture
from dvlt_ros.mapping.front_end.front_end import FrontEnd
from dvlt_ros.mapping.maps.metric_map import MetricMap
from dvlt_ros.mapping.scale.estimator import ScaleConfig
from dvlt_ros.mapping.sensors.odometry import CameraInOdom, OdometryError, OdometryHistory, inverse

BASE_FROM_CAM = np.array([[0, 0, 1, 0.2], [-1, 0, 0, 0.05], [0, -1, 0, 0.5], [0, 0, 0, 1.0]])
ODOM_FROM_WORLD = np.array([[0, 0, 1.0, 2.0], [-1, 0, 0, -1.0], [0, -1, 0, 0.5], [0, 0, 0, 1]])  # z up, somewhere
COUNT, LOCKED = 60, 34  # frames of a drive, and one by which the scale has long been known


class Coverable(FakePredictor):
    """Has a hand before the lens at some stamps: all it can do there is guess, and it knows it."""

    def __init__(self, covered=(), share=1.0, count=COUNT, guess=(0.1, 10.0)):
        super().__init__({(i + 1) * FRAME_NS: p for i, p in enumerate(walk(count))})
        self.covered, self.rows = {number * FRAME_NS for number in covered}, round(share * SIZE[0])
        self.guess = guess

    def predict(self, views, num_steps, image_size, decoded):
        found = super().predict(views, num_steps, image_size, decoded)
        depth, confidence, poses = found.depth.copy(), found.confidence.copy(), found.window_from_cam.copy()
        for place, index in enumerate(decoded):
            if views[index].frame.stamp_ns in self.covered:
                depth[place, : self.rows] = np.interp(self.rng.random((self.rows, SIZE[1])), (0, 1), self.guess)
                confidence[place, : self.rows] = 1.0
                if self.rows == SIZE[0]:
                    poses[place] = pose(self.rng.normal(size=3), *self.rng.normal(size=2))
        return replace(found, depth=depth, confidence=confidence, window_from_cam=poses)


def make_front_end(predictor, **changes):
    said = []
    config = mapper_config(**{"confidence_cut_share": 0.0, "confidence_min": 1.5} | changes)
    return FrontEnd(predictor, config, said.append, clock_ns=itertools.count(0, 10**6).__next__), said


def frame(number, shows=None):
    shown = picture(number) if shows is None else Picture(shows, picture(0).intrinsics)
    return Frame(number * FRAME_NS, "cam", number * FRAME_NS, lambda: shown)


def windows_of(front_end, frames):
    """Every window, and what came of it counts as published."""
    windows = []
    for shown in frames:
        front_end.admit(shown)
        if front_end.is_full() and (window := front_end.run()) is not None:
            windows.append(window)
    while (window := front_end.run(flush=True)) is not None:
        windows.append(window)
    front_end.counters.add(published=len(numbers_of(windows)))
    return windows


def assert_nothing_is_lost(front_end, num_shown):
    counts = front_end.counters.read()
    assert counts.in_flight == 0
    assert counts.accepted + counts.refused == num_shown


def numbers_of(windows):
    return [r.stamp_ns // FRAME_NS for window in windows for r in window.reconstructions]


def by_history(messages, base_from_cam=BASE_FROM_CAM):
    """Odometry of the camera from ``messages``, (number, odom_from_base or None), NaN and jumps included."""
    history, refused = OdometryHistory(), []
    for number, odom_from_base in messages:
        try:
            history.add(number * FRAME_NS, odom_from_base)
        except OdometryError as error:
            refused.append(str(error))

    def look_up(stamp_ns, _):
        found = history.at(stamp_ns)
        return CameraInOdom(found.odom_from_base @ base_from_cam, found.epoch)

    return look_up, refused


def odometry_messages(predictor, change=lambda number, odom_from_base: odom_from_base, count=COUNT):
    """A message per frame, as ``change`` spoils it; None: it never comes."""
    true = {n: ODOM_FROM_WORLD @ predictor.poses[n * FRAME_NS] @ inverse(BASE_FROM_CAM) for n in range(1, count + 1)}
    said = ((number, change(number, odom_from_base)) for number, odom_from_base in true.items())
    return [(number, odom_from_base) for number, odom_from_base in said if odom_from_base is not None]


def placed_by(look_up, windows):
    metric = MetricMap(look_up, ScaleConfig())
    placed = [metric.place(window) for window in windows]
    return metric, [window for window in placed if window.is_metric]


def assert_true(placed, predictor, atol=1e-2):
    for window in placed:
        for r in window.window.reconstructions:
            np.testing.assert_allclose(r.map_from_cam, ODOM_FROM_WORLD @ predictor.poses[r.stamp_ns], atol=atol)
            np.testing.assert_allclose(r.depth, room_depth(predictor.poses[r.stamp_ns]), rtol=1e-2)


def undisturbed():
    """(predictor, windows) of a drive with nothing in the way."""
    predictor = Coverable()
    front_end, _ = make_front_end(predictor)
    return predictor, windows_of(front_end, [frame(n) for n in range(1, COUNT + 1)])
