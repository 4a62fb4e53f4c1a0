"""Detects loop closures: selects windows as submaps and places, and finds pairs of places that are the same one.

    submap = detector.see(...)              # after every window: a new submap, or None
    loop = detector.check(num_steps, ...)   # verifies one pair of submaps in a joint window

A joint window takes as long as an ordinary window. It is run at most once in `check_every` windows, and only if the
latency budget has room; candidates wait until then. Candidates between two maps (a saved map, or the map from before
the robot was carried) are checked after every window, because the robot is lost until one of them is confirmed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch

from ...geometry import rotation_angle
from ...refinement import MotionDeviation
from ..data.views import Anchor, last_frame_sets
from ..inference.prediction import DeviceMemoryError, PlaceRecognizer
from ..pose_graph.config import LoopClosure
from ..submaps.keyframe import keyframe_of
from ..submaps.submap import SUBMAP_VIEWS, RegistrationChain, StoredSubmap, Submap, format_text, thinned
from .config import LoopsConfig
from .hint import HURRY_NS, LookUp, PoseHint
from .place_index import LONG_AGO_NS, MIN_PLACES, Place, PlaceIndex
from .verification import UnverifiedLoop, verify

MAX_PAIRS = 5  # that wait for their check; as many between maps
MAX_PASSING = 10  # submaps that are kept beside a saved map that stays as it is
MAX_HINTED = 3  # saved places that are checked for a new submap where a pose hint is
HINTED = 2.0  # before its similarity, a cosine: what is expected comes first


class _Pair(NamedTuple):
    """Two submaps with similar place descriptors."""

    similarity: float
    first: int
    second: int


class LoopDetector:
    """Stores submaps with their place descriptors, at most ``max_places``. Not thread-safe."""

    num_views = 2 * SUBMAP_VIEWS  # largest size of a joint window

    def __init__(
        self, recognizer: PlaceRecognizer, config: LoopsConfig | None = None, look_up: LookUp | None = None
    ) -> None:
        """``look_up``: the robot's odometry, with which a pose hint moves along; None: there is none."""
        config = config or LoopsConfig()
        self._look_up = look_up
        self.config = config.detector
        self._recognizer = recognizer
        self._places = config.places
        self._verification = config.verification
        self._number = 0  # of the next submap
        self._time_ns = 0  # sum of the stamps' steps; it does not go back when a bag is played again
        self.forget()

    def __len__(self) -> int:
        return len(self._index)

    def configure(self, config: LoopsConfig) -> None:
        """Takes effect with the next window."""
        self.config = config.detector
        self._places = self._index.config = config.places
        self._verification = config.verification

    def forget(self) -> None:
        """Forgets all submaps; their numbers are not used again."""
        self._index = PlaceIndex(self._places)
        self._stored: dict[int, StoredSubmap] = {}
        self._components: dict[int, int] = {}  # by submap; registrations and loops connect those of one component
        self._latest: Submap | None = None
        self._latest_place: Submap | None = None
        self._latest_component = 0
        self._latest_stamp_ns: int | None = None
        self._chain = RegistrationChain()  # since the latest submap
        self._since_check = 0  # windows since the latest check within one component
        self._has_seen = False  # a window since the latest check
        self._pairs: list[_Pair] = []  # candidates within one component, the most similar first
        self._joining: list[_Pair] = []  # candidates between two components
        self._closed: int | None = None  # newer submap of the latest accepted loop
        self._saved_formats: frozenset[tuple[int, ...]] = frozenset()
        self._saved: tuple[StoredSubmap, ...] = ()
        self._is_frozen = False  # the saved submaps stay, and no others are recognized
        self.is_found = False  # the camera, in a saved map that stays as it is: there is no hurry any more
        self.hint: PoseHint | None = None  # where the camera is in the saved map, about
        self.saved_problem = ""  # why no submap of a saved map can be recognized

    @property
    def not_ready_reason(self) -> str:
        """Why no place can be recognized yet; empty: places can be recognized."""
        if self._index.likeness is not None:
            return ""
        return f"{len(self._index)} places are too few to tell which are alike, at least {MIN_PLACES} are needed"

    def load(self, stored_submaps: Sequence[StoredSubmap], is_frozen: bool = False) -> tuple[int, ...]:
        """Forgets all submaps, and takes those of a saved map, at most ``max_places``; returns their new numbers.

        ``is_frozen``: no later ones are added to them.
        """
        self.forget()
        self._is_frozen = is_frozen
        renumbered = [replace(stored, number=self._number + i) for i, stored in enumerate(stored_submaps)]
        self._number += len(renumbered)
        for stored in renumbered:
            self._index.add(Place(stored.number, LONG_AGO_NS, stored.views[-1].anchor.view.number), stored.descriptor)
        self._stored = {stored.number: stored for stored in renumbered if stored.number in self._index.submaps}
        self._components = dict.fromkeys(self._stored, self._number - 1)
        self._saved = tuple(self._stored.values())
        self._saved_formats = frozenset(stored.image_format for stored in self._saved)
        return tuple(self._stored)

    def stored_submaps(self) -> dict[int, StoredSubmap]:
        """All that can be recognized, by number; may be called from any thread."""
        return self._stored.copy()  # one operation under the interpreter's lock

    @property
    def is_awaited(self) -> bool:
        """Whether somebody has just said where the camera is in a saved map, and waits for it to be found there."""
        is_new = self.hint is not None and (self._latest_stamp_ns or 0) < self.hint.stamp_ns + HURRY_NS
        return is_new and not self.is_found

    @property
    def is_due(self) -> bool:
        """Whether a candidate should be checked now."""
        has_time = not self.is_found or self._since_check >= self.config.check_every
        return self._has_seen and (self._is_turn_within or (bool(self._joining) and has_time))

    @property
    def _is_turn_within(self) -> bool:
        """Candidates within a map have their own interval, so that those between maps cannot delay them for ever."""
        return bool(self._pairs) and self._since_check >= self.config.check_every

    def remove(self, submaps: Set[int]) -> None:
        """These submaps are recognized no more."""
        self._index.remove(submaps)
        self._saved = tuple(saved for saved in self._saved if saved.number not in submaps)
        for pairs in (self._pairs, self._joining):
            pairs[:] = [pair for pair in pairs if not {pair.first, pair.second} & submaps]
        for number in submaps & self._stored.keys():
            del self._stored[number], self._components[number]

    def reference(self, number: int) -> Anchor:
        """Of a stored submap: the view that it was named after."""
        return self._stored[number].views[-1].anchor

    def expect(self, hint: PoseHint) -> None:
        """From now on saved places near a pose are checked first; also with what the camera sees just now."""
        self.hint = hint
        if self._latest_place is not None and self._latest_place.number in self._stored:
            self._wait(self._hinted(self._latest_place.number))
            self._has_seen = True

    def see(
        self, anchors: Sequence[Anchor], map_id: int, image_size: int, motion: MotionDeviation | None = None
    ) -> Submap | None:
        """Takes the views of the latest window, placed in the map, the new ones last; returns a new submap or None.

        Far enough from the last one it is a place; one with a keyframe is a submap anyway.
        ``motion``: of the newest view since the window before; None: the window is not refined.
        """
        self._since_check += 1
        self._has_seen = True
        self._chain.add(motion)
        if len(anchors) < 2:  # a single view has no parallax
            return None
        reference = last_frame_sets(anchors, 1)[0]
        depth = reference.median_depth
        keyframe, is_place = keyframe_of(reference), depth is not None and self._has_moved(reference, map_id, depth)
        if depth is None or not (is_place or keyframe):
            return None
        is_joined = self._latest is not None and self._latest.map_id == map_id
        if self._is_frozen and not is_joined:
            self._joining = []  # of another visual map
        frame, map_from_cam = reference.view.frame, reference.view.turn.restored_poses(reference.map_from_cam)
        known = frozenset(self._stored)
        self._latest_component = self._latest_component if is_joined else self._number
        if is_place:
            self._remember(reference, anchors, image_size)
        submap = Submap(
            self._number, map_id, frame.stamp_ns, frame.frame_id, map_from_cam, depth,
            self._chain.length if is_joined else 0, tuple(sorted(known - frozenset(self._stored))),
            tuple(self._chain.motions) if is_joined else (), is_place, keyframe,
        )  # fmt: skip
        self._latest, self._latest_place = submap, submap if is_place else self._latest_place
        self._chain, self._number = RegistrationChain(), self._number + 1
        return submap

    def check(self, num_steps: int, expected_scale: Callable[[int, int], float | None]) -> LoopClosure | UnverifiedLoop:
        """Runs the network on the most similar pair of submaps in one window, and verifies it; each pair once.

        Args:
            expected_scale: gives the first submap's units per unit of the second; None: unknown.
        """
        self._has_seen = False
        if self._is_turn_within:
            self._since_check = 0
            _, first, second = self._pairs.pop(0)
        else:
            self._since_check = 0 if self.is_found else self._since_check
            _, first, second = self._joining.pop(0)
        if not {first, second} <= self._stored.keys():
            return UnverifiedLoop(first, second, "one of the places has been forgotten meanwhile")
        older, newer = self._stored[first], self._stored[second]
        views = [stored.view() for stored in (*older.views, *newer.views)]
        try:
            prediction = self._recognizer.predict_apart(views, num_steps, newer.image_size)
        except DeviceMemoryError as error:
            return UnverifiedLoop(first, second, str(error))
        scale = expected_scale(first, second)
        return verify(thinned(prediction), older.submap_views, newer.submap_views, self._verification, scale)

    def recognized(self) -> None:
        """A place of a saved map was believed: what else waits is older, and says no more than it."""
        self._joining, self.is_found, self.hint = [], True, None

    def closed(self, loop: LoopClosure) -> None:
        """The loop was accepted: its components are one now, and loops beside it add little."""
        self._closed = loop.second if self._closed is None else max(self._closed, loop.second)
        self.hint = None if loop.is_expected else self.hint
        gone, stays = self._components[loop.second], self._components[loop.first]
        self._components = {number: stays if c == gone else c for number, c in self._components.items()}
        self._latest_component = stays if self._latest_component == gone else self._latest_component
        pairs = [*self._joining, *self._pairs]
        self._pairs, self._joining = [], []
        self._wait(pair for pair in pairs if {pair.first, pair.second} <= self._stored.keys())

    def _has_moved(self, reference: Anchor, map_id: int, depth: float) -> bool:
        latest = self._latest_place
        if latest is None or latest.map_id != map_id:
            return True
        moved = np.linalg.inv(latest.map_from_cam) @ reference.view.turn.restored_poses(reference.map_from_cam)
        turned = float(rotation_angle(torch.from_numpy(moved[:3, :3])))
        far = float(np.linalg.norm(moved[:3, 3])) >= self.config.place_distance * depth
        return far or turned >= np.radians(self.config.place_turn_deg)

    def _remember(self, reference: Anchor, anchors: Sequence[Anchor], image_size: int) -> None:
        descriptor = self._recognizer.describe(reference.view, image_size)
        stamp_ns = reference.view.frame.stamp_ns
        before_ns = stamp_ns if self._latest_stamp_ns is None else self._latest_stamp_ns
        self._time_ns += max(0, stamp_ns - before_ns)
        self._latest_stamp_ns = stamp_ns
        stored = StoredSubmap.of(self._number, anchors, image_size, descriptor)
        self._compare_formats(stored)
        others = frozenset(number for number, c in self._components.items() if c != self._latest_component)
        found = self._index.look_up(descriptor, self._time_ns, others)
        if not self._is_frozen:
            self._index.add(Place(self._number, self._time_ns, reference.view.number), descriptor)
        self._stored[self._number] = stored
        self._components[self._number] = self._latest_component
        pairs = [_Pair(candidate.similarity, candidate.place.submap, self._number) for candidate in found]
        self._wait([*self._hinted(self._number), *pairs])
        passing = sorted(self._stored.keys() - self._index.submaps)
        for number in passing[:-MAX_PASSING] if self._is_frozen else passing:
            del self._stored[number], self._components[number]

    def _hinted(self, number: int) -> list[_Pair]:
        """A submap with surely alike saved places where a hint expects the camera, as long as it has not been found."""
        if self.hint is None or self.is_found:
            return []
        anchor = self.reference(number)
        expected = self.hint.at(anchor.view.frame.stamp_ns, anchor.view.frame.frame_id, self._look_up)
        alike = self._index.alike(self._stored[number].descriptor, surely=True)
        near = [] if expected is None else expected.nearest([s for s in self._saved if s.number in alike], MAX_HINTED)
        return [_Pair(HINTED - 0.01 * rank, first, number) for rank, first in enumerate(near)]

    def is_expected(self, first: int, second: int, saved_from_cam: np.ndarray) -> bool:
        """Whether a hint has ``second`` at the pose (4, 4) that saved ``first`` tells, and both are surely alike."""
        of_saved = {saved.number for saved in self._saved}  # a hint may be wrong, and other buildings of the same shape
        if self.hint is None or first not in of_saved & self._index.alike(self._stored[second].descriptor, surely=True):
            return False
        frame = self.reference(second).view.frame
        expected = self.hint.at(frame.stamp_ns, frame.frame_id, self._look_up)
        return expected is not None and expected.agrees(saved_from_cam)

    def _wait(self, pairs: Iterable[_Pair]) -> None:
        """Adds candidates to those that wait for their check; two images of other sizes fit no joint window."""
        for pair in pairs:
            if self._stored[pair.first].image_format != self._stored[pair.second].image_format:
                continue
            if self._components[pair.first] != self._components[pair.second]:
                self._joining.append(pair)
            elif self._index.num_between(self._closed, pair.second) >= self.config.rest:
                self._pairs.append(pair)
        for waiting in (self._pairs, self._joining):
            waiting.sort(key=lambda pair: -pair.similarity)
            del waiting[MAX_PAIRS:]

    def _compare_formats(self, stored: StoredSubmap) -> None:
        self.saved_problem = ""
        if self._saved_formats and stored.image_format not in self._saved_formats:
            saved = format_text(next(iter(self._saved_formats)))
            self.saved_problem = f"its images were {saved}, these are {format_text(stored.image_format)}"
