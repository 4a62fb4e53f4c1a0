"""Recognises places by the encoder's own features: which keyframes of long ago look like this one.

A keyframe's descriptor is the mean of the patches in each of 2 x 4 cells: a robot that comes again sees things at about
the same height, not always at the same bearing. Trained features have most of their variance in one or two directions
that tell near from far, not here from there; so cells are centred and whitened with what the index itself holds, and
compared by cosine, cell by cell.

How alike two views of one place are differs from checkpoint to checkpoint, so the threshold is learned from the stream:
keyframes that follow each other are one place, those far apart in time are mostly not.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass

import numpy as np

from ...errors import InputError
from ...robust import deviation
from ..inference.descriptors import CELLS
from .config import PlaceIndexConfig

FLATNESS = 1.0  # of the mean variance, added to each direction's: rare directions are mostly noise
REFRESH_GROWTH = 1.1  # statistics are taken anew when the index has grown by this factor or been renewed by it
MIN_PLACES = 20  # with fewer nobody knows what is alike
LONG_AGO_NS = -(10**18)  # stamp of places from before this stream


@dataclass(frozen=True)
class Place:
    """A keyframe as the index knows it."""

    submap: int
    stamp_ns: int
    number: int  # of the view


@dataclass(frozen=True)
class Candidate:
    """A place that looks like the one asked for."""

    place: Place
    similarity: float  # mean cosine of the cells


@dataclass(frozen=True)
class Likeness:
    """What similarity means in this stream."""

    neighbours: float  # median of keyframes that follow each other
    others: float  # median of keyframes far apart
    spread: float  # of those, robust
    threshold: float


class PlaceIndex:
    """Keyframes, oldest first."""

    def __init__(self, config: PlaceIndexConfig | None = None) -> None:
        self.config = config or PlaceIndexConfig()
        self.likeness: Likeness | None = None  # None: too few keyframes to know
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
        """Those that keyframes refer to."""
        return frozenset(place.submap for place in self._places)

    def add(self, place: Place, descriptor: np.ndarray) -> None:
        """A keyframe (cells, channels); they come in order of time."""
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

    def look_up(self, descriptor: np.ndarray, stamp_ns: int, apart: Set[int] = frozenset()) -> tuple[Candidate, ...]:
        """Places of long ago that look like this keyframe (cells, channels), best first, one per submap.

        Submaps that are ``apart`` belong to other maps: a return to them says much however short ago they were, and
        ``max_candidates`` of them come beside as many others.
        """
        self._check(descriptor)
        if self.likeness is None:
            return ()
        similar = self._codes[: len(self)] @ self._code(descriptor[None])[0]
        found: dict[int, Candidate] = {}
        left, num_old = {True: self.config.max_candidates, False: self.config.max_candidates}, self._num_old(stamp_ns)
        for index in np.argsort(-similar, kind="stable"):
            if similar[index] < self.likeness.threshold:
                break
            place = self._places[index]
            is_apart = place.submap in apart
            if place.submap not in found and left[is_apart] and (is_apart or index < num_old):
                found[place.submap] = Candidate(place, float(similar[index]))
                left[is_apart] -= 1
        return tuple(found.values())

    def _num_old(self, stamp_ns: int) -> int:
        """Keyframes, from the first on, of which a likeness at this stamp is a return."""
        old = sum(stamp_ns - place.stamp_ns >= 1e9 * self.config.min_age_s for place in self._places)
        from_before = sum(place.stamp_ns == LONG_AGO_NS for place in self._places)
        return min(old, max(from_before, len(self) - self.config.min_apart))

    def _check(self, descriptor: np.ndarray) -> None:
        known = self._cells.shape[1:] if self._places else (CELLS[0] * CELLS[1], descriptor.shape[-1])
        if descriptor.shape != known or not np.isfinite(descriptor).all():
            raise InputError(f"a descriptor must be {known} and finite, got {descriptor.shape}")

    def _code(self, cells: np.ndarray) -> np.ndarray:
        """Unit vectors (N, cells * channels) of descriptors (N, cells, channels); products are mean cosines."""
        white = (cells - self._mean) @ self._whitening
        white /= np.maximum(np.linalg.norm(white, axis=-1, keepdims=True), 1e-12)
        return white.reshape(len(cells), -1) / cells.shape[1] ** 0.5

    def _refresh(self) -> None:
        """Mean, whitening and threshold from what is here."""
        count, cells = len(self), self._cells[: len(self)]
        flat = cells.reshape(-1, cells.shape[-1]).astype(np.float64)
        variance, directions = np.linalg.eigh(np.cov(flat.T))
        variance = np.maximum(variance, 0)
        self._mean = flat.mean(axis=0).astype(np.float32)
        floor = max(FLATNESS * variance.mean(), 1e-12)
        self._whitening = (directions / np.sqrt(variance + floor)).astype(np.float32)
        self._codes[:count] = self._code(cells)
        similar = self._codes[:count] @ self._codes[:count].T
        others = similar[np.tril_indices(count, -min(self.config.min_apart, count - 2))]
        neighbours, median = float(np.median(np.diagonal(similar, -1))), float(np.median(others))
        spread = deviation(others, median)
        threshold = min(max(median + self.config.strictness * spread, (neighbours + median) / 2), neighbours)
        self.likeness = Likeness(neighbours, median, spread, threshold)
        self._added = 0

    def _most_alike(self) -> int:
        """The older half's keyframe that says least beside the one after it."""
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
