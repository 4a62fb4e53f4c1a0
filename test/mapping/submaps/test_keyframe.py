"""What a view's landmarks become as a keyframe."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from submap_samples import an_anchor

from dvlt_ros.mapping.data.frames import Picture
from dvlt_ros.mapping.data.turn import Turn
from dvlt_ros.mapping.submaps.keyframe import keyframe_of
from dvlt_ros.refinement import Landmarks

FOCAL, SIZE = 200.0, (100, 140)
K = np.array([[FOCAL, 0, 75.0], [0, FOCAL, 45.0], [0, 0, 1]])
POINTS = np.array([[0.2, 0.1, 2.0], [-0.4, 0.3, 3.0], [0.1, -0.2, 1.5], [0.3, 0.2, 2.5]])


def seen_by(turn, tracks=(7, 2, -1, 5), intrinsics=K):
    """A view that is turned for the network, with landmarks where the turned camera sees the points."""
    picture = turn.picture(Picture(np.zeros((*SIZE, 3), np.uint8), K))
    points = POINTS @ turn.turned_from_cam.T
    pixels = (points @ picture.intrinsics.T)[:, :2] / points[:, 2:]
    anchor = an_anchor(0, picture.image.shape[:2])
    shown = picture if intrinsics is not None else Picture(picture.image, None)
    view = replace(anchor.view, picture=shown, turn=turn)
    landmarks = Landmarks(pixels, points, np.full(len(points), 0.01), tracks=np.array(tracks))
    return replace(anchor, view=view, landmarks=landmarks)


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_it_sees_what_its_camera_sees_as_it_is_mounted(rotation):
    keyframe = keyframe_of(seen_by(Turn(rotation)))
    assert keyframe.tracks.tolist() == [2, 5, 7]  # -1 was not followed
    own = POINTS[[1, 3, 0]]
    np.testing.assert_allclose(keyframe.seen, own[:, :2] / own[:, 2:], atol=1e-9)
    np.testing.assert_allclose(keyframe.depth, own[:, 2])


def test_a_sight_is_as_exact_as_its_image_is_large():
    deviation = keyframe_of(seen_by(Turn(0))).deviation
    assert deviation == pytest.approx(0.25 / FOCAL)  # a quarter of a pixel at least


def test_without_followed_tracks_or_intrinsics_there_is_none():
    assert keyframe_of(seen_by(Turn(0), tracks=(-1, -1, -1, -1))) is None
    assert keyframe_of(seen_by(Turn(0), intrinsics=None)) is None
    assert keyframe_of(an_anchor(0)) is None
