"""A view as a keyframe: what it sees of tracks that live longer than windows."""

from __future__ import annotations

import numpy as np

from ...refinement import Keyframe
from ...refinement.tracking.tracks import normalised, sight_deviation_px
from ..data.views import Anchor


def keyframe_of(anchor: Anchor) -> Keyframe | None:
    """In the axes of its camera as it is mounted, not turned for the network; depth in the map's unit.

    None: no tracks were followed (several cameras, frames far apart, a window that was not refined), or the camera's
    intrinsics are not known, which each window would find anew.
    """
    picture, landmarks = anchor.view.picture, anchor.landmarks
    followed = np.flatnonzero(landmarks.tracks >= 0)
    if picture.intrinsics is None or not len(followed):
        return None
    followed = followed[landmarks.tracks[followed].argsort()]
    seen = normalised(landmarks.pixels[followed], picture.intrinsics) @ anchor.view.turn.turned_from_cam[:2, :2]
    deviation = sight_deviation_px(picture.image.shape[1]) / picture.intrinsics[0, 0]
    return Keyframe(landmarks.tracks[followed], seen, landmarks.points[followed, 2], deviation)
