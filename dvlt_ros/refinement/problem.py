"""What a bundle adjustment is given and what it finds."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


def nothing(*shape: int, dtype: type = float) -> np.ndarray:
    return field(default_factory=lambda: np.zeros(shape, dtype=dtype))  # type: ignore[no-any-return]


@dataclass(frozen=True, eq=False)
class Problem:
    """What was seen of P points in S frames. Weights are inverse standard deviations; 0: not seen, not known."""

    seen: np.ndarray  # (P, S, 2), x / z and y / z
    weight: np.ndarray  # (P, S)
    log_depth: np.ndarray  # (P, S), the network's
    depth_weight: np.ndarray  # (P, S)
    limit: float  # standard deviations of a sight where an outlier begins
    reference: int = 0  # the frame whose pose stays
    focal_weight: float = np.inf  # of the logarithm of a factor on the focal length; inf: it stays as it is
    prior_pairs: np.ndarray = nothing(0, 2, dtype=int)  # (N, 2), frames i and j
    prior_i_from_j: np.ndarray = nothing(0, 4, 4)  # (N, 4, 4), their known relative pose
    prior_whitening: np.ndarray = nothing(0, 6, 6)  # (N, 6, 6), W.T @ W is the information of turn and shift


@dataclass(frozen=True, eq=False)
class Solution:
    """A state; after `adjust` with the normal equations there, the points eliminated."""

    cam_from_window: np.ndarray  # (S, 4, 4)
    points: np.ndarray  # (P, 3), window frame
    log_focal: float = 0.0
    cost: float = np.inf
    information: np.ndarray = nothing(0, 0)  # (6 S + 1,) squared: turn and shift of each frame, then log_focal
    gradient: np.ndarray = nothing(0)  # (6 S + 1,)
    point_information: np.ndarray = nothing(0, 3, 3)  # (P, 3, 3), cameras held
