"""The latest submaps whose reference views are keyframes, and what their tracks say of where they lie."""

from __future__ import annotations

from collections import deque

import numpy as np

from ...alignment import Sim3, similarity_between
from ...refinement.keyframes import Keyframe, adjusted_together, latest_run
from ..submaps.submap import Submap
from .graph import PoseGraph

MAX_KEYFRAMES = 40  # that are adjusted together; their time grows with the square


class Keyframes:
    """In the order of their submaps; at most `MAX_KEYFRAMES`."""

    def __init__(self) -> None:
        self.num_new = 0  # since the latest adjustment
        self.num_adjusted = 0  # in the latest adjustment
        self.problem = ""  # why the latest adjustment moved nothing; empty: it did, or there was nothing to adjust
        self._latest: deque[tuple[Submap, Keyframe]] = deque(maxlen=MAX_KEYFRAMES)

    def add(self, submap: Submap) -> None:
        if submap.keyframe is not None:
            self._latest.append((submap, submap.keyframe))
            self.num_new += 1

    def changes(self, graph: PoseGraph, most: int) -> dict[int, Sim3]:
        """Of the submaps that at most so many of the latest keyframes span, new_from_old in the map.

        A submap without a keyframe moves with the one before it. Empty: fewer than two share enough tracks, or those
        agree with no poses.
        """
        chain = self._chain(graph)[-most:] if self.num_new else []
        self.num_new, self.num_adjusted, self.problem = 0, len(chain) if len(chain) > 1 else 0, ""
        if not self.num_adjusted:
            return {}
        numbers = [submap.number for submap, _ in chain]
        before = np.stack([graph.map_from_cam(number) for number in numbers])
        units = np.array([graph.map_from_submap(number).scale.item() for number in numbers])
        found = adjusted_together([keyframe for _, keyframe in chain], before, units)
        if found is None:
            self.problem = f"too few tracks of {len(chain)} keyframes fit common poses"
            return {}
        numbers, before, factors = numbers[found.told], before[found.told], found.unit / units[found.told]
        told = {n: similarity_between(found.poses[i], before[i], factors[i]) for i, n in enumerate(numbers)}
        changes, latest = {}, told[numbers[0]]
        for number in graph.submaps:
            if numbers[0] <= number <= numbers[-1]:
                changes[number] = latest = told.get(number, latest)
        return changes

    def _chain(self, graph: PoseGraph) -> list[tuple[Submap, Keyframe]]:
        """The latest ones of one visual map, neighbours of which share tracks."""
        chain: list[tuple[Submap, Keyframe]] = []
        for submap, keyframe in reversed(self._latest):
            if submap.number not in graph or submap.map_id != self._latest[-1][0].map_id:
                break
            chain.insert(0, (submap, keyframe))
        return chain[len(chain) - latest_run([keyframe for _, keyframe in chain]) :]
