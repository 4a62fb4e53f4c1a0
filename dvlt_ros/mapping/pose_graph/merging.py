"""Keeps the pose graph small: submaps are merged into their neighbours."""

from __future__ import annotations

from collections.abc import Sequence, Set

from ...alignment import Sim3
from .factors import Edge, EdgeKind
from .graph import PoseGraph


def shrink(graph: PoseGraph, keep: Set[int], spare: Set[int] = frozenset()) -> dict[int, tuple[int, Sim3] | None]:
    """Merges submaps until there are at most ``max_submaps``.

    These are never merged: the first one, fixed ones, those of ``keep`` (ends of loops) and the newest quarter. A
    submap that alone connects a chain of registrations to a chain of odometry is merged last, one of ``spare`` (no
    place, or a forgotten one) first.

    Returns:
        For each merged submap: the nearest submap of its component and ``nearest_from_merged``; None if its component
        had no other submap.
    """
    merged: dict[int, tuple[int, Sim3] | None] = {}
    while len(graph) > graph.config.max_submaps:
        submap = _least_needed(graph, keep, spare)
        merged[submap] = _nearest(graph, submap)
        graph.merge(submap)
    return merged


def _least_needed(graph: PoseGraph, keep: Set[int], spare: Set[int]) -> int:
    """The submap whose neighbours in the graph are closest to each other."""
    submaps = graph.submaps
    kept = keep | graph.fixed
    old = range(1, len(submaps) - graph.config.max_submaps // 4)
    gaps = {submaps[i]: submaps[i + 1] - submaps[i - 1] for i in old if submaps[i] not in kept}
    connecting = _connecting(graph.edges)
    others = {submap: gap for submap, gap in gaps.items() if submap not in connecting}
    spared = {submap: gap for submap, gap in others.items() if submap in spare}
    return min(spared or others or gaps, key=lambda submap: gaps[submap])


def _connecting(edges: Sequence[Edge]) -> set[int]:
    """Submaps with edges of one kind to earlier ones and only of the other kind to later ones.

    Without them nothing would connect the earlier to the later submaps.
    """
    earlier: dict[int, set[EdgeKind]] = {}
    later: dict[int, set[EdgeKind]] = {}
    for edge in edges:
        earlier.setdefault(edge.after, set()).add(edge.kind)
        later.setdefault(edge.before, set()).add(edge.kind)
    return {submap for submap in earlier.keys() & later.keys() if not earlier[submap] & later[submap]}


def _nearest(graph: PoseGraph, submap: int) -> tuple[int, Sim3] | None:
    """The submap of the same component with the nearest number, and ``nearest_from_submap``."""
    others = [other for other in graph.submaps if other != submap and graph.are_connected(other, submap)]
    if not others:
        return None
    nearest = min(others, key=lambda other: abs(other - submap))
    return nearest, graph.map_from_submap(nearest).inverse.compose(graph.map_from_submap(submap))
