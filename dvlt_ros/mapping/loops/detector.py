"""Which windows stay as submaps, and which of them the robot may have come back to.

    submap = detector.see(...)            with every window: a new submap, or None
    loop = detector.check(num_steps, ...)  one joint window of two submaps

A joint window costs the time of one more window, so it is run at most once in ``check_every`` windows, and where the
latency budget has room for it; until then the candidates wait. A robot that may have come back into another map, one
that was loaded or its own from before it was carried, is lost until it knows: those candidates come after every window.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch

from ...geometry import rotation_angle
from ..data.views import Anchor, last_frame_sets
from ..inference.prediction import DeviceMemoryError, PlaceRecognizer
from ..pose_graph.config import LoopClosure
from ..submaps.submap import SUBMAP_VIEWS, StoredSubmap, Submap, thinned
from .config import LoopsConfig
from .place_index import LONG_AGO_NS, MIN_PLACES, Place, PlaceIndex
from .verification import UnverifiedLoop, verify

MAX_PAIRS = 5  # that wait for their check; as many between maps


class _Pair(NamedTuple):
    """Two submaps that look alike."""

    similarity: float
    first: int
    second: int


class LoopDetector:
    """Submaps by their looks. Memory is bounded by ``loops.max_places``. Not thread-safe."""

    num_views = 2 * SUBMAP_VIEWS  # of a joint window, at most

    def __init__(self, recognizer: PlaceRecognizer, config: LoopsConfig | None = None) -> None:
        config = config or LoopsConfig()
        self.config = config.detector
        self._recognizer, self._places, self._verification = recognizer, config.places, config.verification
        self._number = 0
        self._time_ns = 0  # goes on where stamps go back: a bag that is played again
        self.forget()

    def __len__(self) -> int:
        return len(self._index)

    def configure(self, config: LoopsConfig) -> None:
        """Takes effect with the next window."""
        self.config, self._places, self._verification = config.detector, config.places, config.verification
        self._index.config = config.places

    def forget(self) -> None:
        """All places; numbers go on."""
        self._index = PlaceIndex(self._places)
        self._stored: dict[int, StoredSubmap] = {}
        self._piece: dict[
            int, int
        ] = {}  # of each submap; registrations and loops tell how those of one lie to each other
        self._latest: Submap | None = None
        self._latest_piece = 0
        self._latest_stamp_ns: int | None = None
        self._num_registrations = 0  # since the latest submap
        self._since_check = 0  # windows, of a pair within one piece
        self._has_seen = False  # since the latest check
        self._pairs: list[_Pair] = []  # to be checked: within one piece, the most alike first
        self._joining: list[_Pair] = []  # ... between two
        self._closed = -self.config.rest  # newer submap of the latest closed loop
        self._saved_formats: frozenset[tuple[int, ...]] = frozenset()
        self.saved_problem = ""  # why no place of a saved map can be recognised

    @property
    def not_ready_reason(self) -> str:
        """Why no place at all can be recognised yet; empty: they can."""
        if self._index.likeness is not None:
            return ""
        return f"with {len(self._index)} places nobody knows what is alike, it takes {MIN_PLACES}"

    def load(self, stored_submaps: Sequence[StoredSubmap]) -> tuple[int, ...]:
        """All places are forgotten but those of a saved map, as many as there is room for; returns their numbers."""
        self.forget()
        renumbered = [replace(stored_submap, number=self._number + i) for i, stored_submap in enumerate(stored_submaps)]
        self._number += len(renumbered)
        for stored_submap in renumbered:
            self._index.add(
                Place(stored_submap.number, LONG_AGO_NS, stored_submap.views[-1].anchor.view.number),
                stored_submap.descriptor,
            )
        self._stored = {
            stored_submap.number: stored_submap
            for stored_submap in renumbered
            if stored_submap.number in self._index.submaps
        }
        self._piece = dict.fromkeys(self._stored, self._number - 1)
        self._saved_formats = frozenset(stored_submap.image_format for stored_submap in self._stored.values())
        return tuple(self._stored)

    def stored_submaps(self) -> dict[int, StoredSubmap]:
        """Those that are remembered, by their submap; may be called from any thread."""
        return self._stored.copy()  # in one step: the interpreter's lock is enough

    @property
    def is_due(self) -> bool:
        """Whether there is a place to be checked, and its turn."""
        return self._has_seen and (self._is_turn_within or bool(self._joining))

    @property
    def _is_turn_within(self) -> bool:
        """They keep their turn: a map to which nothing leads would hold up the others for ever."""
        return bool(self._pairs) and self._since_check >= self.config.check_every

    def see(self, anchors: Sequence[Anchor], map_id: int, image_size: int) -> Submap | None:
        """Takes the views of the latest window in the map, the new ones last."""
        self._since_check += 1
        self._has_seen = True
        self._num_registrations += 1
        if len(anchors) < 2:  # alone, a view has no parallax
            return None
        reference = last_frame_sets(anchors, 1)[0]
        depth = _median_depth(reference)
        if depth is None or not self._has_moved(reference, map_id, depth):
            return None
        is_joined = self._latest is not None and self._latest.map_id == map_id
        frame = reference.view.frame
        known = frozenset(self._stored)
        self._latest_piece = self._latest_piece if is_joined else self._number
        self._remember(reference, anchors, image_size)
        submap = Submap(
            self._number, map_id, frame.stamp_ns, frame.frame_id, reference.map_from_cam, depth,
            self._num_registrations if is_joined else 0, tuple(sorted(known - frozenset(self._stored))),
        )  # fmt: skip
        self._latest, self._num_registrations, self._number = submap, 0, self._number + 1
        return submap

    def check(self, num_steps: int, expected_scale: Callable[[int, int], float | None]) -> LoopClosure | UnverifiedLoop:
        """Shows the network the two submaps that look most alike, together; they are not tried again.

        ``expected_scale`` gives the first submap's units per unit of the second, or None if nobody knows.
        """
        self._has_seen = False
        if self._is_turn_within:
            self._since_check, (_, first, second) = 0, self._pairs.pop(0)
        else:
            _, first, second = self._joining.pop(0)
        if not {first, second} <= self._stored.keys():
            return UnverifiedLoop(first, second, "one of the places has been forgotten meanwhile")
        stored_submaps = self._stored[first], self._stored[second]
        views = [stored.view() for stored_submap in stored_submaps for stored in stored_submap.views]
        try:
            prediction = self._recognizer.predict_apart(views, num_steps, stored_submaps[1].image_size)
        except DeviceMemoryError as error:
            return UnverifiedLoop(first, second, str(error))
        scale = expected_scale(first, second)
        return verify(
            thinned(prediction),
            stored_submaps[0].stored_submap,
            stored_submaps[1].stored_submap,
            self._verification,
            scale,
        )

    def closed(self, loop: LoopClosure) -> None:
        """It is believed: places beside it would say the same."""
        self._closed = max(self._closed, loop.second)
        gone, stays = self._piece[loop.second], self._piece[loop.first]
        self._piece = {number: stays if piece == gone else piece for number, piece in self._piece.items()}
        self._latest_piece = stays if self._latest_piece == gone else self._latest_piece
        pairs, self._pairs, self._joining = [*self._joining, *self._pairs], [], []
        self._wait(pair for pair in pairs if {pair.first, pair.second} <= self._stored.keys())

    def _has_moved(self, reference: Anchor, map_id: int, depth: float) -> bool:
        latest = self._latest
        if latest is None or latest.map_id != map_id:
            return True
        moved = np.linalg.inv(latest.map_from_cam) @ reference.map_from_cam
        turned = float(rotation_angle(torch.from_numpy(moved[:3, :3])))
        far = float(np.linalg.norm(moved[:3, 3])) >= self.config.place_distance * depth
        return far or turned >= np.radians(self.config.place_turn_deg)

    def _remember(self, reference: Anchor, anchors: Sequence[Anchor], image_size: int) -> None:
        descriptor, stamp_ns = self._recognizer.describe(reference.view, image_size), reference.view.frame.stamp_ns
        self._time_ns += max(0, stamp_ns - (self._latest_stamp_ns or stamp_ns))
        self._latest_stamp_ns = stamp_ns
        stored_submap = StoredSubmap.of(self._number, anchors, image_size, descriptor)
        self._compare_formats(stored_submap)
        apart = frozenset(number for number, piece in self._piece.items() if piece != self._latest_piece)
        found = self._index.look_up(descriptor, self._time_ns, apart)
        self._index.add(Place(self._number, self._time_ns, reference.view.number), descriptor)
        self._stored[self._number], self._piece[self._number] = stored_submap, self._latest_piece
        self._wait(
            _Pair(candidate.similarity, candidate.place.submap, self._number)
            for candidate in found
            if self._stored[candidate.place.submap].image_format == stored_submap.image_format
        )
        for number in self._stored.keys() - self._index.submaps:
            del self._stored[number], self._piece[number]

    def _wait(self, pairs: Iterable[_Pair]) -> None:
        """For their checks."""
        for pair in pairs:
            if self._piece[pair.first] != self._piece[pair.second]:
                self._joining.append(pair)
            elif pair.second - self._closed >= self.config.rest:
                self._pairs.append(pair)
        for waiting in (self._pairs, self._joining):
            waiting.sort(key=lambda pair: -pair.similarity)
            del waiting[MAX_PAIRS:]

    def _compare_formats(self, stored_submap: StoredSubmap) -> None:
        self.saved_problem = ""
        if self._saved_formats and stored_submap.image_format not in self._saved_formats:
            saved, ours = (
                f"{width} x {height} at image_size {size}"
                for size, height, width, *_ in (next(iter(self._saved_formats)), stored_submap.image_format)
            )
            self.saved_problem = f"its images were {saved}, these are {ours}"


def _median_depth(anchor: Anchor) -> float | None:
    usable = anchor.depth[np.isfinite(anchor.depth) & (anchor.depth > 0)]
    return float(np.median(usable)) if len(usable) else None
