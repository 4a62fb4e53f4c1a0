"""Frames that are kept move with their submap, each once."""

from dataclasses import dataclass

import numpy as np
import pytest
from submap_samples import moved_by

from dvlt_ros.mapping.data.corrections import Correction, stacked
from dvlt_ros.mapping.data.moving import correct, of_map, place_waiting


@dataclass(eq=False)
class Kept:
    map_id: int
    submap_id: int
    map_from_cam: np.ndarray
    is_placed: bool = True
    scale: float = 1.0


def kept(map_id, submap_id, x=0.0, is_placed=True):
    return Kept(map_id, submap_id, moved_by(x).matrix.numpy(), is_placed)


@pytest.mark.parametrize("joined", [0, 1])
def test_frames_of_joined_maps_move_once_whichever_map_stays(joined):
    frames = [kept(0, 0, 1.0), kept(1, 5, 2.0), kept(2, 9, 3.0)]
    moves = stacked([moved_by(10.0), moved_by(100.0, scale=2.0)])
    moved = correct(frames, Correction(joined, np.array([0, 5]), np.array([0, 1]), moves))
    assert set(map(id, moved)) == {id(frames[0]), id(frames[1])}
    assert [frame.map_from_cam[0, 3] for frame in frames] == pytest.approx([11.0, 104.0, 3.0])
    assert [frame.scale for frame in frames] == pytest.approx([1.0, 2.0, 1.0])
    assert [frame.map_id for frame in frames] == [joined, joined, 2]


def test_frames_that_wait_get_their_place_and_unit():
    frames = [kept(7, 0, 1.0, is_placed=False), kept(8, 0, 1.0, is_placed=False), kept(7, 0, 1.0)]
    assert of_map(frames, 7) == [frames[2]]
    assert place_waiting(frames, moved_by(3.0, scale=2.0), 7, 4) == [frames[0]]
    assert (frames[0].map_from_cam[0, 3], frames[0].scale, frames[0].map_id) == (pytest.approx(5.0), 2.0, 4)
    assert frames[0].is_placed
    assert [frame.map_id for frame in frames] == [4, 8, 7]
