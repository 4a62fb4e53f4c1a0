"""Nodes, edges and factors of the Sim(3) pose graph in GTSAM's types.

A node is the similarity ``map_from_cam`` of a submap's reference camera: the camera's pose, and the submap's unit in
units of the map. GTSAM writes a similarity as ``scale * (R x + t)``, this package as ``scale * R x + t``.
Tangents are (rotation 3, translation 3, log scale 1), applied on the right: in the later node's axes and unit.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np

from ...alignment import Sim3
from ...errors import ConfigError

EdgeKind = Literal["registration", "odometry", "loop"]
Similarity = Any  # gtsam.Similarity3, which has no types

FIXED = 1e-4  # standard deviation of a prior: small beside all others, large enough for the solver's arithmetic


@dataclass(frozen=True, eq=False)
class Edge:
    """A measurement ``before_from_after`` between two nodes, and its covariance."""

    kind: EdgeKind
    before: int
    after: int
    relative: Similarity  # odometry: in metres, with a scale of 1
    covariance: np.ndarray  # (7, 7) of its tangent; odometry uses the first six rows and columns


@cache
def library() -> Any:
    """The module ``gtsam``, imported when the first graph is made.

    Raises:
        ConfigError: GTSAM is not installed.
    """
    try:
        return importlib.import_module("gtsam")
    except ImportError as error:
        raise ConfigError(f"loops need GTSAM: pip install 'gtsam>=4.3,<5' ({error})") from error


def from_sim3(a_from_b: Sim3) -> Similarity:
    """The same similarity in GTSAM's type."""
    scale, rotation = float(a_from_b.scale), a_from_b.rotation.double().numpy()
    return library().Similarity3(library().Rot3(rotation), a_from_b.translation.double().numpy() / scale, scale)


def from_pose(a_from_b: np.ndarray) -> Similarity:
    """Of a rigid pose (4, 4), with a scale of 1."""
    return library().Similarity3(library().Rot3(a_from_b[:3, :3]), a_from_b[:3, 3], 1.0)


def to_sim3(a_from_b: Similarity) -> Sim3:
    """The same similarity in this package's type."""
    return Sim3.of(a_from_b.scale(), a_from_b.rotation().matrix().copy(), position(a_from_b))


def position(a_from_b: Similarity) -> np.ndarray:
    """(3,) of b's origin in a."""
    return a_from_b.scale() * np.asarray(a_from_b.translation())


def move(old: Similarity, new: Similarity, depth: float) -> float:
    """The largest of a node's shift in units of its ``depth``, its turn in rad, and the change of its log scale."""
    shift = float(np.linalg.norm(position(new) - position(old))) / (new.scale() * depth)
    turn = float(np.linalg.norm(library().Rot3.Logmap(old.rotation().between(new.rotation()))))
    return max(shift, turn, abs(float(np.log(new.scale() / old.scale()))))


def scaled(map_from_cam: Similarity, scale: float) -> Similarity:
    """The same camera pose, with another scale: map units per unit of the submap."""
    return library().Similarity3(map_from_cam.rotation(), position(map_from_cam) / scale, scale)


def chained(first: Edge, second: Edge) -> Edge:
    """One edge between the outer ends of two that follow each other."""
    adjoint = second.relative.inverse().AdjointMap()
    covariance = adjoint @ first.covariance @ adjoint.T + second.covariance
    return Edge(first.kind, first.before, second.after, first.relative * second.relative, covariance)


def squared_error(edge: Edge, nodes: Mapping[int, Similarity]) -> float:
    """Of a registration or loop at these poses, in its own standard deviations."""
    apart = library().Similarity3.Logmap(edge.relative.inverse() * nodes[edge.before].between(nodes[edge.after]))
    return float(apart @ np.linalg.solve(edge.covariance, apart))


def between_factor(edge: Edge, huber: float | None = None) -> Any:
    """Of a registration or loop. ``huber``: standard deviations beyond which an error counts linearly."""
    gtsam = library()
    noise = gtsam.noiseModel.Gaussian.Covariance(edge.covariance)
    if huber is not None:
        noise = gtsam.noiseModel.Robust.Create(gtsam.noiseModel.mEstimator.Huber.Create(huber), noise)
    return gtsam.BetweenFactorSimilarity3(edge.before, edge.after, edge.relative, noise)


def prior_factor(node: int, at: Similarity, log_scale: float = FIXED) -> Any:
    """Holds a node at its pose; ``log_scale``: standard deviation of its log scale."""
    gtsam = library()
    noise = gtsam.noiseModel.Diagonal.Sigmas(np.array([FIXED] * 6 + [log_scale]))
    return gtsam.PriorFactorSimilarity3(node, at, noise)
