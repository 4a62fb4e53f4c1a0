"""Cameras of a rig that fail, are not synchronized or have a wrong mount."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from room import FRAME_NS, SIZE, picture, pose, turn
from two_cameras import (
    BASE_FROM_OPTICAL,
    COUNT,
    LATER_NS,
    MOUNTS,
    TwoCameras,
    both,
    feed,
    frame,
    frame_set_of,
    make,
    metric_windows,
    mount,
)

from dvlt_ros.mapping.data.frames import Picture
from dvlt_ros.mapping.sensors.odometry import inverse
from dvlt_ros.mapping.sensors.rig import middle, mount_residual_deg


@pytest.mark.parametrize(("dead", "alive"), [("right", "left"), ("left", "right")])
def test_a_camera_that_dies_is_left_out_until_it_comes_back(dead, alive):
    front_end, said = make()
    alone = [frame(number, alive) for number in range(11, 24)]
    windows = feed(front_end, [*both(range(1, 11)), *alone, *both(range(24, 34))])
    found = [(frame_set_of(r.stamp_ns), r.camera) for window in windows for r in window.reconstructions]
    assert found[-18:] == [(n, camera) for n in range(25, 34) for camera in ("left", "right")]
    assert {(n, alive) for n in range(15, 25)} <= set(found)
    assert {window.map_id for window in windows} == {0}
    assert [sentence for sentence in said if "cameras" in sentence] == [
        f"cameras: silent: {dead}; the others go on", "cameras: all are here again",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "wrong",
    [mount(-0.15, 0.3), BASE_FROM_OPTICAL @ pose((0.15, -0.4, 0.3), 0.1)],
    ids=["turned by 11 degrees", "elsewhere"],
)
def test_a_wrong_mount_is_named_and_neither_bends_the_map_nor_locks(wrong):
    predictor = TwoCameras()
    front_end, _ = make(predictor, mounts=MOUNTS | {"right_optical": wrong})
    windows = feed(front_end, both(range(1, COUNT)))
    metric, placed = metric_windows(windows)
    assert placed == []
    assert metric.status.state != "locked"
    assert "'left' and 'right' are seen" in metric.status.reason
    assert windows[-1].rig.residual_deg > 9
    left, right = windows[-1].reconstructions[-2:]
    seen, true = (inverse(a) @ b for a, b in (
        (left.map_from_cam, right.map_from_cam), (predictor.poses[left.stamp_ns], predictor.poses[right.stamp_ns]),
    ))  # fmt: skip
    np.testing.assert_allclose(seen[:3, :3], true[:3, :3], atol=1e-3)


def test_a_mount_that_is_knocked_while_driving_shows_and_the_lock_says_so():
    predictor = TwoCameras()
    front_end, _ = make(predictor)
    for stamp_ns in sorted(predictor.poses):
        if stamp_ns % FRAME_NS and frame_set_of(stamp_ns) > 30:
            predictor.poses[stamp_ns] = predictor.poses[stamp_ns] @ pose((0, 0, 0), 0.2)
    windows = feed(front_end, both(range(1, 70)))
    metric, placed = metric_windows(windows)
    assert placed
    assert windows[7].rig.residual_deg < 1 < 5 < windows[-1].rig.residual_deg
    assert metric.status.state == "locked"
    assert "'left' and 'right' are seen" in metric.status.reason


def test_cameras_that_are_not_synchronised_say_so_and_are_counted():
    front_end, said = make()
    frames = [frame(n, camera, late_ns=30_000_000 * (camera == "right"))
              for n in range(1, 31) for camera in ("left", "right")]  # fmt: skip
    assert feed(front_end, frames) == []
    assert len(said) == 1
    assert "not synchronized: their frames are 0.030 s apart or more, cameras.tolerance_s is 0.01" in said[0]
    front_end.forget()
    counts = front_end.counters.read()
    assert counts.accepted == counts.dropped == 60


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"shows": picture(7, (48, 64))}, "it is 64 x 48, those of 'left' are 32 x 24"),
        ({"shows": Picture(picture(7).image, None)}, "need a camera_info"),
        ({"shows": Picture(np.full((*SIZE, 3), 9, np.uint8), picture(7).intrinsics)}, "covered"),
        ({"frame_id": "left_optical"}, "have the same frame_id 'left_optical'"),
        ({"frame_id": "unmounted"}, "no transform from 'unmounted'"),
    ],
    ids=["other size", "no camera_info", "covered", "same frame", "no mount"],
)
def test_a_camera_that_cannot_be_used_leaves_the_others_alone(changes, reason):
    front_end, said = make()
    windows = feed(front_end, [f for n in range(1, 13) for f in (frame(n, "left"), frame(n, "right", **changes))])
    assert [r.camera for window in windows for r in window.reconstructions] == ["left"] * 12
    assert {window.map_id for window in windows} == {0}
    assert len(said) == 12
    assert all(reason in sentence and "of 'right' refused" in sentence for sentence in said)
    assert front_end.counters.read().refused == 12


def test_frames_of_a_clock_that_jumps_back_begin_another_map():
    front_end, said = make()
    windows = feed(front_end, [*both(range(30, 50)), *both(range(1, 21))])
    assert {window.map_id for window in windows} == {0, 1}
    assert any("stamps went back" in sentence for sentence in said)
    assert windows[-1].reconstructions[-1].stamp_ns == 20 * FRAME_NS + LATER_NS


def test_out_of_memory_never_leaves_less_than_two_moments():
    predictor = TwoCameras(largest_window=5)
    front_end, said = make(predictor)
    windows = feed(front_end, both(range(1, COUNT)))
    assert any("out of memory" in sentence for sentence in said)
    assert {len(views) for views in predictor.windows} == {4}
    assert windows[-1].reconstructions[-1].stamp_ns == (COUNT - 1) * FRAME_NS + LATER_NS
    assert windows[-1].registration.state == "joined"


def test_of_three_cameras_one_may_be_wrong():
    truth = pose((1, 2, 3), 0.4)
    far = pose((4, 2, 3), 1.4)
    np.testing.assert_allclose(middle(np.stack([truth, truth, far])), truth, atol=0.02)
    np.testing.assert_allclose(middle(np.stack([truth, far]))[:3, 3], (2.5, 2, 3), atol=1e-9)


@pytest.mark.parametrize("wrong_deg", [0.0, 3.0, 20.0])
def test_the_residual_of_a_mount_is_its_angle_whatever_the_noise(wrong_deg):
    rng = np.random.default_rng(0)
    mounted = pose((0.3, 0, 0), 0.5)
    turned, aside = mounted.copy(), mounted.copy()
    turned[:3, :3] = turned[:3, :3] @ turn(np.radians(wrong_deg))
    aside[:3, 3] = turn(np.radians(wrong_deg)) @ aside[:3, 3]
    for wrong in (turned, aside):
        seen = np.tile(wrong, (30, 1, 1))
        seen[:, :3, 3] = (seen[:, :3, 3] + 0.01 * rng.normal(size=(30, 3))) * rng.uniform(0.5, 2, (30, 1))
        assert mount_residual_deg(seen, mounted) == pytest.approx(wrong_deg, abs=1.0)
    assert torch.isfinite(torch.tensor(mount_residual_deg(np.tile(mounted, (5, 1, 1)), mounted)))
