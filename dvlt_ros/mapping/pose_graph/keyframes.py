"""The latest submaps whose reference views are keyframes, and what their tracks say of where they lie."""

from __future__ import annotations

from collections import deque

import numpy as np

from ...alignment import Sim3, similarity_between
from ...refinement.keyframes import adjusted_together, latest_run
from ..submaps.submap import Submap
from .graph import PoseGraph

MAX_KEYFRAMES = 40  # that are adjusted together; their time grows with the square


class Keyframes:
    """In the order of their submaps; at most `MAX_KEYFRAMES`."""

    def __init__(self) -> None:
        self.num_new = 0  # since the latest adjustment
        self.num_adjusted = 0  # in the latest adjustment
        self._submaps: deque[Submap] = deque(maxlen=MAX_KEYFRAMES)

    def add(self, submap: Submap) -> None:
        if submap.keyframe is not None:
            self._submaps.append(submap)
            self.num_new += 1

    def changes(self, graph: PoseGraph, most: int) -> dict[int, Sim3]:
        """Of the submaps that at most so many of the latest keyframes span, new_from_old in the map.

        A submap without a keyframe moves with the one before it. Empty: fewer than two share enough tracks, or those
        agree with no poses.
        """
        chain = self._chain(graph)[-most:] if self.num_new else []
        self.num_new, self.num_adjusted = 0, len(chain) if len(chain) > 1 else 0
        if not self.num_adjusted:
            return {}
        before = np.stack([graph.map_from_cam(submap.number) for submap in chain])
        units = np.array([graph.map_from_submap(submap.number).scale.item() for submap in chain])
        found = adjusted_together([submap.keyframe for submap in chain if submap.keyframe], before, units)
        if found is None:
            return {}
        chain, before, units = chain[-len(found[0]) :], before[-len(found[0]) :], units[-len(found[0]) :]
        poses, factors = found[0], found[1] / units
        told = {s.number: similarity_between(poses[i], before[i], factors[i]) for i, s in enumerate(chain)}
        changes, latest = {}, told[chain[0].number]
        for number in graph.submaps:
            if chain[0].number <= number <= chain[-1].number:
                changes[number] = latest = told.get(number, latest)
        return changes

    def _chain(self, graph: PoseGraph) -> list[Submap]:
        """The latest ones of one visual map, neighbours of which share tracks."""
        submaps = list(self._submaps)
        known = 0
        for submap in reversed(submaps):
            if submap.number not in graph or submap.map_id != submaps[-1].map_id:
                break
            known += 1
        submaps = submaps[len(submaps) - known :]
        return submaps[len(submaps) - latest_run([s.keyframe for s in submaps if s.keyframe]) :]
