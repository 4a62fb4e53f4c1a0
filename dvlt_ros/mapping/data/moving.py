"""Frames that are kept after they came out: the map's scale and loop closures move them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

import numpy as np

from ...alignment import IDENTITY, Sim3
from .corrections import Correction


class Moving(Protocol):
    """A frame that moves with its submap."""

    map_id: int  # while it has no place: the visual map's
    submap_id: int
    is_placed: bool
    map_from_cam: np.ndarray  # (4, 4), rigid
    scale: float  # of its lengths, to the map's unit


M = TypeVar("M", bound=Moving)


def of_map(frames: Sequence[M], map_id: int) -> list[M]:
    """Those that have a place in this map."""
    return [frame for frame in frames if frame.is_placed and frame.map_id == map_id]


def place_waiting(frames: Sequence[M], map_from_visual: Sim3, visual_id: int, map_id: int) -> list[M]:
    """The place of a visual map has become known; returns its frames, which waited and have been moved."""
    waiting = [frame for frame in frames if not frame.is_placed and frame.map_id == visual_id]
    for frame in waiting:
        frame.map_from_cam = map_from_visual.apply_to_poses(frame.map_from_cam)
        frame.scale *= map_from_visual.scale.item()
        frame.map_id, frame.is_placed = map_id, True
    return waiting


def correct(frames: Sequence[M], correction: Correction) -> list[M]:
    """A loop has been closed: the maps that it joins are one from now on; returns their frames, which have moved."""
    maps = {map_id: of_map(frames, map_id) for map_id in np.unique(correction.map_ids).tolist()}
    for map_id, members in maps.items():
        if not members:
            continue
        submap_ids = np.array([frame.submap_id for frame in members])
        poses = correction.poses(map_id, submap_ids, np.stack([frame.map_from_cam for frame in members]))
        moved = correction.submaps_of(map_id, dict.fromkeys(submap_ids.tolist(), IDENTITY))
        for frame, pose in zip(members, poses, strict=True):
            frame.map_from_cam, frame.map_id = pose, correction.map_id
            frame.scale *= moved[frame.submap_id].scale.item()
    return [frame for members in maps.values() for frame in members]
