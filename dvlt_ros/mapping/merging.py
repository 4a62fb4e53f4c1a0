"""Two saved maps as one, without a recording: places of the second that the first one knows tell how they lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from ..alignment import IDENTITY, Sim3, fit_sim3
from ..errors import InputError
from .inference.prediction import PlaceRecognizer
from .loops.config import LoopsConfig
from .loops.place_index import LONG_AGO_NS, MIN_PLACES, Place, PlaceIndex
from .loops.verification import UnverifiedLoop, verify
from .maps.localizer import Sighting
from .maps.map_part import MapSnapshot
from .maps.saved_map import SavedMap
from .maps.voxel_map import VoxelMap
from .submaps.submap import StoredSubmap, StoredView, thinned

MOST_CHECKED = 60  # pairs of places, each as much work as a window
ENOUGH = 6  # places that agree
LEAST = 2  # one place may be fooled
LOOSE = 2.0  # times `loops.max_residual`: places that fit less well than that count, too, where
MANY = 4  # pairs of them agree
MERGED_ID = 0  # of the map


@dataclass(frozen=True, eq=False)
class Merged:
    """Both maps in the frame of the first one."""

    snapshot: MapSnapshot
    stored: dict[int, StoredSubmap]
    first_from_second: Sim3
    num_places: int  # that agree on it
    spread: float  # median distance between where they have the second map's cameras and where the fit has them


def merge(first: SavedMap, second: SavedMap, recognizer: PlaceRecognizer, config: LoopsConfig) -> Merged:
    """The second map moved as a whole; neither one is bent.

    Raises:
        InputError: the maps are of other networks or units, or no two places agree; it says what was measured.
    """
    second.check(first.checkpoint, first.is_metric)
    places = _numbered(first, second)
    count, pairs = len(first.stored_submaps), candidates(places, len(first.stored_submaps), config)
    found: list[Sighting] = []
    agreeing: list[Sighting] = []
    checked, last = 0, "none looked alike"
    for pair in pairs[:MOST_CHECKED]:
        checked += 1
        sighting = _sighted(places[pair[0]], places[pair[1]], recognizer, config)
        if isinstance(sighting, str):
            last = sighting
            continue
        found.append(sighting)
        agreeing = agreed(found, config)
        if len(agreeing) >= ENOUGH:
            break
    if not agreeing:
        raise InputError(
            f"the maps of {count} and {len(places) - count} places are not joined: {checked} pairs of places were "
            f"compared, {len(found)} show the same, and no {LEAST} of these agree on where it lies, nor {MANY} with "
            f"residuals above loops.max_residual; the last that does not: {last}"
        )
    first_from_second, spread = fitted(agreeing, first.is_metric)
    return Merged(*_joined(first, second, places, first_from_second), first_from_second, len(agreeing), spread)


def _numbered(first: SavedMap, second: SavedMap) -> list[StoredSubmap]:
    """Places of both, each numbered by its index; no view of one has the number of one of the other."""
    used, free = ([v.anchor.view.number for s in saved.stored_submaps for v in s.views] for saved in (first, second))
    shift = 1 + max(used) - min(free)
    moved = [
        replace(submap, views=tuple(_renumbered(view, shift) for view in submap.views))
        for submap in second.stored_submaps
    ]
    return [replace(submap, number=number) for number, submap in enumerate((*first.stored_submaps, *moved))]


def _renumbered(stored: StoredView, shift: int) -> StoredView:
    view = stored.anchor.view
    view = replace(view, number=view.number + shift, frame_set=view.frame_set + shift)
    return replace(stored, anchor=replace(stored.anchor, view=view))


def candidates(places: Sequence[StoredSubmap], num_first: int, config: LoopsConfig) -> list[tuple[int, int]]:
    """Pairs of a place of the first map and one of the second that look alike, the most similar first.

    Of few places, which do not tell how much alike two of them usually are, all pairs.
    """
    if len(places) < MIN_PLACES:
        return _all_pairs(places, num_first)
    index = PlaceIndex(replace(config.places, max_places=max(config.places.max_places, len(places))))
    for place in places:
        index.add(Place(place.number, LONG_AGO_NS, place.number), place.descriptor)
    of_first = frozenset(range(num_first))
    found = [
        (candidate.similarity, candidate.place.submap, place.number)
        for place in places[num_first:]
        for candidate in index.look_up(place.descriptor, LONG_AGO_NS, of_first)
        if candidate.place.submap in of_first
    ]
    return [(one, other) for _, one, other in sorted(found, reverse=True)]


def _all_pairs(places: Sequence[StoredSubmap], num_first: int) -> list[tuple[int, int]]:
    """By the cosine of their descriptors, without the mean of all."""
    flat = np.stack([place.descriptor.reshape(-1) for place in places]).astype(np.float64)
    flat -= flat.mean(axis=0)
    flat /= np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-12)
    similar = flat[:num_first] @ flat[num_first:].T
    order = np.argsort(-similar, axis=None, kind="stable")
    return [
        (int(one), num_first + int(other)) for one, other in zip(*np.unravel_index(order, similar.shape), strict=True)
    ]


def _sighted(
    known: StoredSubmap, seen: StoredSubmap, recognizer: PlaceRecognizer, config: LoopsConfig
) -> Sighting | str:
    """Where a place of the first map has the second one; or why it does not."""
    if known.image_format != seen.image_format:
        return f"images of {known.image_format[1:3]} and {seen.image_format[1:3]} fit no window"
    views = [stored.view() for stored in (*known.views, *seen.views)]
    prediction = thinned(recognizer.predict_apart(views, recognizer.max_steps, seen.image_size))
    limits = replace(config.verification, max_residual=LOOSE * config.verification.max_residual)
    loop = verify(prediction, known.submap_views, seen.submap_views, limits)
    if isinstance(loop, UnverifiedLoop):
        return loop.reason
    anchor = seen.views[-1].anchor
    depth = float(np.median(anchor.depth[anchor.depth > 0]))
    return Sighting(loop, anchor.map_from_cam, depth, anchor.view.frame.stamp_ns)


def agreed(sightings: Sequence[Sighting], config: LoopsConfig) -> list[Sighting]:
    """Those that are believed: at least `LEAST` that fit well, each of other places, or `MANY` of so many places."""
    every = max((_agreeing(one, sightings) for one in sightings), key=len, default=[])
    if len(every) >= MANY and len(_of_other_places(every)) >= LEAST:
        return every
    well = largest_agreement([one for one in sightings if one.loop.residual <= config.verification.max_residual])
    return well if len(well) >= LEAST else []


def largest_agreement(sightings: Sequence[Sighting]) -> list[Sighting]:
    """Those that agree with one of them, the one with most such; each place of either map counts once."""
    return max((_of_other_places(_agreeing(one, sightings)) for one in sightings), key=len, default=[])


def _agreeing(one: Sighting, sightings: Sequence[Sighting]) -> list[Sighting]:
    ways = [float(np.linalg.norm(one.visual_from_cam[:3, 3] - other.visual_from_cam[:3, 3])) for other in sightings]
    return [s for s, way in zip(sightings, ways, strict=True) if s is one or s.agrees(one.saved_from_visual, way)]


def _of_other_places(sightings: Sequence[Sighting]) -> list[Sighting]:
    """The first of each place of either map."""
    taken: set[tuple[int, int]] = set()
    found: list[Sighting] = []
    for sighting in sightings:
        names = {(0, sighting.loop.first), (1, sighting.loop.second)}
        if not names & taken:
            taken |= names
            found.append(sighting)
    return found


def fitted(sightings: Sequence[Sighting], is_metric: bool) -> tuple[Sim3, float]:
    """first_from_second by all of these places, each with its camera and points before it; and their spread.

    Each counts by its joint window's covariance, see `Sighting.weight`.
    """
    seen = np.stack([sighting.visual_from_cam for sighting in sightings])
    known = np.stack([sighting.saved_from_cam for sighting in sightings])
    depths = np.array([sighting.depth for sighting in sightings])[:, None]
    scales = np.array([sighting.saved_from_visual.scale.item() for sighting in sightings])[:, None]
    source = np.concatenate([seen[:, :3, 3], *(seen[:, :3, 3] + depths * seen[:, :3, axis] for axis in range(3))])
    lengths = scales * depths
    target = np.concatenate([known[:, :3, 3], *(known[:, :3, 3] + lengths * known[:, :3, axis] for axis in range(3))])
    weights = np.tile([sighting.weight for sighting in sightings], 4)
    pairs = [torch.from_numpy(values) for values in (source, target, weights)]
    found = fit_sim3(*pairs, scale_estimator="fixed" if is_metric else "symmetric")
    off = np.linalg.norm(found.apply(seen[:, :3, 3]) - known[:, :3, 3], axis=1)
    return found, float(np.median(off))


def _joined(
    first: SavedMap, second: SavedMap, places: Sequence[StoredSubmap], first_from_second: Sim3
) -> tuple[MapSnapshot, dict[int, StoredSubmap]]:
    poses = np.concatenate([first.map_from_cam, first_from_second.apply_to_poses(second.map_from_cam)])
    stamps_ns = np.concatenate([first.stamps_ns, second.stamps_ns])
    order = np.argsort(stamps_ns, kind="stable")
    voxels = VoxelMap(first.voxel_size, len(first.cloud.points) + len(second.cloud.points))
    moved = first_from_second.apply(second.cloud.points.astype(np.float64)).astype(np.float32)
    for cloud in (first.cloud, second.cloud._replace(points=moved)):
        voxels.add(*cloud, camera_position=np.zeros(3))
    num_first = len(first.stored_submaps)
    moves = {place.number: IDENTITY if place.number < num_first else first_from_second for place in places}
    snapshot = MapSnapshot(MERGED_ID, voxels.cloud(), stamps_ns[order], poses[order], first.voxel_size, moves)
    return snapshot, {place.number: place for place in places}
