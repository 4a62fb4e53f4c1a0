"""Corrections: how loop closures and adjusted keyframes move frames and submaps that are already in the map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ...alignment import Sim3


@dataclass(frozen=True, eq=False)
class Correction:
    """The effect of a closed loop, or of adjusted keyframes.

    A frame moves with the submap of its ``submap_id``, the latest one at its time. The maps of all these submaps are
    one map from now on.
    """

    map_id: int  # of the joined map
    submaps: np.ndarray  # (N,) int64, ascending
    map_ids: np.ndarray  # (N,) int64, of each submap's map before the correction
    new_from_old: Sim3  # of each submap: scale (N,), rotation (N, 3, 3), translation (N, 3)

    def matrices(self, map_id: int, submap_ids: np.ndarray) -> np.ndarray:
        """new_from_old (N, 4, 4), with the scale in them, of submaps (N,) of a map."""
        movers = self._movers(map_id, submap_ids)
        if movers is None:
            return np.broadcast_to(np.eye(4), (len(submap_ids), 4, 4))
        return self._of(movers).matrix.numpy()

    def poses(self, map_id: int, submap_ids: np.ndarray, map_from_cam: np.ndarray) -> np.ndarray:
        """Corrected poses (P, 4, 4), rigid; the scale of the correction applies to the frames' depths."""
        movers = self._movers(map_id, submap_ids)
        if movers is None:
            return map_from_cam.copy()
        return self._of(movers).apply_to_poses(map_from_cam)

    def submaps_of(self, map_id: int, map_from_visual: Mapping[int, Sim3]) -> dict[int, Sim3]:
        """Corrected map_from_visual of a map's submaps, by number."""
        movers = self._movers(map_id, np.fromiter(map_from_visual, np.int64))
        if movers is None:
            return dict(map_from_visual)
        moved = self._of(movers).compose(stacked(list(map_from_visual.values())))
        parts = zip(moved.scale, moved.rotation, moved.translation, strict=True)
        return {number: Sim3(*part) for number, part in zip(map_from_visual, parts, strict=True)}

    def _of(self, rows: np.ndarray) -> Sim3:
        """new_from_old of these submaps."""
        every = self.new_from_old
        return Sim3(every.scale[rows], every.rotation[rows], every.translation[rows])

    def _movers(self, map_id: int, submap_ids: np.ndarray) -> np.ndarray | None:
        """(P,) rows of `submaps` that the ids move with (the one before if it is merged); None: nothing moves."""
        known = np.flatnonzero(self.map_ids == map_id)
        if not (len(known) and len(submap_ids)):
            return None
        return known[np.maximum(np.searchsorted(self.submaps[known], submap_ids, side="right") - 1, 0)]


def stacked(similarities: Sequence[Sim3]) -> Sim3:
    """N similarities, at least one, as one: scale (N,), rotation (N, 3, 3), translation (N, 3)."""
    parts = zip(*((one.scale, one.rotation, one.translation) for one in similarities), strict=True)
    return Sim3(*(torch.stack(part) for part in parts))
