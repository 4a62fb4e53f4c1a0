"""The pose graph: where all submaps lie, from registrations, odometry and the loop closures that the caller passes in.

    graph.begin_component(0, map_from_submap, submap_from_cam, depth)
    graph.add_submap(1, submap0_from_submap1, submap_from_cam, depth)    # a registration
    graph.add_odometry(0, 1, cam0_from_cam1)                             # metres: the scale becomes known
    graph.solve(loops)
    graph.map_from_submap(1)

Every submap has one reference camera; that camera's pose and scale are the submap's node. Submaps that edges connect
form a component. Float64, one thread, no random numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ...alignment import Sim3
from ...errors import InputError
from ...refinement import MotionDeviation
from .config import LoopClosure, PoseGraphConfig
from .factors import (
    FIXED,
    Edge,
    EdgeKind,
    Similarity,
    between_factor,
    chained,
    from_pose,
    from_sim3,
    library,
    move,
    prior_factor,
    scaled,
    squared_error,
    to_sim3,
)
from .noise import loop_covariance, odometry_covariance, registration_covariance
from .solver import minimize

HUBER = 4.0  # standard deviations of a loop's seven numbers together; their root mean square is 2.6
UNKNOWN_SCALE = 3.0  # standard deviation of a log scale that only odometry determines


@dataclass(frozen=True, eq=False)
class GraphState:
    """What `PoseGraph.restore` needs to undo changes."""

    nodes: dict[int, Similarity]
    components: dict[int, int]
    edges: dict[tuple[EdgeKind, int], Edge]


class PoseGraph:
    """Nodes, edges and components. Submap numbers increase; methods raise InputError for a submap that is not here."""

    def __init__(self, config: PoseGraphConfig | None = None) -> None:
        """Raises ConfigError: GTSAM is not installed."""
        library()
        self.config = config or PoseGraphConfig()
        self._nodes: dict[int, Similarity] = {}  # map_from_cam, in the submap's unit
        self._cam_from_submap: dict[int, np.ndarray] = {}
        self._depth: dict[int, float] = {}  # median, in the submap's unit
        self._fixed: set[int] = set()  # submaps that never move
        self._components: dict[int, int] = {}  # submap: number of its component
        self._edges: dict[tuple[EdgeKind, int], Edge] = {}  # registrations and odometry, by their later submap

    def __len__(self) -> int:
        return len(self._nodes)

    def __contains__(self, submap: int) -> bool:
        return submap in self._nodes

    @property
    def submaps(self) -> tuple[int, ...]:
        """Oldest first."""
        return tuple(self._nodes)

    @property
    def fixed(self) -> frozenset[int]:
        """Submaps that never move."""
        return frozenset(self._fixed)

    @property
    def edges(self) -> tuple[Edge, ...]:
        """Registrations and odometry."""
        return tuple(self._edges.values())

    def require(self, *submaps: int) -> None:
        """Raises InputError: one of them is not in the graph."""
        for submap in submaps:
            if submap not in self._nodes:
                raise InputError(f"submap {submap} is not in the graph; it was merged or never added")

    def component(self, submap: int) -> int:
        """Number of the component that holds the submap; it changes when components are joined."""
        self.require(submap)
        return self._components[submap]

    def are_connected(self, first: int, second: int) -> bool:
        """Whether both submaps are in one component."""
        return self.component(first) == self.component(second)

    def map_from_submap(self, submap: int) -> Sim3:
        """As of the latest solution."""
        self.require(submap)
        return to_sim3(self._nodes[submap] * from_pose(self._cam_from_submap[submap]))

    def map_from_cam(self, submap: int) -> np.ndarray:
        """(4, 4) of the submap's reference camera, rigid, as of the latest solution."""
        self.require(submap)
        found = to_sim3(self._nodes[submap])
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = found.rotation.numpy(), found.translation.numpy()
        return pose

    def begin_component(
        self,
        submap: int,
        map_from_submap: Sim3,
        submap_from_cam: np.ndarray,
        depth: float,
        is_fixed: bool = False,
    ) -> None:
        """Adds a submap without an edge to earlier ones; odometry or loop closures may connect it later.

        Args:
            submap_from_cam: (4, 4) of the reference camera, in the submap's frame.
            depth: median of the reference camera, in the submap's unit.
            is_fixed: it never moves and is never merged; only the first submap can be fixed.
        """
        if is_fixed and self._nodes:
            raise InputError(f"submap {submap} cannot be fixed: it is not the first one")
        self._put(submap, submap_from_cam, depth)
        self._nodes[submap] = from_sim3(map_from_submap) * from_pose(submap_from_cam)
        self._components[submap] = submap
        if is_fixed:
            self._fixed.add(submap)

    def add_submap(
        self,
        submap: int,
        latest_from_submap: Sim3,
        submap_from_cam: np.ndarray,
        depth: float,
        num_registrations: int = 1,
        motions: Sequence[MotionDeviation] = (),
    ) -> None:
        """Adds a submap that a chain of ``num_registrations`` connects to the latest one; see `begin_component`.

        ``motions``: of those windows of the chain that are refined.
        """
        if not self._nodes:
            raise InputError(f"submap {submap} has no submap before it that a registration could join it to")
        latest = next(reversed(self._nodes))
        self._put(submap, submap_from_cam, depth)
        relative = self._between_cameras(latest, submap, latest_from_submap)
        covariance = registration_covariance(self.config, depth, num_registrations, motions)
        self._nodes[submap] = self._nodes[latest] * relative
        self._components[submap] = self._components[latest]
        self._edges["registration", submap] = Edge("registration", latest, submap, relative, covariance)

    def add_odometry(self, before: int, after: int, before_from_after: np.ndarray) -> None:
        """Adds an odometry factor: the pose (4, 4), in metres, between two submaps' reference cameras."""
        self.require(before, after)
        if before >= after or any(edge.before == before or edge.after == after for edge in self._of_kind("odometry")):
            raise InputError(f"odometry goes from each submap to one newer one, got {before} and {after} once more")
        relative = from_pose(before_from_after)
        if self._components[before] != self._components[after]:
            metric = from_pose(self.map_from_cam(before)) * relative
            self._join(before, after, scaled(metric, self._nodes[before].scale()))
        covariance = odometry_covariance(self.config, before_from_after)
        self._edges["odometry", after] = Edge("odometry", before, after, relative, covariance)

    def remeasure(self, changes: Mapping[int, Sim3]) -> None:
        """Registrations between submaps that both have a change, new_from_old in the map, become what it makes them."""
        moved = {submap: from_sim3(change) * self._nodes[submap] for submap, change in changes.items()}
        for edge in self._of_kind("registration"):
            if edge.before in moved and edge.after in moved:
                relative = moved[edge.before].between(moved[edge.after])
                self._edges["registration", edge.after] = replace(edge, relative=relative)

    def moved(self, submap: int, map_from_submap: Sim3) -> float:
        """How far a submap is away from an earlier pose of its frame, as `factors.move` has it."""
        before = from_sim3(map_from_submap) * from_pose(self._cam_from_submap[submap]).inverse()
        return move(before, self._nodes[submap], self._depth[submap])

    def loop_edge(self, loop: LoopClosure) -> Edge:
        """The edge of a loop closure, for `solve`; the graph does not keep it."""
        self.require(loop.first, loop.second)
        relative = self._between_cameras(loop.first, loop.second, loop.first_from_second)
        covariance = loop_covariance(self.config, self._depth[loop.second], loop.residual, loop.motion)
        return Edge("loop", loop.first, loop.second, relative, covariance)

    def solve(self, loops: Iterable[Edge], trial: Sequence[Edge] = ()) -> float:
        """Moves the submaps to the least squared error of all edges and these loops; returns that error.

        ``loops`` get a robust (Huber) cost, ``trial`` loops count in full.

        Raises:
            AlignmentError: the edges do not determine the submaps, which have not moved.
        """
        odometry = self._of_kind("odometry")
        terms = [between_factor(edge) for edge in (*self._of_kind("registration"), *trial)]
        terms += [between_factor(edge, HUBER) for edge in loops]
        metric = {self._components[edge.before] for edge in odometry}
        oldest = {component: submap for submap, component in reversed(self._components.items())}
        for component, submap in oldest.items():
            has_scale = component not in metric or submap in self._fixed
            terms.append(prior_factor(submap, self._nodes[submap], FIXED if has_scale else UNKNOWN_SCALE))
        found, cost = minimize(terms, odometry, self._nodes)
        self._nodes = found | {submap: self._nodes[submap] for submap in self._fixed}
        return cost

    def squared_error(self, loop: Edge) -> float:
        """Of a loop at the submaps' present poses, in its own standard deviations."""
        return squared_error(loop, self._nodes)

    def state(self) -> GraphState:
        """A copy for `restore`; it holds as long as no submap is added or merged."""
        return GraphState(dict(self._nodes), dict(self._components), dict(self._edges))

    def restore(self, state: GraphState) -> None:
        """Undoes all changes of poses, components and edges since then."""
        self._nodes = dict(state.nodes)
        self._components = dict(state.components)
        self._edges = dict(state.edges)

    def spread_error(self, loop: Edge) -> None:
        """A start for the solver: distributes a loop's error over the submaps after its older end."""
        similarity = library().Similarity3
        tangent = similarity.Logmap(self._correction(loop))
        component = self._components[loop.before]
        submaps = [s for s in self._nodes if s > loop.before and self._components[s] == component]
        steps = submaps.index(loop.after) + 1
        for step, submap in enumerate(submaps, start=1):
            share = min(1.0, step / steps)
            self._nodes[submap] = similarity.Expmap(share * tangent) * self._nodes[submap]

    def join(self, loop: Edge) -> None:
        """Joins the components of a loop's ends, and moves one of them to where the loop places it."""
        self._join(loop.before, loop.after, self._nodes[loop.before] * loop.relative)

    def replace_odometry(self, odometry: Edge, loop: Edge) -> None:
        """Removes an odometry factor, and moves the submaps after it to where a loop places them."""
        del self._edges["odometry", odometry.after]
        change = self._correction(loop)
        for submap, component in self._components.items():
            if submap >= odometry.after and component == self._components[loop.after]:
                self._nodes[submap] = change * self._nodes[submap]

    def merge(self, submap: int) -> None:
        """Removes a submap; its two registrations become one, and so do its two odometry factors."""
        self.require(submap)
        for kind in ("registration", "odometry"):
            into = self._edges.pop((kind, submap), None)
            out = next((edge for edge in self._of_kind(kind) if edge.before == submap), None)
            if out is not None:
                del self._edges[kind, out.after]
                if into is not None:
                    self._edges[kind, out.after] = chained(into, out)
        for table in (self._nodes, self._components, self._cam_from_submap, self._depth):
            del table[submap]

    def _of_kind(self, kind: EdgeKind) -> list[Edge]:
        return [edge for edge in self._edges.values() if edge.kind == kind]

    def _correction(self, loop: Edge) -> Similarity:
        """new_from_old of the loop's later end, so that the loop has no error."""
        return self._nodes[loop.before] * loop.relative * self._nodes[loop.after].inverse()

    def _join(self, first: int, second: int, map_from_second: Similarity) -> None:
        """Moves the second submap's component; if that one is fixed, the first submap's."""
        change = map_from_second * self._nodes[second].inverse()
        stays, gone = self._components[first], self._components[second]
        if any(self._components[submap] == gone for submap in self._fixed):
            change = change.inverse()
            stays, gone = gone, stays
        for submap, component in self._components.items():
            if component == gone:
                self._nodes[submap] = change * self._nodes[submap]
                self._components[submap] = stays

    def _between_cameras(self, first: int, second: int, first_from_second: Sim3) -> Similarity:
        """Relative pose of the reference cameras, from that of the submaps' frames."""
        first_cam, second_cam = from_pose(self._cam_from_submap[first]), from_pose(self._cam_from_submap[second])
        return first_cam * from_sim3(first_from_second) * second_cam.inverse()

    def _put(self, submap: int, submap_from_cam: np.ndarray, depth: float) -> None:
        if self._nodes and submap <= (latest := next(reversed(self._nodes))):
            raise InputError(f"submaps come in order, got {submap} after {latest}")
        if not (np.isfinite(submap_from_cam).all() and np.isfinite(depth) and depth > 0):
            raise InputError(f"submap {submap} needs a reference camera and a depth above 0, got depth {depth}")
        self._cam_from_submap[submap] = np.linalg.inv(submap_from_cam)
        self._depth[submap] = depth
