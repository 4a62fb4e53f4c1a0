"""Dense depth by flow: what it sharpens where the cameras are known, and what it leaves alone."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from textured_room import INTRINSICS, depth_map, network, walk

from dvlt_ros.refinement import WindowRefiner
from dvlt_ros.refinement.answer import kept
from dvlt_ros.refinement.dense import partners, prior_deviation, sharpened
from dvlt_ros.refinement.guided_filter import guided
from dvlt_ros.refinement.window import Landmarks, Report

POSES = walk(6, step=0.1)
CHOSEN = [2, 3]
IMAGES_SAY = np.tile(INTRINSICS, (6, 1, 1))


def blotched():
    """A network that knows its cameras, and whose depth has blots of 20 % everywhere."""
    answer, rng = network(POSES), np.random.default_rng(3)
    blots = np.stack([cv2.resize(rng.normal(0, 0.2, (8, 10)), answer.depth.shape[:0:-1]) for _ in POSES])
    return replace(answer, depth=(answer.depth * np.exp(blots)).astype(np.float32))


def error(depth):
    true = np.stack([0.7 * depth_map(POSES[s]) for s in CHOSEN])
    return np.nanmean(np.abs(depth[CHOSEN] / true - 1))


def dense(images, answer, **changed):
    refined = replace(kept(answer, Report("refined")), **changed)
    return sharpened(images, IMAGES_SAY, answer, refined, CHOSEN)


def test_blots_are_removed_and_confidence_rises_in_the_chosen_frames_alone(images):
    answer = blotched()
    found = dense(images, answer)
    assert error(found.depth) < 0.6 * error(answer.depth)
    assert (found.confidence >= answer.confidence).all()
    assert found.confidence[CHOSEN].mean() > 1.4 * answer.confidence.mean()
    others = [s for s in range(6) if s not in CHOSEN]
    assert np.array_equal(found.depth[others], answer.depth[others])
    assert found.depth.dtype == np.float32


@pytest.mark.parametrize(("off", "expected"), [(None, 0.15), (0.02, 0.03), (0.2, 0.1), (0.8, 0.15)])
def test_depth_is_believed_as_far_as_the_tracks_points_agree_with_it(off, expected):
    answer = network(POSES)
    answer.depth[:] = 2.0
    rng = np.random.default_rng(2)
    pixels = rng.uniform(0.2, 0.8, (400, 2)) * np.array(answer.depth.shape[:0:-1]) / answer.scale
    points = np.ones((400, 3)) * 3.0 * np.exp(rng.normal(0, off or 0.0, (400, 1)))  # in a frame's own scale
    seen = Landmarks(pixels, points, np.full(400, 0.01))
    refined = replace(kept(answer, Report("refined")), landmarks=() if off is None else (seen,) * 6)
    assert prior_deviation(answer, refined) == pytest.approx(expected, rel=0.1)


def test_a_point_by_itself_does_not_speak_for_the_depth():
    answer, seen = network(POSES), Landmarks(np.full((1, 2), 40.0), np.full((1, 3), 9.0), np.full(1, 0.01))
    refined = replace(kept(answer, Report("refined")), landmarks=(seen,) * 6)
    assert prior_deviation(answer, refined) == 0.15


def test_exact_depth_stays_exact(images):
    answer = network(POSES)
    assert error(dense(images, answer).depth) < 0.02


def test_what_is_unknown_stays_unknown(images):
    answer = blotched()
    answer.depth[2, 10:20, 10:20] = np.nan
    found = dense(images, answer).depth
    assert np.isnan(found[2, 10:20, 10:20]).all()
    assert np.isnan(found).sum() == 100
    assert error(found) < 0.6 * error(answer.depth)


@pytest.mark.parametrize("how", ["no parallax", "frames from elsewhere", "no texture"])
def test_flow_that_tells_no_depth_changes_nothing(images, how):
    answer, poses = blotched(), None
    if how == "no parallax":
        poses = np.tile(answer.window_from_cam[:1], (6, 1, 1))
    elif how == "frames from elsewhere":
        images = [replace(image, image=np.rot90(image.image, 2 * (i % 2)).copy()) for i, image in enumerate(images)]
    else:
        images = [replace(image, image=np.full_like(image.image, 120)) for image in images]
    found = dense(images, answer, **({} if poses is None else {"window_from_cam": poses}))
    if how == "frames from elsewhere":  # three of the six are not
        assert error(found.depth) < error(answer.depth)
    else:
        np.testing.assert_allclose(found.depth, answer.depth, rtol=1e-4)


def test_frames_of_another_camera_are_no_partners(images):
    cam_from_window = np.linalg.inv(POSES)
    assert len(partners(2, images, cam_from_window, 3.0)) == 2
    mixed = [replace(image, camera="left" if i == 2 else "right") for i, image in enumerate(images)]
    assert partners(2, mixed, cam_from_window, 3.0) == []


def test_values_end_where_colours_do():
    gray = np.zeros((20, 20), dtype=np.float32)
    gray[:, 10:] = 1.0
    values, weight = np.where(gray > 0.5, 2.0, 1.0), np.full(gray.shape, 0.01)
    noisy = values + np.random.default_rng(0).normal(0, 0.3, gray.shape)
    weight[::5, ::5], noisy[::5, ::5] = 1.0, values[::5, ::5]
    assert np.abs(guided(gray, noisy, weight) - values).mean() < 0.06


@pytest.mark.parametrize(("matching_ms", "is_sharper"), [(np.inf, True), (0.0, False)])
def test_a_window_gets_it_where_time_allows(images, matching_ms, is_sharper):
    answer = replace(network(POSES, turn=0.05, shift=0.1), depth=blotched().depth)
    plain = WindowRefiner().refine(images, answer, matching_ms=0.0)
    refined = WindowRefiner().refine(images, answer, matching_ms=matching_ms)
    assert (error(refined.depth) < 0.8 * error(plain.depth)) == is_sharper
    assert refined.report.left_out == ()
