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

from collections import deque
from collections.abc import Collection, Iterable, Sequence

import numpy as np

from ..alignment import Sim3
from ..errors import InputError
from .graph_config import Loop, PoseGraphConfig, RefusedLoop, Solution
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
REMEMBERED_REFUSALS = 3  # each costs some solving when a loop is contradicted


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
        self._contradicted: deque[Loop] = deque(maxlen=REMEMBERED_REFUSALS)
        self._lonely: deque[Loop] = deque(maxlen=REMEMBERED_REFUSALS)  # the only ones between their two parts

    def __len__(self) -> int:
        return len(self._nodes)

    def __contains__(self, window: int) -> bool:
        return window in self._nodes

    @property
    def loops(self) -> tuple[Loop, ...]:
        """Those that are believed."""
        return tuple(loop for loop, _ in self._loops.values())

    def are_connected(self, first: int, second: int) -> bool:
        """Whether seams, odometry and loops tell how they lie to each other."""
        self._require(first, second)
        return self._part[first] == self._part[second]

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

    def add_window(
        self, window: int, latest_from_window: Sim3, window_from_cam: np.ndarray, depth: float, num_seams: int = 1
    ) -> None:
        """A window that so many seams in a row join to the latest one before; the others as in `begin`."""
        if not self._nodes:
            raise InputError(f"window {window} has no window before it that a seam could join it to")
        latest = next(reversed(self._nodes))
        self._put(window, window_from_cam, depth)
        relative = self._between_cameras(latest, window, latest_from_window)
        self._nodes[window], self._part[window] = self._nodes[latest] * relative, self._part[latest]
        c = self.config
        covariance = _covariance(np.radians(c.seam_rotation_deg), c.seam_translation * depth, c.seam_scale)
        self._chain["seam", window] = Edge("seam", latest, window, relative, num_seams * covariance)

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
        before = set(self.loops)
        refused = [entry for loop in self._take_trials() if (entry := self._try(loop)) is not None]
        outdone = self._settle(moving)
        placed = {window: self.map_from_window(window) for window in moving}
        return Solution(placed, tuple(loop for loop in self.loops if loop not in before), tuple(refused + outdone))

    def shrink(self, pinned: Collection[int] = ()) -> dict[int, tuple[int, Sim3] | None]:
        """Merges windows until there are at most ``max_windows``.

        A merged window's two seams become one, its odometry too. Windows with loops and the newest quarter stay;
        ``pinned`` ones too, unless nothing else is left.

        Returns:
            Of each window that is gone, one beside it that stays, and that one's frame from its own; None: was alone.
        """
        gone: dict[int, tuple[int, Sim3] | None] = {}
        while len(self._nodes) > self.config.max_windows:
            window = self._least_missed(frozenset(pinned))
            gone[window] = self._beside(window)
            self._merge(window)
        return gone

    def _solve(self, moving: Sequence[int], loops: Iterable[Edge], trial: Sequence[Edge] = ()) -> float:
        """Moves these windows; returns the squared error of all that they take part in. Trials are not softened."""
        if not moving:
            return 0.0
        free = set(moving)
        known: list[tuple[Edge, float | None]] = [(edge, None) for edge in (*self._chain.values(), *trial)]
        known += [(edge, HUBER) for edge in loops]
        known = [(edge, softened) for edge, softened in known if edge.before in free or edge.after in free]
        start = {window: self._nodes[window] for edge, _ in known for window in (edge.before, edge.after)}
        start |= {window: self._nodes[window] for window in moving}
        terms = [factor(edge, softened) for edge, softened in known]
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

    def _try(self, loop: Loop) -> RefusedLoop | None:
        """Puts a loop into the graph, or says why not."""
        edge, windows, loops = self._loop_edge(loop), list(self._nodes), self._loop_edges()
        if self._part[loop.first] != self._part[loop.second]:
            return self._try_to_join(loop)
        cost = self._solve(windows, loops)
        before = dict(self._nodes)
        self._bend(edge)
        rise = self._solve(windows, loops, trial=[edge]) - cost
        if rise <= self.config.max_contradiction:
            self._believe(loop)
            return None
        self._nodes = before
        if self._cut_bridge(loop):
            return None
        return self._outvote(loop) or self._remember(loop, rise)

    def _cut_bridge(self, loop: Loop) -> bool:
        """Wheels do not feel how a robot is carried: where no seam confirms them, two loops that agree weigh more."""
        for other in [old for old in self._contradicted if old.first in self and old.second in self]:
            start, end = max(loop.first, other.first), min(loop.second, other.second)
            bridges = [e for e in self._chain.values() if e.kind == "odometry" and ("seam", e.after) not in self._chain]
            for bridge in [edge for edge in bridges if start < edge.after <= end]:
                before, pair = dict(self._nodes), [self._loop_edge(other), self._loop_edge(loop)]
                del self._chain["odometry", bridge.after]
                self._carry(bridge, pair[0])
                cost = self._solve(list(self._nodes), self._loop_edges(), trial=pair[:1])
                if (
                    self._solve(list(self._nodes), self._loop_edges(), trial=pair) - cost
                    <= self.config.max_contradiction
                ):
                    self._contradicted.remove(other)
                    self._believe(other)
                    self._believe(loop)
                    return True
                self._chain["odometry", bridge.after], self._nodes = bridge, before
        return False

    def _carry(self, bridge: Edge, edge: Edge) -> None:
        """A start for the solver: what comes after the bridge lies where a loop has it."""
        change = self._nodes[edge.before] * edge.relative * self._nodes[edge.after].inverse()
        for window, part in self._part.items():
            if window >= bridge.after and part == self._part[edge.after]:
                self._nodes[window] = change * self._nodes[window]

    def _try_to_join(self, loop: Loop) -> RefusedLoop | None:
        """Two parts become one only where two loops say the same: nothing else is known that could contradict one."""
        parts = self._part[loop.first], self._part[loop.second]
        for other in [known for known in self._lonely if known.first in self and known.second in self]:
            if (self._part[other.first], self._part[other.second]) != parts:
                continue
            nodes, known_parts = dict(self._nodes), dict(self._part)
            self._join(other.first, other.second, self._nodes[other.first] * self._loop_edge(other).relative)
            cost = self._solve(list(self._nodes), [*self._loop_edges(), self._loop_edge(other)])
            pair = [self._loop_edge(other), self._loop_edge(loop)]
            if self._solve(list(self._nodes), self._loop_edges(), trial=pair) - cost <= self.config.max_contradiction:
                self._lonely.remove(other)
                self._believe(other)
                self._believe(loop)
                return None
            self._nodes, self._part = nodes, known_parts
        self._lonely.append(loop)
        return RefusedLoop(loop, "it alone would join two maps; it waits for a second one that says the same")

    def _outvote(self, loop: Loop) -> RefusedLoop | None:
        """A loop that contradicts the rest is right where another such loop agrees and one of the rest does not.

        Returns the one that was believed until now and leaves.
        """
        before, windows, edge = dict(self._nodes), list(self._nodes), self._loop_edge(loop)
        for other in [old for old in self._contradicted if old.first in self and old.second in self]:
            pair = [edge, self._loop_edge(other)]
            self._solve(windows, [*self._loop_edges(), *pair])
            if (worst := self._worst()) is None:
                break
            kept = [known for key, (_, known) in self._loops.items() if key != worst]
            rise = -self._solve(windows, kept)
            rise += self._solve(windows, kept, trial=pair)
            if rise <= self.config.max_contradiction:
                left, _ = self._loops.pop(worst)
                self._contradicted.remove(other)
                self._believe(other)
                self._believe(loop)
                return RefusedLoop(left, "other loops contradict it: without it two more fit")
            self._nodes = dict(before)
        return None

    def _remember(self, loop: Loop, rise: float) -> RefusedLoop:
        self._contradicted.append(loop)
        return RefusedLoop(loop, f"the rest contradicts it: the squared error would rise by {rise:.0f}")

    def _settle(self, moving: Sequence[int]) -> list[RefusedLoop]:
        """Solves without loops that no longer fit; the worst one leaves first."""
        lost: list[RefusedLoop] = []
        while True:
            self._solve(moving, self._loop_edges())
            worst = self._worst()
            error = 0.0 if worst is None else squared_error(self._loops[worst][1], self._nodes)
            if worst is None or error <= self.config.max_contradiction:
                return lost
            loop, _ = self._loops.pop(worst)
            lost.append(RefusedLoop(loop, f"other loops contradict it: its squared error is {error:.0f}"))

    def _take_trials(self) -> list[Loop]:
        trials, self._trial = self._trial, []
        return trials

    def _believe(self, loop: Loop) -> None:
        self._loops[loop.first, loop.second] = loop, self._loop_edge(loop)
        if len(self._loops) > self.config.max_loops:
            del self._loops[self._most_alike()]

    def _loop_edges(self) -> list[Edge]:
        return [edge for _, edge in self._loops.values()]

    def _worst(self) -> tuple[int, int] | None:
        """The loop that fits least; None: there is none."""
        errors = {key: squared_error(edge, self._nodes) for key, (_, edge) in self._loops.items()}
        return max(errors, key=lambda key: errors[key], default=None)

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

    def _beside(self, window: int) -> tuple[int, Sim3] | None:
        """The nearest window of the same part, and its frame from this one's."""
        others = [other for other, part in self._part.items() if part == self._part[window] and other != window]
        if not others:
            return None
        nearest = min(others, key=lambda other: abs(other - window))
        return nearest, self.map_from_window(nearest).inverse.compose(self.map_from_window(window))

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
