"""What a bundle adjustment is given and what it finds."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np


@dataclass(frozen=True, eq=False)
class KnownPose:
    """A relative pose that is known from elsewhere."""

    i: int  # frames
    j: int
    i_from_j: np.ndarray  # (4, 4)
    whitening: np.ndarray  # (6, 6), W.T @ W is the information of turn and shift

    def scaled(self, factor: float) -> KnownPose:
        """The same in another unit."""
        pose, whitening = self.i_from_j.copy(), self.whitening.copy()
        pose[:3, 3] *= factor
        whitening[:, 3:] /= factor
        return replace(self, i_from_j=pose, whitening=whitening)


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
    known: tuple[KnownPose, ...] = ()


def nothing() -> np.ndarray:
    return np.zeros((0, 0))


@dataclass(frozen=True, eq=False)
class Solution:
    """A state; after `adjust`, where asked, with the normal equations before its last step, points eliminated."""

    cam_from_window: np.ndarray  # (S, 4, 4)
    points: np.ndarray  # (P, 3), window frame
    log_focal: float = 0.0
    cost: float = np.inf
    information: np.ndarray = field(default_factory=nothing)  # (6 S + 1,) squared: turn, shift by frame; log_focal
    gradient: np.ndarray = field(default_factory=nothing)  # (6 S + 1,)
