"""When a motion that tracks have told is not believed: far from the network's, hardly told, or one of two."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from dvlt_ros.refinement.adjusting.covariance import direction_deviation
from dvlt_ros.refinement.adjusting.estimate import Estimate
from dvlt_ros.refinement.adjusting.problem import Solution
from dvlt_ros.refinement.adjusting.rotations import inverse
from dvlt_ros.refinement.checks import judged
from dvlt_ros.refinement.doubts import doubtful
from dvlt_ros.refinement.tracking.observations import KnownDepth, Observations

FRAMES, TRACKS = 5, 40
CLOSE, FAR = 1.0, 30.0  # pixels that the network's poses leave
POSES = np.tile(np.eye(4), (FRAMES, 1, 1))
POSES[:, 0, 3] = -0.1 * np.arange(FRAMES)


def estimate(fitting=1.0, cost=10.0, poses=POSES, deviation=1e-4):
    """``deviation``: of each camera's turn and shift, by the noise of the tracks."""
    errors = np.where(np.arange(TRACKS)[:, None] < fitting * TRACKS, 0.1, 9.0) * np.ones((TRACKS, FRAMES))
    empty = np.zeros((TRACKS, FRAMES, 2))
    sights = Observations(empty, errors > 0, empty, np.ones_like(errors), 300.0, 0.5, np.arange(TRACKS))
    solution = Solution(poses, np.zeros((TRACKS, 3)), information=np.eye(6 * FRAMES + 1) / deviation**2)
    return Estimate("frames 0 and 1", tuple(range(FRAMES)), sights, solution, errors, cost, 0.5)


def turned(degrees):
    """Each camera turns by so much more than the one before."""
    poses = POSES.copy()
    for i, pose in enumerate(poses):
        pose[:3, :3] = cv2.Rodrigues(np.array([0.0, np.radians(degrees) * i, 0.0]))[0]
    return poses


def elsewhere():
    """The same turns, and shifts along another axis."""
    poses = POSES.copy()
    poses[:, [0, 2], 3] = poses[:, [2, 0], 3]
    return poses


def test_a_motion_far_from_the_networks_is_believed_only_if_nearly_all_sights_fit():
    assert "70% of the sights fit a motion that turns by" in doubtful(
        estimate(0.7), [], turned(20), FAR, followed=False
    )
    assert not doubtful(estimate(0.95), [], turned(20), FAR, followed=False)
    assert not doubtful(estimate(0.7), [], turned(5), FAR, followed=False)


OPEN_BY = "leave the direction of motion open by"


def test_a_motion_whose_direction_the_matches_hardly_tell_is_not_believed():
    """Frames lie 0.1 to 0.4 apart."""
    assert OPEN_BY in doubtful(estimate(deviation=6e-3), [], POSES, FAR, followed=False)
    assert not doubtful(estimate(deviation=3e-3), [], POSES, FAR, followed=False)
    in_part = replace(estimate(deviation=3e-3), placed=(0, 1, 2))
    assert OPEN_BY in doubtful(in_part, [], POSES, FAR, followed=False)


def test_where_points_were_followed_only_a_direction_that_the_network_contradicts_is_doubtful():
    open_one = estimate(deviation=6e-3)
    assert not doubtful(open_one, [], POSES, FAR, followed=True)
    assert OPEN_BY in doubtful(open_one, [], elsewhere(), FAR, followed=True)


def test_known_depths_need_no_direction():
    known = KnownDepth(np.ones((TRACKS, FRAMES)), np.ones((TRACKS, FRAMES)))
    found = estimate(deviation=6e-3)
    assert not doubtful(replace(found, sights=replace(found.sights, known_depth=known)), [], POSES, FAR, followed=False)


def test_frames_at_one_place_do_not_hide_a_motion_that_is_told():
    poses = POSES.copy()
    poses[:, 0, 3] = (0, 0, 0, 0, -0.5)
    assert direction_deviation(estimate(poses=poses)) < np.radians(1)
    poses[:, :3, 3] = 0
    assert direction_deviation(estimate(poses=poses)) == 0


@pytest.mark.parametrize("followed", [True, False])
def test_more_of_the_matches_have_to_fit_than_of_points_that_were_followed(followed):
    verdict = judged(estimate(0.7), [], POSES, followed, far_apart=True, focal=None)
    assert (verdict.reason == "the tracks do not agree") == (not followed)


def test_of_two_motions_that_fit_alike_neither_is_believed_where_the_network_nearly_fits():
    rival = estimate(0.9, cost=11.0, poses=elsewhere())
    assert "90 degrees apart, is fitted by 90%" in doubtful(estimate(), [rival], POSES, CLOSE, followed=False)


@pytest.mark.parametrize("why", ["it costs more", "it is the same", "it places other frames", "the network is far off"])
def test_another_motion_is_no_rival(why):
    rival, left_px = estimate(0.9, cost=11.0, poses=elsewhere()), CLOSE
    if why == "it costs more":
        rival = replace(rival, cost=12.0)
    elif why == "it is the same":
        scaled = POSES.copy()
        scaled[:, :3, 3] *= 2
        rival = estimate(0.9, cost=11.0, poses=scaled @ inverse(turned(0.1)[:1]))
    elif why == "it places other frames":
        rival = replace(rival, placed=(0, 1, 2, 3))
    else:
        left_px = FAR
    assert not doubtful(estimate(), [rival], POSES, left_px, followed=False)
