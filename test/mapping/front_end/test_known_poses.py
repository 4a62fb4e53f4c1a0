"""What odometry and mounts tell a window's bundle adjustment."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from room import picture, pose

from dvlt_ros.mapping.data.frames import Frame
from dvlt_ros.mapping.data.turn import PORTRAIT, UNTURNED, Turn
from dvlt_ros.mapping.data.views import View
from dvlt_ros.mapping.front_end.known_poses import known_poses
from dvlt_ros.mapping.sensors.odometry import CameraInOdom, OdometryError
from dvlt_ros.mapping.sensors.suite import Sensors

POSES = [pose((0.3 * i, 0, 0), 0.1 * i) for i in range(4)]


def view(number, camera="", frame_set=0):
    return View(number, Frame(number + 1, "cam", 0, lambda: None, camera), picture(number), frame_set)


def odometry(missing=(), restarts_at=99):
    def look_up(stamp_ns, _):
        if stamp_ns - 1 in missing:
            raise OdometryError("no odometry")
        return CameraInOdom(POSES[stamp_ns - 1], epoch=int(stamp_ns - 1 >= restarts_at))

    return look_up


def told(views, **sensors):
    return list(known_poses(Sensors(**sensors), views))


def test_odometry_relates_each_view_to_the_one_before_and_drifts_with_the_way():
    priors = told([view(i) for i in range(4)], odometry=odometry())
    assert [(p.first, p.second) for p in priors] == [(0, 1), (1, 2), (2, 3)]
    for prior in priors:
        np.testing.assert_allclose(POSES[prior.first] @ prior.first_from_second, POSES[prior.second], atol=1e-9)
    (far,) = told([view(0), view(3)], odometry=odometry())
    assert (np.diag(far.covariance) > np.diag(priors[0].covariance)).all()


def test_views_without_odometry_and_epochs_without_relation_are_left_out():
    priors = told([view(i) for i in range(4)], odometry=odometry(missing=(1,)))
    assert [(p.first, p.second) for p in priors] == [(0, 2), (2, 3)]
    priors = told([view(i) for i in range(4)], odometry=odometry(restarts_at=2))
    assert [(p.first, p.second) for p in priors] == [(0, 1), (2, 3)]
    assert told([view(i) for i in range(4)]) == []


def test_mounts_relate_the_views_of_a_frame_set():
    mounts = {"left": pose((0, 0, 0)), "right": pose((0.1, 0, 0))}
    rig = SimpleNamespace(cameras=("left", "right"), base_from_cam=mounts.__getitem__)
    views = [view(2 * i + j, camera, frame_set=i) for i in range(2) for j, camera in enumerate(mounts)]
    priors = told(views, rig=rig)
    assert [(p.first, p.second) for p in priors] == [(0, 1), (2, 3)]
    np.testing.assert_allclose(mounts["left"] @ priors[0].first_from_second, mounts["right"])


def test_two_cameras_that_are_driven_together_know_no_more_of_the_way_than_one():
    views = [view(i, camera, frame_set=i) for i in (0, 1) for camera in ("left", "right")]
    (alone,) = told([view(0), view(1)], odometry=odometry())
    priors = told(views, odometry=odometry())
    assert [(p.first, p.second) for p in priors] == [(0, 2), (1, 3)]
    together = sum(np.linalg.inv(prior.covariance) for prior in priors)
    np.testing.assert_allclose(np.linalg.inv(together), alone.covariance)


@pytest.mark.parametrize("turns", [(UNTURNED, PORTRAIT), (PORTRAIT, PORTRAIT), (Turn(90), UNTURNED)])
def test_known_poses_are_those_of_the_cameras_as_the_network_sees_them(turns):
    views = [replace(view(i, frame_set=i), turn=turn) for i, turn in enumerate(turns)]
    (prior,) = told(views, odometry=odometry())
    seen = [np.copy(POSES[i]) for i in range(2)]
    for pose_seen, turn in zip(seen, turns, strict=True):
        pose_seen[:3, :3] = pose_seen[:3, :3] @ turn.turned_from_cam.T
    np.testing.assert_allclose(seen[0] @ prior.first_from_second, seen[1], atol=1e-9)
    restored = turns[0].restored_poses(seen[0])
    np.testing.assert_allclose(restored, POSES[0], atol=1e-9)  # the same turn that outputs undo
