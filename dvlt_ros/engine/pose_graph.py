"""Where all windows of the map lie, from seams, odometry and loops together.

    graph.begin(0, map_from_window, window_from_cam)
    graph.add_window(1, window0_from_window1, window_from_cam, depth)    seam
    graph.add_odometry(0, 1, cam0_from_cam1)                             metres: the scale becomes known
    graph.add_loop(Loop(0, 40, window0_from_window40, residual))         on trial until the next `optimise`
    placed = graph.optimise()                                            map_from_window of every window

Every window has one reference camera, whose pose and scale are its node. Float64, one thread, no random numbers. GTSAM
holds Python's lock while it solves: other threads wait.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from ..alignment import Sim3
from ..errors import InputError
from .config import check_parameters, parameter
from .graph_factors import (
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
    minimise,
    scaled,
    squared_error,
    to_sim3,
)

HUBER = 4.0  # standard deviations of a loop's seven numbers together; their root mean square is 2.6
ODOMETRY_FLOOR_RAD, ODOMETRY_FLOOR_M = 5e-4, 2e-3  # wheels that stand still are right to an encoder's tick
UNKNOWN_SCALE = 3.0  # of log scale: odometry will tell


@dataclass(frozen=True)
class PoseGraphConfig:
    """How far each source is trusted: standard deviations."""

    seam_rotation_deg: float = parameter(
        0.4, "of a window's bend; more than noise alone makes, because bends of a network repeat", 1e-3, 30.0
    )
    seam_translation: float = parameter(0.01, "of a seam, relative to the median depth", 1e-4, 1.0)
    seam_scale: float = parameter(0.01, "of the unit from window to window, relative", 1e-4, 1.0)
    odom_heading_per_turn: float = parameter(0.02, "rad after one radian turned; a turn slips", 1e-4, 1.0)
    odom_heading_per_metre: float = parameter(0.002, "rad after one metre driven", 1e-5, 1.0)
    odom_position_per_metre: float = parameter(0.02, "metres after one metre driven, any direction", 1e-4, 1.0)
    loop_rotation_deg: float = parameter(0.4, "two seams, and a bend between the visits", 1e-3, 30.0)
    loop_translation: float = parameter(0.02, "relative to the median depth; the loop's residual if it is larger", 1e-4)
    loop_scale: float = parameter(0.02, "of the unit between the visits, relative", 1e-4, 1.0)
    max_contradiction: float = parameter(
        60.0, "rise of the graph's squared error with a loop that is still believed; 99.9 % of true ones: 24", 1.0
    )
    max_windows: int = parameter(1000, "windows in the graph; what lies closest together is merged", 10, 100_000)
    max_loops: int = parameter(250, "loops in the graph; of the two most alike the older one leaves", 1, 100_000)

    def __post_init__(self) -> None:
        check_parameters(self)


@dataclass(frozen=True, eq=False)
class Loop:
    """Two windows that see the same place: ``first_from_second`` between their frames, first is the older one."""

    first: int
    second: int
    first_from_second: Sim3
    residual: float  # median distance of points that both see, relative to their depth


@dataclass(frozen=True)
class RefusedLoop:
    """A loop that the graph does not believe."""

    loop: Loop
    reason: str


@dataclass(frozen=True, eq=False)
class Solution:
    """What `PoseGraph.optimise` found."""

    map_from_window: dict[int, Sim3]  # of the windows that could move, oldest first
    accepted: tuple[Loop, ...]  # new ones: the map has moved at once
    refused: tuple[RefusedLoop, ...]  # new ones, and older ones that later loops contradict


class PoseGraph:
    """Window numbers count up; every method that takes one refuses those that it does not know."""

    def __init__(self, config: PoseGraphConfig | None = None) -> None:
        library()
        self.config = config or PoseGraphConfig()
        self._nodes: dict[int, Similarity] = {}  # map_from_cam, the cam's unit being the window's
        self._cam_from_window: dict[int, np.ndarray] = {}
        self._depth: dict[int, float] = {}  # median, in the window's unit
        self._part: dict[int, int] = {}  # windows of one number are connected
        self._chain: dict[tuple[EdgeKind, int], Edge] = {}  # seams and odometry, by their later window
        self._loops: dict[tuple[int, int], tuple[Loop, Edge]] = {}
        self._trial: list[Loop] = []

    def __len__(self) -> int:
        return len(self._nodes)

    def __contains__(self, window: int) -> bool:
        return window in self._nodes

    @property
    def loops(self) -> tuple[Loop, ...]:
        """Those that are believed."""
        return tuple(loop for loop, _ in self._loops.values())

    def map_from_window(self, window: int) -> Sim3:
        """As it is known now."""
        self._require(window)
        return to_sim3(self._nodes[window] * from_pose(self._cam_from_window[window]))

    def map_from_cam(self, window: int) -> np.ndarray:
        """(4, 4) of the window's reference camera, rigid, as it is known now."""
        self._require(window)
        found, pose = to_sim3(self._nodes[window]), np.eye(4)
        pose[:3, :3], pose[:3, 3] = found.rotation.numpy(), found.translation.numpy()
        return pose

    def begin(self, window: int, map_from_window: Sim3, window_from_cam: np.ndarray, depth: float) -> None:
        """A window that nothing joins to those before, placed by the caller; a loop or odometry may join it later.

        Args:
            window_from_cam: (4, 4) of the reference camera in the window.
            depth: median over the window, in its unit.
        """
        self._put(window, window_from_cam, depth)
        self._nodes[window] = from_sim3(map_from_window) * from_pose(window_from_cam)
        self._part[window] = window

    def add_window(self, window: int, latest_from_window: Sim3, window_from_cam: np.ndarray, depth: float) -> None:
        """A window that a seam joins to the latest one before; the others as in `begin`."""
        if not self._nodes:
            raise InputError(f"window {window} has no window before it that a seam could join it to")
        latest = next(reversed(self._nodes))
        self._put(window, window_from_cam, depth)
        relative = self._between_cameras(latest, window, latest_from_window)
        self._nodes[window], self._part[window] = self._nodes[latest] * relative, self._part[latest]
        c = self.config
        covariance = _covariance(np.radians(c.seam_rotation_deg), c.seam_translation * depth, c.seam_scale)
        self._chain["seam", window] = Edge("seam", latest, window, relative, covariance)

    def add_odometry(self, before: int, after: int, before_from_after: np.ndarray) -> None:
        """How the wheels moved the one window's reference camera (4, 4) to the other's, metres."""
        self._require(before, after)
        known = [edge for edge in self._chain.values() if edge.kind == "odometry"]
        if before >= after or any(edge.before == before or edge.after == after for edge in known):
            raise InputError(f"odometry goes from each window to one newer window, got {before} and {after} once more")
        relative, c = from_pose(before_from_after), self.config
        distance = float(np.linalg.norm(before_from_after[:3, 3]))
        turn = float(np.linalg.norm(library().Rot3.Logmap(relative.rotation())))
        heading = c.odom_heading_per_turn**2 * turn + c.odom_heading_per_metre**2 * distance + ODOMETRY_FLOOR_RAD**2
        moved = c.odom_position_per_metre**2 * distance + ODOMETRY_FLOOR_M**2
        if self._part[before] != self._part[after]:
            metric = from_pose(self.map_from_cam(before)) * relative
            self._join(before, after, scaled(metric, self._nodes[before].scale()))
        self._chain["odometry", after] = Edge(
            "odometry", before, after, relative, _covariance(heading**0.5, moved**0.5, 1.0)
        )

    def add_loop(self, loop: Loop) -> None:
        """On trial until the next `optimise`."""
        self._require(loop.first, loop.second)
        if loop.first >= loop.second:
            raise InputError(f"a loop goes from an older to a newer window, got {loop.first} and {loop.second}")
        self._trial.append(loop)

    def optimise(self, latest: int | None = None) -> Solution:
        """Moves the windows to where everything fits best, and decides about the loops on trial.

        Args:
            latest: only so many of the newest windows move, unless there are loops on trial; None: all.

        Raises:
            AlignmentError: what is known does not determine the windows.
        """
        windows = list(self._nodes)
        moving = windows if self._trial or latest is None else windows[-latest:]
        accepted: list[Loop] = []
        refused: list[RefusedLoop] = []
        cost = self._solve(moving) if moving else 0.0
        while self._trial:
            loop = self._trial.pop(0)
            reason, cost = self._try(loop, cost)
            if reason is None:
                accepted.append(loop)
            else:
                refused.append(RefusedLoop(loop, reason))
        refused += self._settle() if accepted else []
        lost = [entry.loop for entry in refused]
        placed = {window: self.map_from_window(window) for window in moving}
        return Solution(placed, tuple(loop for loop in accepted if loop not in lost), tuple(refused))

    def shrink(self, pinned: Collection[int] = ()) -> tuple[int, ...]:
        """Merges windows until there are at most ``max_windows``; returns those that are gone.

        A merged window's two seams become one, its odometry too. Windows with loops and the newest quarter stay;
        ``pinned`` ones too, unless nothing else is left.
        """
        gone: list[int] = []
        while len(self._nodes) > self.config.max_windows:
            gone.append(self._least_missed(frozenset(pinned)))
            self._merge(gone[-1])
        return tuple(gone)

    def _solve(self, moving: Sequence[int], trial: Edge | None = None) -> float:
        """Moves these windows; returns the squared error of all that they take part in."""
        free = set(moving)
        edges = [*self._chain.values(), *(edge for _, edge in self._loops.values())]
        edges = [edge for edge in edges if edge.before in free or edge.after in free]
        start = {window: self._nodes[window] for edge in edges for window in (edge.before, edge.after)}
        start |= {window: self._nodes[window] for window in moving}
        terms = [factor(edge, HUBER if edge.kind == "loop" else None) for edge in edges]
        terms += [] if trial is None else [factor(trial)]
        metric = {self._part[edge.before] for edge in self._chain.values() if edge.kind == "odometry"}
        oldest = {part: window for window, part in reversed(self._part.items())}
        for window in start:
            if window not in free:
                terms.append(held(window, self._nodes[window]))
            elif oldest[part := self._part[window]] == window:
                terms.append(held(window, self._nodes[window], UNKNOWN_SCALE if part in metric else FIXED))
        found, cost = minimise(terms, start)
        self._nodes.update({window: found[window] for window in moving})
        return cost

    def _try(self, loop: Loop, cost: float) -> tuple[str | None, float]:
        """Puts a loop into the graph, or says why not; ``cost`` is the graph's before, the answer's that after it."""
        edge, before = self._loop_edge(loop), dict(self._nodes)
        if self._part[loop.first] != self._part[loop.second]:
            self._join(loop.first, loop.second, self._nodes[loop.first] * edge.relative)
            after = cost
        else:
            self._bend(edge)
            after = self._solve(list(self._nodes), trial=edge)
            if after - cost > self.config.max_contradiction:
                self._nodes = before
                return f"the rest contradicts it: the squared error would rise by {after - cost:.0f}", cost
        self._loops[loop.first, loop.second] = loop, edge
        if len(self._loops) > self.config.max_loops:
            del self._loops[self._most_alike()]
        return None, after

    def _settle(self) -> list[RefusedLoop]:
        """Solves without loops that no longer fit; the worst one leaves first."""
        lost: list[RefusedLoop] = []
        while True:
            self._solve(list(self._nodes))
            errors = {key: squared_error(edge, self._nodes) for key, (_, edge) in self._loops.items()}
            worst = max(errors, key=lambda key: errors[key])
            if errors[worst] <= self.config.max_contradiction:
                return lost
            loop, _ = self._loops.pop(worst)
            lost.append(RefusedLoop(loop, f"other loops contradict it: its squared error is {errors[worst]:.0f}"))

    def _bend(self, edge: Edge) -> None:
        """A start for the solver: what a loop is off is spread over the windows since its older end."""
        gtsam = library()
        change = self._nodes[edge.before] * edge.relative * self._nodes[edge.after].inverse()
        tangent = gtsam.Similarity3.Logmap(change)
        part = self._part[edge.before]
        windows = [window for window in self._nodes if window > edge.before and self._part[window] == part]
        steps = windows.index(edge.after) + 1
        for step, window in enumerate(windows, start=1):
            share = min(1.0, step / steps)
            self._nodes[window] = gtsam.Similarity3.Expmap(share * tangent) * self._nodes[window]

    def _join(self, first: int, second: int, map_from_second: Similarity) -> None:
        """Moves the part that the second window is of; the parts become one."""
        change = map_from_second * self._nodes[second].inverse()
        gone = self._part[second]
        for window, part in self._part.items():
            if part == gone:
                self._nodes[window] = change * self._nodes[window]
                self._part[window] = self._part[first]

    def _least_missed(self, pinned: frozenset[int]) -> int:
        windows = list(self._nodes)
        looped = {end for key in self._loops for end in key} | {
            w for loop in self._trial for w in (loop.first, loop.second)
        }
        old = range(len(windows) - self.config.max_windows // 4)
        spans = {windows[i]: windows[i + 1] - windows[max(0, i - 1)] for i in old if windows[i] not in looped}
        loose = {window: span for window, span in spans.items() if window not in pinned}
        return min(loose or spans, key=lambda window: spans[window])

    def _merge(self, window: int) -> None:
        for kind in ("seam", "odometry"):
            into = self._chain.pop((kind, window), None)
            out = next((e for e in self._chain.values() if e.kind == kind and e.before == window), None)
            if out is not None:
                del self._chain[kind, out.after]
                if into is not None:
                    self._chain[kind, out.after] = chained(into, out)
        for table in (self._nodes, self._part, self._cam_from_window, self._depth):
            del table[window]

    def _most_alike(self) -> tuple[int, int]:
        """The older one of the two loops whose ends are nearest to each other."""
        keys = sorted(self._loops, key=lambda key: key[1])
        ends = np.array(keys)
        apart = np.abs(ends[:, None] - ends).sum(axis=-1) + np.where(np.tri(len(keys), dtype=bool), np.inf, 0)
        return keys[int(np.unravel_index(apart.argmin(), apart.shape)[0])]

    def _loop_edge(self, loop: Loop) -> Edge:
        c = self.config
        spread = max(c.loop_translation, loop.residual) * self._depth[loop.second]
        covariance = _covariance(np.radians(c.loop_rotation_deg), spread, c.loop_scale)
        relative = self._between_cameras(loop.first, loop.second, loop.first_from_second)
        return Edge("loop", loop.first, loop.second, relative, covariance)

    def _between_cameras(self, first: int, second: int, first_from_second: Sim3) -> Similarity:
        """From between the windows' frames."""
        cameras = from_pose(self._cam_from_window[first]), from_pose(self._cam_from_window[second])
        return cameras[0] * from_sim3(first_from_second) * cameras[1].inverse()

    def _put(self, window: int, window_from_cam: np.ndarray, depth: float) -> None:
        if self._nodes and window <= (latest := next(reversed(self._nodes))):
            raise InputError(f"windows come in order, got {window} after {latest}")
        if not (np.isfinite(window_from_cam).all() and np.isfinite(depth) and depth > 0):
            raise InputError(f"window {window} needs a reference camera and a depth above 0, got depth {depth}")
        self._cam_from_window[window] = np.linalg.inv(window_from_cam)
        self._depth[window] = depth

    def _require(self, *windows: int) -> None:
        for window in windows:
            if window not in self._nodes:
                raise InputError(f"window {window} is not in the graph; it was merged or never added")


def _covariance(rotation: float, translation: float, log_scale: float) -> np.ndarray:
    """(7, 7) from standard deviations."""
    return np.diag(np.square([rotation] * 3 + [translation] * 3 + [log_scale]))
