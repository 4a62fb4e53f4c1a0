"""The pose graph of submaps.

In: submaps with their registrations, odometry between them, and verified loop closures. Out: corrections of all submaps
when a loop closure is accepted. `SubmapGraph` is the way in; `PoseGraph` holds nodes and edges and solves,
`LoopHypotheses` decides about loops. GTSAM is imported when the first graph is made.
"""

from .config import LoopClosure, PoseGraphConfig, RejectedLoop, Solution
from .graph import PoseGraph
from .hypotheses import LoopHypotheses
from .merging import shrink
from .submap_graph import SubmapGraph

__all__ = [
    "LoopClosure",
    "LoopHypotheses",
    "PoseGraph",
    "PoseGraphConfig",
    "RejectedLoop",
    "Solution",
    "SubmapGraph",
    "shrink",
]
