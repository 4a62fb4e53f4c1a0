"""Place index: finds earlier keyframes whose place descriptor is similar to that of a new one.

A descriptor holds the mean of the encoder's patch features in each of 2 x 4 cells. Most of the variance of trained
features lies in one or two directions that depend on distance and not on the place. Therefore cells are centred and
whitened with the statistics of the index, and compared by cosine, cell by cell.

The similarity of two views of one place differs between checkpoints, so the threshold is learned from the stream:
consecutive keyframes show the same place, keyframes far apart in time mostly do not.
"""

from __future__ import annotations

import math
from collections.abc import Set
from dataclasses import dataclass

import numpy as np

from ...errors import InputError
from ...robust import deviation
from ..inference.descriptors import CELLS
from .config import PlaceIndexConfig

FLATNESS = 1.0  # multiple of the mean variance that is added to each direction's, as weak directions are mostly noise
REFRESH_GROWTH = 1.1  # statistics are computed again when this share of the index is new
MIN_PLACES = 20  # needed for the statistics
SURE_SPREADS = 2.5  # above the similarity of neighbours: the same place from nearly the same pose
LONG_AGO_NS = -(10**18)  # stamp of places of a saved map


@dataclass(frozen=True)
class Place:
    """A keyframe in the index."""

    submap: int
    stamp_ns: int
    number: int  # of the view


@dataclass(frozen=True)
class Candidate:
    """A place that is similar to the requested one."""

    place: Place
    similarity: float  # mean cosine of the cells


@dataclass(frozen=True)
class Likeness:
    """Statistics of the similarity in this stream."""

    neighbors: float  # median over consecutive keyframes
    others: float  # median over keyframes far apart in time
    spread: float  # robust standard deviation of the latter
    threshold: float  # from which places count as similar

    @property
    def sure(self) -> float:
        """From which a place is more alike than neighbours are."""
        return self.neighbors + SURE_SPREADS * self.spread


