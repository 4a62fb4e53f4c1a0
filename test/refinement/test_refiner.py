"""A window's refinement against exact images: what it repairs, what it leaves alone, and what it says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from textured_room import (
    depth_map,
    frames,
    network,
    pattern,
    pose,
    pose_errors,
    walk,
)

from dvlt_ros.refinement import PosePrior, WindowRefiner
from dvlt_ros.refinement.adjusting.rotations import inverse, turn_between

POSES = walk(6, step=0.1)


def depth_error(depth, poses):
    true = np.stack([depth_map(p) for p in poses])
    return np.mean(np.abs(np.median(true / depth) * depth / true - 1))


def test_wrong_poses_and_bent_depth_are_repaired_in_the_networks_gauge_and_scale(images):
    answer = network(POSES, turn=0.05, shift=0.1, bend=0.15)
    refined = WindowRefiner().refine(images, answer)
    turn, shift = pose_errors(refined.window_from_cam, POSES)
    assert refined.report.state == "refined"
    assert turn < 0.5
    assert shift < 0.05
    assert pose_errors(answer.window_from_cam, POSES)[1] > 0.2
    assert depth_error(refined.depth, POSES) < 0.5 * depth_error(answer.depth, POSES)
    kept = refined.reference
    assert np.allclose(refined.window_from_cam[kept], answer.window_from_cam[kept])
    assert np.median(refined.depth / answer.depth) == pytest.approx(1.0, abs=0.05)
    assert refined.report.refined_frames == tuple(range(6))
    assert len(refined.landmarks[0].pixels) > 50


AHEAD = np.s_[70:200, 135:185]  # where the images show somebody who walks ahead at the camera's pace


def test_tracks_on_who_walks_ahead_are_said_to_move():
    shown = []
    for frame in frames(POSES):
        image = frame.image.copy()
        image[AHEAD] = (255 * pattern(40)[:130, :50, None]).astype(np.uint8)
        shown.append(replace(frame, image=image))
    refined = WindowRefiner().refine(shown, network(POSES, turn=0.05, shift=0.1))
    assert refined.report.state == "refined"
    assert pose_errors(refined.window_from_cam, POSES)[1] < 0.1
    moving = np.concatenate([seen.moving for seen in refined.landmarks])
    rows, columns = AHEAD
    on_them = ((moving >= (columns.start - 2, rows.start - 2)) & (moving <= (columns.stop + 2, rows.stop + 2))).all(1)
    assert refined.report.moving_tracks >= 3
    assert on_them.mean() > 0.9


def test_in_a_scene_that_stands_still_hardly_a_track_moves(images):
    report = WindowRefiner().refine(images, network(POSES, turn=0.05, shift=0.1)).report
    assert report.moving_tracks <= 0.01 * report.tracks


def test_poses_that_lead_to_a_wrong_minimum_are_not_where_it_starts(images):
    answer = network(POSES, turn=0.6, shift=0.8)
    refined = WindowRefiner().refine(images, answer)
    turn, shift = pose_errors(refined.window_from_cam, POSES)
    assert refined.report.start.startswith("frames")
    assert turn < 0.5
    assert shift < 0.05


def test_covariances_tell_how_far_off_the_poses_are(images):
    refined = WindowRefiner().refine(images, network(POSES, turn=0.05, shift=0.1))
    assert not refined.covariance[refined.reference].any()
    others = np.delete(refined.covariance, refined.reference, axis=0)
    assert (np.linalg.eigvalsh(others) > 0).all()
    assert 1e-6 < np.sqrt(others[:, 0, 0]).max() < 0.01  # radians
    assert np.sqrt(others[:, 3:, 3:].diagonal(axis1=1, axis2=2)).max() < 0.05


def test_the_deviation_of_the_motion_is_no_smaller_than_its_error(images):
    refined = WindowRefiner().refine(images, network(POSES, turn=0.05, shift=0.1))
    turn, _ = pose_errors(refined.window_from_cam, POSES)
    assert np.radians(turn) / 3 < refined.motion.turn < 0.1
    assert 1e-3 < refined.motion.shift < 0.1
    assert WindowRefiner().refine([replace(images[0], number=i) for i in range(3)], network(POSES[:3])).motion is None


def test_an_exact_network_is_not_made_worse(images):
    answer = network(POSES)
    refined = WindowRefiner().refine(images, answer)
    assert refined.report.reason == "the network already agrees"
    assert np.allclose(refined.window_from_cam, answer.window_from_cam)
    assert depth_error(refined.depth, POSES) < 0.02


def test_confidence_rises_where_points_confirm_and_never_falls(images):
    refined = WindowRefiner().refine(images, network(POSES, turn=0.05, shift=0.1))
    assert refined.confidence.min() >= 2.0
    assert refined.confidence.max() > 3.0


def test_the_next_window_goes_on_from_the_one_before():
    poses, refiner = walk(9, step=0.1), WindowRefiner()
    images = frames(poses)
    refiner.refine(images[:6], network(poses[:6], turn=0.05, shift=0.1))
    refined = refiner.refine(images[3:], network(poses[3:], turn=0.3, shift=0.4, seed=1))
    assert refined.report.start == "the window before"
    assert max(pose_errors(refined.window_from_cam, poses[3:])) < 0.5
    refiner.reset()
    again = refiner.refine(images[3:], network(poses[3:], turn=0.3, shift=0.4, seed=1))
    assert again.report.start != "the window before"


def test_fitted_intrinsics_are_refined():
    poses = np.stack([pose((0.25 * i - 0.6, 0.1 * np.sin(i), 0.15 * i), 0.05 * i - 0.1) for i in range(6)])
    answer = network(poses, turn=0.02, shift=0.02)
    wrong = answer.intrinsics.copy()
    wrong[:, [0, 1], [0, 1]] *= 1.1
    refined = WindowRefiner().refine(frames(poses, cameras_say=None), replace(answer, intrinsics=wrong))
    assert np.allclose(refined.intrinsics[:, 0, 0], answer.intrinsics[:, 0, 0], rtol=0.04)


def known(poses, i, j, spread):
    covariance = np.diag([1e-3**2] * 3 + [spread**2] * 3)
    return PosePrior(i, j, inverse(poses[i]) @ poses[j], covariance)


def test_known_poses_bring_metres_into_the_window(images):
    priors = [known(POSES, i, i + 1, 0.005) for i in range(5)]
    refined = WindowRefiner().refine(images, network(POSES, turn=0.05, shift=0.1, scale=0.4), priors)
    assert refined.report.metres_per_unit == pytest.approx(2.5, rel=0.03)
    length = np.linalg.norm(refined.window_from_cam[5, :3, 3] - refined.window_from_cam[0, :3, 3])
    assert length == pytest.approx(np.linalg.norm(POSES[5, :3, 3] - POSES[0, :3, 3]), rel=0.02)
    true = np.stack([depth_map(p) for p in POSES])
    assert np.median(refined.depth / true) == pytest.approx(1.0, abs=0.03)


def test_known_poses_that_hardly_move_tell_no_metres(images):
    priors = [known(POSES, i, i + 1, 5.0) for i in range(5)]
    refined = WindowRefiner().refine(images, network(POSES, turn=0.05, shift=0.1, scale=0.4), priors)
    assert np.isnan(refined.report.metres_per_unit)
    assert "too little for a scale" in refined.report.detail
    assert np.median(refined.depth / network(POSES, scale=0.4).depth) == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("turn", [0.02, 0.0], ids=["turns", "stands"])
def test_a_camera_that_stays_where_it_is_goes_on_with_the_depth_that_it_knows(turn):
    """The network sees it walk; without the window before its answer would stay, and the map would break."""
    there = walk(6, step=0.1)
    poses = np.concatenate([there, [there[-1] @ pose((0, 0, 0), turn * i) for i in range(1, 8)]])
    images, refiner = frames(poses), WindowRefiner()
    refiner.refine(images[:8], network(poses[:8], turn=0.05, shift=0.1))
    answer = network(poses[5:], turn=0.05, shift=0.2, seed=1)
    refined = refiner.refine(images[5:], answer)
    assert refined.report.state == "refined"
    assert travelled(refined.window_from_cam) < 0.02
    assert travelled(answer.window_from_cam) > 0.1
    between = inverse(refined.window_from_cam[0]) @ refined.window_from_cam[-1]
    assert np.degrees(turn_between(np.eye(3), between[:3, :3])) == pytest.approx(np.degrees(7 * turn), abs=0.2)
    assert len(refined.landmarks[-1].pixels) > 20  # and so can the window after it
    assert WindowRefiner().refine(images[5:], answer).report.state == "kept"


def travelled(window_from_cam):
    """Furthest way from the first camera."""
    return np.linalg.norm(window_from_cam[:, :3, 3] - window_from_cam[0, :3, 3], axis=1).max()


def test_what_a_window_has_told_goes_on_into_the_next_one():
    poses = walk(9, step=0.1)
    images, refiner = frames(poses), WindowRefiner()
    first = refiner.refine(images[:6], network(poses[:6], turn=0.05, shift=0.1))
    second = refiner.refine(images[3:], network(poses[3:], turn=0.05, shift=0.1, scale=0.5, seed=1))
    spreads = []
    for before, after in zip(first.landmarks[3:], second.landmarks[:3], strict=True):
        here, there = before.common(after)
        ratio = np.log(there.points[:, 2] / here.points[:, 2])
        spreads.append(np.abs(ratio - np.median(ratio)).mean())
        assert len(ratio) > 30
        assert np.median(ratio) == pytest.approx(np.log(0.5 / 0.7), abs=0.05)
    assert max(spreads) < 0.01
