"""Faults: the network's answer stays where tracks cannot do better, and the report says why."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from textured_room import (
    INTRINSICS,
    MAP_SIZE,
    SIZE,
    SURFACES,
    frames,
    is_networks,
    network,
    pattern,
    pose,
    pose_errors,
    walk,
)

from dvlt_ros.errors import InputError
from dvlt_ros.refinement import PosePrior, WindowFrame, WindowRefiner
from dvlt_ros.refinement.refiner import focal_weight

POSES = walk(6, step=0.1)


def test_a_blank_wall_keeps_the_networks_answer():
    answer = network(POSES, turn=0.05)
    blank = [WindowFrame(i, np.full((*SIZE, 3), 130, dtype=np.uint8), INTRINSICS) for i in range(6)]
    refined = WindowRefiner().refine(blank, answer)
    assert (refined.report.state, refined.report.reason) == ("kept", "too few tracks")
    assert refined.report.detail == "frames 0 and 1 share 0 tracks, of 30"
    assert is_networks(refined, answer)


def test_a_camera_that_stands_still_keeps_the_networks_answer(images):
    still = [replace(images[0], number=i) for i in range(4)]
    answer = network(np.stack([POSES[0]] * 4), turn=0.02, shift=0.02)
    refined = WindowRefiner().refine(still, answer)
    assert refined.report.reason == "standing still"
    assert is_networks(refined, answer)


def test_a_camera_that_only_turns_keeps_the_networks_answer():
    poses = np.stack([pose((0, 0, 0), 0.03 * i, 0.01 * i) for i in range(5)])
    answer = network(poses, turn=0.02, shift=0.02)
    refined = WindowRefiner().refine(frames(poses), answer)
    assert refined.report.reason == "pure rotation"
    assert is_networks(refined, answer)


BEFORE_A_WALL = np.stack([pose((0.08 * i, 0.02 * i, 2.6), 0.01 * i) for i in range(5)])


def test_of_the_two_motions_before_a_plane_the_networks_depth_tells_the_right_one():
    answer = network(BEFORE_A_WALL, turn=0.02, shift=0.02, boxes=())
    refined = WindowRefiner().refine(frames(BEFORE_A_WALL, boxes=()), answer)
    assert refined.report.state == "refined"
    assert "one plane" in refined.report.detail
    before, after = (pose_errors(a.window_from_cam, BEFORE_A_WALL) for a in (answer, refined))
    assert after[0] < 0.5 * before[0]
    assert after[1] < 0.5 * before[1]


def test_a_plane_whose_depth_the_network_does_not_see_keeps_its_answer():
    towards_it = np.stack([pose((0.08 * i, 0.02 * i, 2.6 + 0.05 * i), 0.01 * i) for i in range(5)])
    answer = network(towards_it, turn=0.02, shift=0.02, boxes=())
    noise = np.random.default_rng(0).normal(scale=2.0, size=answer.depth.shape).astype(np.float32)
    answer = replace(answer, depth=answer.depth * np.exp(noise))
    refined = WindowRefiner().refine(frames(towards_it, boxes=()), answer)
    assert refined.report.reason == "planar scene"
    assert is_networks(refined, answer)


def test_a_moving_object_that_fills_a_third_does_not_move_the_camera(images):
    moving = []
    for i, frame in enumerate(images):
        image, tile = frame.image.copy(), (255 * pattern(9)).astype(np.uint8)
        left, top = 60 + 9 * i, 20 - 2 * i
        image[max(top, 0) : top + 200, left : left + 128] = tile[max(-top, 0) : 200, :128, None]
        moving.append(replace(frame, image=image))
    refined = WindowRefiner().refine(moving, network(POSES, turn=0.05, shift=0.1, bend=0.1))
    assert refined.report.state == "refined"
    turn, shift = pose_errors(refined.window_from_cam, POSES)
    assert turn < 0.7
    assert shift < 0.1


@pytest.mark.parametrize(
    ("rows", "columns", "axes"), [(2, 4, (0, 1)), (1, 4, (1,)), (4, 1, (1,))], ids=["tiles", "strips", "bands"]
)
def test_tracks_of_many_motions_keep_the_networks_answer(images, rows, columns, axes):
    """Each part goes its own way. Where all go sideways, depths explain much of it, but not in all frames."""
    shifts, torn = np.random.default_rng(0).integers(-8, 9, (len(images), rows, columns, 2)), []
    for frame, own in zip(images, shifts, strict=True):
        tiles = [np.array_split(row, columns, axis=1) for row in np.array_split(frame.image, rows, axis=0)]
        moved = [[np.roll(tiles[r][c], own[r, c, list(axes)], axis=axes) for c in range(columns)] for r in range(rows)]
        torn.append(replace(frame, image=np.concatenate([np.concatenate(row, axis=1) for row in moved])))
    answer = network(POSES, turn=0.05, shift=0.1)
    refined = WindowRefiner().refine(torn, answer, matching_ms=100)
    assert refined.report.state == "kept"
    assert refined.report.reason in ("the tracks do not agree", "too few tracks")
    assert is_networks(refined, answer)


def test_rows_exposed_one_after_another_do_no_harm(images):
    skewed = []
    for frame in images[1:5]:
        shift = np.linspace(-2, 2, SIZE[0])
        rows = [np.roll(row, round(s), axis=0) for row, s in zip(frame.image, shift, strict=True)]
        skewed.append(replace(frame, image=np.stack(rows)))
    answer = network(POSES[1:5], turn=0.05, shift=0.1)
    refined = WindowRefiner().refine(skewed, answer)
    assert pose_errors(refined.window_from_cam, POSES[1:5])[1] < pose_errors(answer.window_from_cam, POSES[1:5])[1]


def test_repeated_texture_is_refined_rightly_or_not_at_all():
    repeated = frames(POSES, patterns=lambda number: pattern(number, period=24))
    answer = network(POSES, turn=0.03, shift=0.05)
    refined = WindowRefiner().refine(repeated, answer, matching_ms=100)
    before, after = (pose_errors(a.window_from_cam, POSES) for a in (answer, refined))
    assert after[0] <= before[0] + 0.3
    assert after[1] <= before[1] + 0.05


def test_a_frame_from_elsewhere_keeps_its_pose_and_spoils_no_other(images):
    elsewhere = frames([pose((0, 0, 0), np.pi)], patterns=lambda number: pattern(SURFACES - 1 - number))[0].image
    swapped = [replace(f, image=elsewhere) if i == 3 else f for i, f in enumerate(images)]
    refined = WindowRefiner().refine(swapped, network(POSES, turn=0.05, shift=0.1))
    assert refined.report.state == "refined"
    assert 3 not in refined.report.refined_frames
    assert np.isnan(refined.covariance[3]).all()
    others = [s for s in range(6) if s != 3]
    assert max(pose_errors(refined.window_from_cam[others], POSES[others])) < 0.7


def test_a_wrong_camera_info_is_noticed_and_said():
    wrong = INTRINSICS.copy()
    wrong[[0, 1], [0, 1]] *= 1.3
    poses = walk(9, step=0.1)
    refiner, images = WindowRefiner(), frames(poses, cameras_say=wrong)
    for start in (0, 3):
        answer = network(poses[start : start + 6], turn=0.02, shift=0.03)
        refined = refiner.refine(images[start : start + 6], answer)
    assert refined.report.reason == "wrong intrinsics"
    assert "338 pixels, the tracks say" in refined.report.detail
    assert refined.report.focal_factor == pytest.approx(1 / 1.3, rel=0.1)
    assert is_networks(refined, answer)


def test_two_frames_are_enough(images):
    pair = [images[0], images[2]]
    poses = POSES[[0, 2]]
    answer = network(poses, turn=0.05, shift=0.1)
    refined = WindowRefiner().refine(pair, answer)
    assert refined.report.state == "refined"
    assert pose_errors(refined.window_from_cam, poses)[0] < 0.7


def test_nan_depth_and_a_pose_that_is_missing_are_no_obstacle(images):
    answer = network(POSES, turn=0.05, shift=0.1)
    answer.depth[2] = np.nan
    answer.depth[0, :30] = np.nan
    answer.window_from_cam[4] = np.nan
    refined = WindowRefiner().refine(images, answer)
    assert refined.report.state == "refined"
    assert max(pose_errors(refined.window_from_cam, POSES)) < 0.5
    assert np.isnan(refined.depth[2]).all()
    assert np.isfinite(refined.depth[1]).all()


def test_a_frame_that_neither_tracks_nor_network_place_has_no_pose(images):
    answer = network(POSES, turn=0.05, shift=0.1)
    answer.window_from_cam[3] = np.nan
    blank = [replace(f, image=np.full_like(f.image, 130)) if i == 3 else f for i, f in enumerate(images)]
    refined = WindowRefiner().refine(blank, answer)
    assert refined.report.state == "refined"
    assert refined.report.refined_frames == (0, 1, 2, 4, 5)
    assert np.isfinite(refined.window_from_cam).all(axis=(1, 2)).tolist() == [True] * 3 + [False] + [True] * 2


@pytest.mark.parametrize("apart", [False, True])
def test_a_frame_without_intrinsics_says_nothing_and_spoils_no_other(images, apart):
    images = [images[0], replace(images[3], number=9), images[5]] if apart else images
    chosen = [0, 3, 5] if apart else list(range(6))
    answer = network(POSES[chosen], turn=0.05, shift=0.1)
    answer.window_from_cam[1] = answer.intrinsics[1] = np.nan
    unknown = [replace(frame, intrinsics=None) for frame in images]
    refined = WindowRefiner().refine(unknown, answer)
    assert refined.report.state == "refined"
    assert 1 not in refined.report.refined_frames
    assert np.isnan(refined.window_from_cam[1]).all()
    others = [i for i in range(len(images)) if i != 1]
    assert pose_errors(refined.window_from_cam[others], POSES[chosen][others])[0] < 2.0


def test_one_frame_before_the_first_camera_info_frees_no_focal_length(images):
    answer = network(POSES, turn=0.05, shift=0.1)
    answer.intrinsics[2, [0, 1], [0, 1]] *= 1.2
    early = [replace(f, intrinsics=None) if i == 2 else f for i, f in enumerate(images)]
    refined = WindowRefiner().refine(early, answer)
    assert refined.report.state == "refined"
    np.testing.assert_array_equal(refined.intrinsics, answer.intrinsics)
    assert max(pose_errors(refined.window_from_cam, POSES)) < 0.5


@pytest.mark.parametrize("nothing", [np.nan, 0.0, np.inf])
@pytest.mark.filterwarnings("error")
def test_where_the_network_has_no_depth_the_report_says_whose_unit_it_is(images, nothing):
    answer = network(POSES, turn=0.05, shift=0.1)
    answer.depth[:] = nothing
    refined = WindowRefiner().refine(images, answer)
    assert refined.report.state == "refined"
    assert refined.report.detail == "no depth of the network at a track: the unit is that of the start"
    assert max(pose_errors(refined.window_from_cam, POSES)) < 0.7


def test_a_camera_of_a_rig_that_has_told_nothing_leaves_the_focal_length_free(images):
    cameras = [replace(frame, camera="lr"[i % 2]) for i, frame in enumerate(images)]
    assert np.isinf(focal_weight(cameras))
    early = [replace(frame, intrinsics=None) if i < 2 else frame for i, frame in enumerate(cameras)]
    assert np.isinf(focal_weight(early))
    half = [replace(frame, intrinsics=None) if frame.camera == "r" else frame for frame in cameras]
    assert np.isfinite(focal_weight(half))


def test_no_pose_at_all_is_said(images):
    answer = network(POSES)
    refined = WindowRefiner().refine(images, replace(answer, window_from_cam=np.full((6, 4, 4), np.nan)))
    assert refined.report.reason == "no network pose"


def test_what_does_not_belong_together_is_refused(images):
    refiner, answer = WindowRefiner(), network(POSES)
    with pytest.raises(InputError, match="at least two frames"):
        refiner.refine(images[:1], answer)
    with pytest.raises(InputError, match="its own number"):
        refiner.refine([images[0]] * 6, answer)
    with pytest.raises(InputError, match="names frames 0 and 9 of 6"):
        refiner.refine(images, answer, [PosePrior(0, 9, np.eye(4), np.eye(6))])
    with pytest.raises(InputError, match="known spreads"):
        PosePrior(0, 1, np.eye(4), np.zeros((6, 6)))
    with pytest.raises(InputError, match="window_from_cam must be"):
        replace(answer, window_from_cam=np.eye(4)[None])
    assert MAP_SIZE[0] < SIZE[0]


def test_images_of_noise_are_not_refined():
    rng = np.random.default_rng(0)
    for size in ((24, 32), SIZE):
        noise = [WindowFrame(i, rng.integers(0, 255, (*size, 3), dtype=np.uint8), None) for i in range(4)]
        answer = network(POSES[:4], turn=0.05)
        assert is_networks(WindowRefiner().refine(noise, answer), answer)
