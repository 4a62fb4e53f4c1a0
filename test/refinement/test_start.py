"""Where an adjustment may begin: at the network's depth, or at frames that are placed already; what it gives up."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from dvlt_ros.refinement.adjusting.estimate import agreeing_on_scale, estimated
from dvlt_ros.refinement.adjusting.rotations import inverse, turn_between
from dvlt_ros.refinement.adjusting.start import Start, depth_starts, grown, placed_near
from dvlt_ros.refinement.tracking.observations import Observations

FRAMES, TRACKS = 5, 80
NO_POSES = np.tile(np.eye(4), (FRAMES, 1, 1))


def moving():
    """cam_from_window of a camera that goes sideways and turns by 4 degrees a frame."""
    poses = NO_POSES.copy()
    for s, pose in enumerate(poses):
        pose[:3, :3] = cv2.Rodrigues(np.array([0.0, np.radians(4) * s, 0.0]))[0]
        pose[0, 3] = -0.2 * s
    return poses


@pytest.fixture
def sights():
    """What such a camera sees of points in 2 to 5 m, at depths that are off by 10 %."""
    rng = np.random.default_rng(1)
    points = rng.uniform((-1, -1, 2), (1, 1, 5), (TRACKS, 3))
    local = np.einsum("sij,pj->psi", moving()[:, :3, :3], points) + moving()[:, :3, 3]
    seen = local[..., :2] / local[..., 2:]
    depth = local[..., 2] * np.exp(rng.normal(0, 0.1, local.shape[:2]))
    return Observations(500 * seen, np.ones(depth.shape, bool), seen, depth, 500.0, 0.5, np.arange(TRACKS))


def test_the_networks_depth_alone_tells_roughly_how_the_camera_moved(sights):
    starts = list(depth_starts(sights, NO_POSES, most=3))
    assert len(starts) == 3
    for start in starts:
        found = start.cam_from_window @ inverse(start.cam_from_window[0])
        assert np.degrees(turn_between(found[:, :3, :3], moving()[:, :3, :3])).max() < 5
        assert np.linalg.norm(found[-1, :3, 3] - moving()[-1, :3, 3]) < 0.3  # of 0.8


def test_without_depth_there_is_no_such_start(sights):
    assert not list(depth_starts(replace(sights, depth=np.full(sights.depth.shape, np.nan)), NO_POSES, most=3))
    assert not list(depth_starts(sights.select(np.zeros(0, int)), NO_POSES, most=3))


def away(turn_deg):
    """The network's poses, all but the first two turned by so much."""
    poses = moving()
    poses[2:] = (
        np.block([[cv2.Rodrigues(np.radians([turn_deg, 0.0, 0.0]))[0], np.zeros((3, 1))], [0, 0, 0, 1]]) @ poses[2:]
    )
    return poses


def with_wrong_sights(sights, share):
    """Some sights of the frames from the third on are somewhere else."""
    rng = np.random.default_rng(2)
    wrong = rng.random(sights.mask.shape) < share
    wrong[:, :2] = False
    return replace(sights, seen=np.where(wrong[..., None], rng.uniform(-0.4, 0.4, sights.seen.shape), sights.seen))


def errors(found):
    """Degrees and shift (of 0.8) of the worst frame."""
    turn, shift = turn_between(found[:, :3, :3], moving()[:, :3, :3]), found[:, :3, 3] - moving()[:, :3, 3]
    return np.degrees(turn).max(), np.linalg.norm(shift, axis=1).max()


@pytest.mark.parametrize("share", [0.0, 0.25])
def test_frames_are_placed_near_the_networks_poses_in_spite_of_wrong_sights(sights, share):
    sights, poses = with_wrong_sights(sights, share), away(6)
    points = sights.within([0, 1]).triangulated(moving())
    assert placed_near(sights, poses, [0, 1], points, np.ones(TRACKS, bool)) == [2, 3, 4]
    turn, shift = errors(poses)
    assert turn < 0.5
    assert shift < 0.04


def test_frames_far_from_the_networks_poses_are_searched_for(sights):
    poses, points = away(150), sights.within([0, 1]).triangulated(moving())
    assert not placed_near(sights, poses.copy(), [0, 1], points, np.ones(TRACKS, bool))
    turn, shift = errors(grown("", sights, poses, [0, 1], poses, settle=False).cam_from_window)
    assert turn < 0.5
    assert shift < 0.04


def test_a_frame_that_sees_few_of_the_known_points_is_placed_by_those_of_the_frames_between(sights):
    mask = sights.mask.copy()
    mask[65:, :2] = mask[:60, 4] = False  # the first two and the last one share five points
    shorter, poses = replace(sights, mask=mask), away(6)
    turn, shift = errors(grown("", shorter, poses, [0, 1], poses, settle=False).cam_from_window)
    assert turn < 0.5
    assert shift < 0.04


@pytest.mark.parametrize(("factor", "placed"), [(1.5, (0, 1, 2, 3, 4)), (3.0, (0, 1, 2, 3)), (0.1, (0, 1, 2, 3))])
def test_a_frame_whose_points_have_another_scale_than_those_of_all_others_is_given_up(sights, factor, placed):
    depth = sights.depth.copy()
    depth[:, 4] *= factor
    sights = replace(sights, depth=depth)
    found = estimated(sights, Start("the truth", moving()), 10)
    assert found.placed == (0, 1, 2, 3, 4)
    kept = agreeing_on_scale(sights, found)
    assert kept.placed == placed
    assert kept.cost >= found.cost  # sights in the frame that is given up count as outliers
    others = [0, 1, 2, 3]
    relative = kept.cam_from_reference[others] @ inverse(kept.cam_from_reference[0])
    np.testing.assert_allclose(relative[:, :3, :3], moving()[others, :3, :3], atol=0.01)


def test_a_few_wrong_depths_give_no_frame_up(sights):
    depth = sights.depth.copy()
    depth[:, 4] = np.nan
    depth[:3, 4] = 3 * sights.depth[:3, 4]
    holes = replace(sights, depth=depth)
    found = estimated(holes, Start("the truth", moving()), 10)
    assert agreeing_on_scale(holes, found) is found


def test_of_two_frames_none_is_the_usual_one(sights):
    depth = sights.depth.copy()
    depth[:, 1] *= 10
    pair = replace(sights, depth=depth, mask=sights.mask & (np.arange(FRAMES) < 2))
    found = estimated(pair, Start("the truth", moving()), 10)
    assert agreeing_on_scale(pair, found).placed == (0, 1)


@pytest.mark.filterwarnings("error")
def test_without_depth_no_frame_has_a_scale(sights):
    unknown = replace(sights, depth=np.full(sights.depth.shape, np.nan))
    found = estimated(unknown, Start("the truth", moving()), 10)
    assert agreeing_on_scale(unknown, found) is found