class PlaceIndex:
    """Keyframes with their descriptors, oldest first; at most ``max_places``."""

    def __init__(self, config: PlaceIndexConfig | None = None) -> None:
        self.config = config or PlaceIndexConfig()
        self.likeness: Likeness | None = None  # None: fewer than MIN_PLACES keyframes
        self._places: list[Place] = []
        self._cells = np.empty((0, 0, 0), np.float32)  # (room, cells, channels); as many in use as there are places
        self._codes = np.empty((0, 0), np.float32)  # (room, cells * channels), whitened, unit length
        self._mean = np.empty(0, np.float32)  # (channels,)
        self._whitening = np.empty((0, 0), np.float32)  # (channels, channels)
        self._added = 0  # since the statistics were taken

    def __len__(self) -> int:
        return len(self._places)

    @property
    def submaps(self) -> frozenset[int]:
        """Of all keyframes in the index."""
        return frozenset(place.submap for place in self._places)

    def add(self, place: Place, descriptor: np.ndarray) -> None:
        """Adds a keyframe with its descriptor (cells, channels), in order of time.

        Raises:
            InputError: an older stamp, or a descriptor of another shape or with values that are not finite.
        """
        self._check(descriptor)
        if self._places and place.stamp_ns < self._places[-1].stamp_ns:
            raise InputError(f"keyframes come in order of time, got {place} after {self._places[-1]}")
        if len(self._places) == self.config.max_places:
            self._forget(self._most_alike())
        self._make_room(descriptor)
        count = len(self._places)
        self._cells[count] = descriptor
        if self.likeness is not None:
            self._codes[count] = self._code(descriptor[None])[0]
        self._places.append(place)
        self._added += 1
        if len(self) >= MIN_PLACES and (self.likeness is None or self._added > (REFRESH_GROWTH - 1) * len(self)):
            self._refresh()

    def remove(self, submaps: Set[int]) -> None:
        """Forgets the keyframes of these submaps; what is alike is told by the others from the next one on."""
        for index in reversed(range(len(self))):
            if self._places[index].submap in submaps:
                self._forget(index)

    def look_up(self, descriptor: np.ndarray, stamp_ns: int, apart: Set[int] = frozenset()) -> tuple[Candidate, ...]:
        """Earlier places similar to this keyframe (cells, channels), best first, one per submap.

        Args:
            apart: submaps of other components. They may be of any age, and ``max_candidates`` of them are returned in
                addition to as many others.
        """
        self._check(descriptor)
        if self.likeness is None:
            return ()
        similar = self._codes[: len(self)] @ self._code(descriptor[None])[0]
        found: dict[int, Candidate] = {}
        left = {True: self.config.max_candidates, False: self.config.max_candidates}
        num_old = self._num_old(stamp_ns)
        for index in np.argsort(-similar, kind="stable"):
            if similar[index] < self.likeness.threshold:
                break
            place = self._places[index]
            is_apart = place.submap in apart
            if place.submap not in found and left[is_apart] and (is_apart or index < num_old):
                found[place.submap] = Candidate(place, float(similar[index]))
                left[is_apart] -= 1
        return tuple(found.values())

    def alike(self, descriptor: np.ndarray, surely: bool = False) -> frozenset[int]:
        """Submaps of any age whose place is similar to a keyframe (cells, channels); none while nobody can tell.

        ``surely``: more alike than neighbours are, as what is seen from nearly the same pose is.
        """
        if self.likeness is None:
            return frozenset()
        least = self.likeness.sure if surely else self.likeness.threshold
        similar = self._codes[: len(self)] @ self._code(descriptor[None])[0]
        return frozenset(place.submap for place, s in zip(self._places, similar, strict=True) if s >= least)

    def num_between(self, before: int | None, last: int) -> float:
        """Places after one submap, up to another; inf without the first."""
        return math.inf if before is None else sum(before < place.submap <= last for place in self._places)

    def _num_old(self, stamp_ns: int) -> int:
        """Number of keyframes, from the first one on, that are old enough for a return at this stamp."""
        old = sum(stamp_ns - place.stamp_ns >= 1e9 * self.config.min_age_s for place in self._places)
        from_before = sum(place.stamp_ns == LONG_AGO_NS for place in self._places)
        return min(old, max(from_before, len(self) - self.config.min_apart))

    def _check(self, descriptor: np.ndarray) -> None:
        known = self._cells.shape[1:] if self._places else (CELLS[0] * CELLS[1], descriptor.shape[-1])
        if descriptor.shape != known or not np.isfinite(descriptor).all():
            raise InputError(f"a descriptor must be {known} and finite, got {descriptor.shape}")

    def _code(self, cells: np.ndarray) -> np.ndarray:
        """Unit vectors (N, cells * channels) of descriptors (N, cells, channels); dot products are mean cosines."""
        white = (cells - self._mean) @ self._whitening
        white /= np.maximum(np.linalg.norm(white, axis=-1, keepdims=True), 1e-12)
        return white.reshape(len(cells), -1) / cells.shape[1] ** 0.5

    def _refresh(self) -> None:
        """Computes mean, whitening and threshold from the present keyframes."""
        count = len(self)
        cells = self._cells[:count]
        flat = cells.reshape(-1, cells.shape[-1]).astype(np.float64)
        variance, directions = np.linalg.eigh(np.cov(flat.T))
        variance = np.maximum(variance, 0)
        self._mean = flat.mean(axis=0).astype(np.float32)
        floor = max(FLATNESS * variance.mean(), 1e-12)
        self._whitening = (directions / np.sqrt(variance + floor)).astype(np.float32)
        self._codes[:count] = self._code(cells)
        similar = self._codes[:count] @ self._codes[:count].T
        others = similar[np.tril_indices(count, -min(self.config.min_apart, count - 2))]
        neighbors = float(np.median(np.diagonal(similar, -1)))
        median = float(np.median(others))
        spread = deviation(others, median)
        threshold = min(max(median + self.config.strictness * spread, (neighbors + median) / 2), neighbors)
        self.likeness = Likeness(neighbors, median, spread, threshold)
        self._added = 0

    def _most_alike(self) -> int:
        """The keyframe of the older half that is most similar to its successor."""
        half = max(1, len(self) // 2)
        return int(np.einsum("nc,nc->n", self._codes[:half], self._codes[1 : half + 1]).argmax())

    def _forget(self, index: int) -> None:
        count = len(self)
        del self._places[index]
        for table in (self._cells, self._codes):
            table[index : count - 1] = table[index + 1 : count]

    def _make_room(self, descriptor: np.ndarray) -> None:
        count = len(self)
        if count < len(self._cells):
            return
        room = min(max(64, 2 * count), self.config.max_places)
        cells = np.zeros((room, *descriptor.shape), np.float32)
        codes = np.zeros((room, descriptor.size), np.float32)
        cells[:count], codes[:count] = (self._cells, self._codes) if count else (0, 0)
        self._cells, self._codes = cells, codes
