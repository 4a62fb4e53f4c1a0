"""Frames that have been written are where scale and loops have moved them, and their lengths with them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from room import pose

from dvlt_ros.alignment import Sim3
from dvlt_ros.mapping.budget.plans import Plan
from dvlt_ros.mapping.data.corrections import Correction, stacked
from dvlt_ros.mapping.data.frames import Picture, Reconstruction, RegistrationReport
from dvlt_ros.mapping.front_end.window_result import WindowResult
from dvlt_ros.mapping.maps.map_update import MapUpdate
from dvlt_ros.mapping.outputs.rendering import RenderedFrame
from dvlt_ros.model import PixelMapping
from dvlt_ros.offline.frame_log import FrameLog
from dvlt_ros.offline.gallery import MOST, Gallery

SIZE = (2, 2)


def frame(stamp_ns, map_id, map_from_cam):
    depth = np.ones(SIZE, np.float32)
    mapping = PixelMapping(SIZE, SIZE, (1.0, 1.0), (0.0, 0.0))
    picture = Picture(np.zeros((*SIZE, 3), np.uint8), None)
    return Reconstruction(stamp_ns, "cam", 0, map_id, picture, depth, depth, np.eye(3), map_from_cam, mapping)


def similarity(scale, x, yaw=0.0):
    moved = pose((x, 0.0, 0.0), yaw)
    scale = torch.tensor(scale, dtype=torch.float64)
    return Sim3(scale, torch.from_numpy(moved[:3, :3]), torch.from_numpy(moved[:3, 3]))


def places(map_from_visual):
    """An update of visual map 4, whose place in map 0 has become known."""
    plan = Plan(2, 1.0, 1.0, True)
    in_map, visual = (WindowResult((), RegistrationReport("joined", 0.01), n, plan, 2, 28, 1.0, 1.0) for n in (0, 4))
    return MapUpdate(in_map, visual, True, True, map_from_visual=map_from_visual)


def point_of(logged):
    """What was seen one written unit ahead, in the map."""
    return logged.map_from_cam @ np.array([0.0, 0.0, logged.scale, 1.0])


def test_frames_that_waited_grow_with_the_scale_and_others_stay():
    log = FrameLog()
    waiting = log.add(frame(1, 4, pose((1.0, 2.0, 3.0), 0.5)), 0, is_placed=False)
    other, known = log.add(frame(2, 3, np.eye(4)), 0, is_placed=False), log.add(frame(3, 4, np.eye(4)), 0, True)
    before, metric = point_of(waiting), similarity(2.5, 7.0, 0.3)
    log.apply(places(metric))
    np.testing.assert_allclose(point_of(waiting), metric.matrix.numpy() @ before)
    assert (waiting.map_id, waiting.is_placed, waiting.scale) == (0, True, 2.5)
    assert not other.is_placed
    assert not known.has_moved
    assert log.of_map(0) == [waiting]


@pytest.mark.parametrize("joined", [0, 1])
def test_a_loop_that_joins_maps_moves_each_frame_once_and_with_its_own_submap_id(joined):
    log = FrameLog()
    submap_ids = {0: (10, 11), 1: (12, 13)}
    frames = [
        log.add(frame(number, map_id, pose((number, 0.0, 1.0), 0.1 * number)), number, is_placed=True)
        for map_id, numbers in submap_ids.items()
        for number in numbers
    ]
    apart = log.add(frame(20, 2, np.eye(4)), 20, is_placed=True)
    moves = {n: similarity(1.0 + 0.1 * (n - 9), n - 10.0, 0.2 * (n - 10)) for n in (10, 11, 12, 13)}
    correction = Correction(joined, np.array(list(moves)), np.array([0, 0, 1, 1]), stacked(list(moves.values())))
    before = [point_of(logged) for logged in frames]
    log.apply(MapUpdate(None, None, True, True, corrections=(correction,)))
    for logged, point in zip(frames, before, strict=True):
        np.testing.assert_allclose(point_of(logged), moves[logged.submap_id].matrix.numpy() @ point, atol=1e-12)
        assert logged.map_id == joined
    assert log.of_map(joined) == frames
    assert not apart.has_moved


def test_a_gallery_has_some_of_every_map_and_of_what_waits_after_a_lock_was_lost():
    log, gallery = FrameLog(), Gallery()

    def see(numbers):
        for number in numbers:
            seen = frame(number, 4, np.eye(4))
            gallery.add(log.add(seen, 0, is_placed=False), RenderedFrame(seen, SIZE))

    see(range(1, 100))
    log.apply(places(similarity(2.0, 0.0)))
    gallery.place_waiting(4)
    see(range(100, 102))
    shown = gallery.of(log.of_map(0))
    assert 2 < len(shown) <= MOST
    assert shown[0].title == "0.000000001"
    np.testing.assert_array_equal(shown[-1].depth, 2.0)
    assert [len(each.depth) for each in gallery.of(log.waiting(4))] == [SIZE[0]] * 2
