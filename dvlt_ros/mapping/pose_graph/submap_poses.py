"""Submaps of the map and what lies between them: registrations and odometry, in parts that nothing joins yet.

Every submap has one reference camera, whose pose and scale are its node. Float64, one thread, no random numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from ...alignment import Sim3
from ...errors import InputError
from .config import PoseGraphConfig
from .factors import (
    FIXED,
    Edge,
    EdgeKind,
    Similarity,
    chained,
    factor,
    from_pose,
    from_sim3,
    held,
    library,
    scaled,
    to_sim3,
)
from .solver import minimize

HUBER = 4.0  # standard deviations of a loop's seven numbers together; their root mean square is 2.6
ODOMETRY_FLOOR_RAD, ODOMETRY_FLOOR_M = 5e-4, 2e-3  # wheels that stand still are right to an encoder's tick
UNKNOWN_SCALE = 3.0  # of log scale: odometry will tell


class SubmapPoses:
    """Submap numbers count up; every method that takes one refuses those that it does not know."""

    def __init__(self, config: PoseGraphConfig | None = None) -> None:
        library()
        self.config = config or PoseGraphConfig()
        self._nodes: dict[int, Similarity] = {}  # map_from_cam, the cam's unit being the submap's
        self._cam_from_submap: dict[int, np.ndarray] = {}
        self._depth: dict[int, float] = {}  # median, in the submap's unit
        self._fast: set[int] = set()  # submaps that never move
        self._part: dict[int, int] = {}  # submaps of one number are connected
        self._chain: dict[tuple[EdgeKind, int], Edge] = {}  # registrations and odometry, by their later submap

    def __len__(self) -> int:
        return len(self._nodes)

    def __contains__(self, submap: int) -> bool:
        return submap in self._nodes

    def are_connected(self, first: int, second: int) -> bool:
        """Whether registrations, odometry and loops tell how they lie to each other."""
        self._require(first, second)
        return self._part[first] == self._part[second]

    def map_from_submap(self, submap: int) -> Sim3:
        """As it is known now."""
        self._require(submap)
        return to_sim3(self._nodes[submap] * from_pose(self._cam_from_submap[submap]))

    def map_from_cam(self, submap: int) -> np.ndarray:
        """(4, 4) of the submap's reference camera, rigid, as it is known now."""
        self._require(submap)
        found, pose = to_sim3(self._nodes[submap]), np.eye(4)
        pose[:3, :3], pose[:3, 3] = found.rotation.numpy(), found.translation.numpy()
        return pose

    def begin(
        self,
        submap: int,
        map_from_submap: Sim3,
        submap_from_cam: np.ndarray,
        depth: float,
        stands_fast: bool = False,
    ) -> None:
        """A submap that nothing joins to those before, placed by the caller; a loop or odometry may join it later.

        Args:
            submap_from_cam: (4, 4) of the reference camera, in the submap's frame.
            depth: the reference camera's median, in the submap's unit.
            stands_fast: it never moves, and is never merged; only the first submap may.
        """
        if stands_fast and self._nodes:
            raise InputError(f"submap {submap} cannot stand fast: it is not the first one")
        self._put(submap, submap_from_cam, depth)
        self._nodes[submap] = from_sim3(map_from_submap) * from_pose(submap_from_cam)
        self._part[submap] = submap
        if stands_fast:
            self._fast.add(submap)

    def add_submap(
        self,
        submap: int,
        latest_from_submap: Sim3,
        submap_from_cam: np.ndarray,
        depth: float,
        num_registrations: int = 1,
    ) -> None:
        """A submap that so many registrations in a row join to the latest one before; the others as in `begin`."""
        if not self._nodes:
            raise InputError(f"submap {submap} has no submap before it that a registration could join it to")
        latest = next(reversed(self._nodes))
        self._put(submap, submap_from_cam, depth)
        relative = self._between_cameras(latest, submap, latest_from_submap)
        self._nodes[submap], self._part[submap] = self._nodes[latest] * relative, self._part[latest]
        c = self.config
        covariance = diagonal(
            np.radians(c.registration_rotation_deg), c.registration_translation * depth, c.registration_scale
        )
        self._chain["registration", submap] = Edge(
            "registration", latest, submap, relative, num_registrations * covariance
        )

    def add_odometry(self, before: int, after: int, before_from_after: np.ndarray) -> None:
        """How the wheels moved the one submap's reference camera (4, 4) to the other's, metres."""
        self._require(before, after)
        known = [edge for edge in self._chain.values() if edge.kind == "odometry"]
        if before >= after or any(edge.before == before or edge.after == after for edge in known):
            raise InputError(f"odometry goes from each submap to one newer one, got {before} and {after} once more")
        relative, c = from_pose(before_from_after), self.config
        distance = float(np.linalg.norm(before_from_after[:3, 3]))
        turn = float(np.linalg.norm(library().Rot3.Logmap(relative.rotation())))
        heading = c.odom_heading_per_turn**2 * turn + c.odom_heading_per_metre**2 * distance + ODOMETRY_FLOOR_RAD**2
        moved = c.odom_position_per_metre**2 * distance + ODOMETRY_FLOOR_M**2
        if self._part[before] != self._part[after]:
            metric = from_pose(self.map_from_cam(before)) * relative
            self._join(before, after, scaled(metric, self._nodes[before].scale()))
        self._chain["odometry", after] = Edge(
            "odometry", before, after, relative, diagonal(heading**0.5, moved**0.5, 1.0)
        )

    def _solve(self, loops: Iterable[Edge], trial: Sequence[Edge] = ()) -> float:
        """Moves the submaps; returns their squared error. Trials are not softened."""
        odometry = [edge for edge in self._chain.values() if edge.kind == "odometry"]
        registrations = [edge for edge in self._chain.values() if edge.kind == "registration"]
        terms = [factor(edge) for edge in (*registrations, *trial)] + [factor(edge, HUBER) for edge in loops]
        metric = {self._part[edge.before] for edge in odometry}
        oldest = {part: submap for submap, part in reversed(self._part.items())}
        for part, submap in oldest.items():
            has_scale = part not in metric or submap in self._fast
            terms.append(held(submap, self._nodes[submap], FIXED if has_scale else UNKNOWN_SCALE))
        found, cost = minimize(terms, odometry, self._nodes)
        self._nodes = found | {submap: self._nodes[submap] for submap in self._fast}
        return cost

    def _join(self, first: int, second: int, map_from_second: Similarity) -> None:
        """Moves the part that the second submap is of, or if that stands fast the other one; the parts become one."""
        change = map_from_second * self._nodes[second].inverse()
        stays, gone = self._part[first], self._part[second]
        if any(self._part[submap] == gone for submap in self._fast):
            change, stays, gone = change.inverse(), gone, stays
        for submap, part in self._part.items():
            if part == gone:
                self._nodes[submap] = change * self._nodes[submap]
                self._part[submap] = stays

    def _hinges(self) -> set[int]:
        """Submaps that one kind of edge comes to and only another kind leaves: without them nothing joins both."""
        comes: dict[int, set[EdgeKind]] = {}
        leaves: dict[int, set[EdgeKind]] = {}
        for edge in self._chain.values():
            comes.setdefault(edge.after, set()).add(edge.kind)
            leaves.setdefault(edge.before, set()).add(edge.kind)
        return {submap for submap in comes.keys() & leaves.keys() if not comes[submap] & leaves[submap]}

    def _beside(self, submap: int) -> tuple[int, Sim3] | None:
        """The nearest submap of the same part, and its frame from this one's."""
        others = [other for other, part in self._part.items() if part == self._part[submap] and other != submap]
        if not others:
            return None
        nearest = min(others, key=lambda other: abs(other - submap))
        return nearest, self.map_from_submap(nearest).inverse.compose(self.map_from_submap(submap))

    def _merge(self, submap: int) -> None:
        for kind in ("registration", "odometry"):
            into = self._chain.pop((kind, submap), None)
            out = next((e for e in self._chain.values() if e.kind == kind and e.before == submap), None)
            if out is not None:
                del self._chain[kind, out.after]
                if into is not None:
                    self._chain[kind, out.after] = chained(into, out)
        for table in (self._nodes, self._part, self._cam_from_submap, self._depth):
            del table[submap]

    def _between_cameras(self, first: int, second: int, first_from_second: Sim3) -> Similarity:
        """From between the submaps' frames."""
        cameras = from_pose(self._cam_from_submap[first]), from_pose(self._cam_from_submap[second])
        return cameras[0] * from_sim3(first_from_second) * cameras[1].inverse()

    def _put(self, submap: int, submap_from_cam: np.ndarray, depth: float) -> None:
        if self._nodes and submap <= (latest := next(reversed(self._nodes))):
            raise InputError(f"submaps come in order, got {submap} after {latest}")
        if not (np.isfinite(submap_from_cam).all() and np.isfinite(depth) and depth > 0):
            raise InputError(f"submap {submap} needs a reference camera and a depth above 0, got depth {depth}")
        self._cam_from_submap[submap] = np.linalg.inv(submap_from_cam)
        self._depth[submap] = depth

    def _require(self, *submaps: int) -> None:
        for submap in submaps:
            if submap not in self._nodes:
                raise InputError(f"submap {submap} is not in the graph; it was merged or never added")


def diagonal(rotation: float, translation: float, log_scale: float) -> np.ndarray:
    """Covariance (7, 7) from standard deviations."""
    return np.diag(np.square([rotation] * 3 + [translation] * 3 + [log_scale]))
