"""The newest view of a window as a keyframe: what it sees of tracks that are longer than windows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...refinement import Keyframe
from ...refinement.tracking.tracks import normalised, sight_deviation_px
from ..data.views import Anchor


@dataclass(frozen=True, eq=False)
class TrackedView:
    """A keyframe in the visual map; it moves with its submap."""

    submap: int  # the latest one at its time
    visual_id: int
    visual_from_cam: np.ndarray  # (4, 4)
    keyframe: Keyframe  # depth in the visual map's unit


def tracked_view(anchor: Anchor, submap: int, visual_id: int) -> TrackedView | None:
    """None: no tracks were followed, or the camera's intrinsics are not known, which each window would find anew."""
    picture, landmarks = anchor.view.picture, anchor.landmarks
    followed = np.flatnonzero(landmarks.tracks >= 0)
    if picture.intrinsics is None or not len(followed):
        return None
    followed = followed[landmarks.tracks[followed].argsort()]
    seen = normalised(landmarks.pixels[followed], picture.intrinsics)
    deviation = sight_deviation_px(picture.image.shape[1]) / picture.intrinsics[0, 0]
    keyframe = Keyframe(landmarks.tracks[followed], seen, landmarks.points[followed, 2], deviation)
    return TrackedView(submap, visual_id, anchor.map_from_cam, keyframe)
