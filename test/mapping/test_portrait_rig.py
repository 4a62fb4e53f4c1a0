"""A rig of portrait cameras, and stamps that jump on one or on all of its cameras."""

from __future__ import annotations

import numpy as np
import pytest
from configs import mapper_config
from room import FRAME_NS, FakePredictor, picture, pose, walk

from dvlt_ros.mapping.data.frames import Frame
from dvlt_ros.mapping.data.turn import PORTRAIT, Turn
from dvlt_ros.mapping.mapper import Mapper
from dvlt_ros.mapping.sensors.rig import Rig
from dvlt_ros.mapping.sensors.rig_config import RigConfig
from dvlt_ros.mapping.sensors.suite import Sensors

S, COUNT, ODD = 10**9, 24, 12
MOUNTS = {"left": pose((-0.15, 0, 0)), "right": pose((0.15, 0, 0))}


def reconstructed(turn, odd_s=0, odd_cameras=()):
    """Frames that come out, the mapper, and what it said, of two cameras 30 cm apart."""
    poses, frames = {}, []
    for number, base in enumerate(walk(COUNT), 1):
        for offset_ns, (camera, mount) in enumerate(MOUNTS.items()):
            is_odd = number == ODD and camera in odd_cameras
            stamp_ns = 100 * S + number * FRAME_NS + offset_ns + (odd_s * S if is_odd else 0)
            poses[stamp_ns] = base @ mount
            poses[stamp_ns][:3, :3] = poses[stamp_ns][:3, :3] @ turn.turned_from_cam.T
            taken = turn.restored_picture(picture(2 * number + offset_ns))
            frames.append(Frame(stamp_ns, camera, number * FRAME_NS, lambda taken=taken: taken, camera))
    config = mapper_config(
        keyframes_min_change=0.0, confidence_cut_share=0.0, loops_mode="never", cameras_names=tuple(MOUNTS)
    )
    said = []
    sensors = Sensors(rig=Rig(tuple(MOUNTS), MOUNTS.__getitem__, RigConfig()))
    mapper = Mapper(config, FakePredictor(poses), sensors, said.append)
    updates = [update for frame in frames if (update := mapper.add(frame)) is not None] + [*mapper.finish()]
    return [found for update in updates for found in update.frames], mapper, said


def assert_metric_and_one_map(found, mapper):
    assert {frame.map_id for frame in found} == {0}
    assert mapper.status.values["scale_state"] == "locked"
    left, right = found[-2:]
    between = np.linalg.inv(left.map_from_cam) @ right.map_from_cam
    np.testing.assert_allclose(between, pose((0.3, 0, 0)), atol=1e-3)


@pytest.mark.parametrize("turn", [Turn(), PORTRAIT])
def test_mounts_are_those_of_the_cameras_as_they_hang(turn):
    found, mapper, said = reconstructed(turn)
    assert len(found) == 2 * COUNT
    assert_metric_and_one_map(found, mapper)
    assert found[-1].depth.shape == turn.restored_picture(picture(0)).image.shape[:2]
    assert said == []


@pytest.mark.parametrize("cameras", [("right",), ("left", "right")])
@pytest.mark.parametrize("odd_s", [10**9, 2, -60])
def test_one_odd_stamp_costs_a_frame_set_and_never_the_map(cameras, odd_s):
    found, mapper, said = reconstructed(Turn(), odd_s, cameras)
    assert len(found) >= 2 * COUNT - 4  # of one camera alone the others' frames beside it are lost, too
    assert_metric_and_one_map(found, mapper)
    assert not any("new map" in sentence for sentence in said)
    counts = mapper.counters.read()
    assert counts.accepted + counts.refused == 2 * COUNT
