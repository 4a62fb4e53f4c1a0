"""The pose graph's solver beside GTSAM's own, which takes all steps at once."""

import math

import numpy as np
import pytest

from dvlt_ros.errors import AlignmentError
from dvlt_ros.mapping.pose_graph.factors import Edge, between_factor, prior_factor
from dvlt_ros.mapping.pose_graph.odometry import OdometryTerms
from dvlt_ros.mapping.pose_graph.solver import CONVERGED, minimize

gtsam = pytest.importorskip("gtsam", reason="GTSAM is not here; `pip install '.[loops]'` runs this")

COUNT = 30
SPREAD = np.array([0.01] * 3 + [0.03] * 3 + [0.01])
STEP = np.array([0.02, 0.2, -0.01, 0.3, 0.0, 1.0, 0.0])  # a circle


def similarity(tangent):
    return gtsam.Similarity3.Expmap(np.asarray(tangent, dtype=np.float64))


def noisy(rng, size=1.0):
    return similarity(size * SPREAD * rng.normal(size=7))


def truth():
    """Nodes along a circle; their units differ."""
    nodes = {0: similarity(np.zeros(7))}
    for node in range(1, COUNT):
        nodes[node] = nodes[node - 1] * similarity(STEP + np.array([0, 0, 0, 0, 0, 0, 0.1 * math.sin(node)]))
    return nodes


def rigid_between(before, after):
    """In metres, whatever the units."""
    turned = before.rotation().between(after.rotation())
    moved = after.scale() * after.translation() - before.scale() * before.translation()
    return gtsam.Similarity3(turned, before.rotation().unrotate(moved), 1.0)


def edges(nodes, rng):
    """Registrations, odometry, and loops of which one is wrong by far."""
    covariance = np.diag(SPREAD**2)
    registrations = [
        Edge("registration", a, a + 1, nodes[a].between(nodes[a + 1]) * noisy(rng), covariance)
        for a in range(COUNT - 1)
    ]
    odometry = []
    for before in range(0, COUNT - 2, 2):
        slipped = similarity(np.append(SPREAD[:6] * rng.normal(size=6), 0.0))
        driven = rigid_between(nodes[before], nodes[before + 2]) * slipped
        odometry.append(Edge("odometry", before, before + 2, driven, covariance))
    loops = [Edge("loop", a, b, nodes[a].between(nodes[b]) * noisy(rng), covariance) for a, b in ((0, 20), (5, 29))]
    return (
        registrations,
        odometry,
        [*loops, Edge("loop", 3, 25, nodes[3].between(nodes[25]) * noisy(rng, 50), covariance)],
    )


def matrices(nodes):
    return np.stack([node.matrix() for node in nodes.values()])


def as_custom_factor(edge):
    """The same term for GTSAM's own optimizer."""
    terms = OdometryTerms([edge], [edge.before, edge.after])

    def error(this, values, jacobians):
        ends = np.stack([values.atSimilarity3(key).matrix() for key in (edge.before, edge.after)])
        if jacobians is not None:
            jacobians[0], jacobians[1] = (np.asfortranarray(part[0]) for part in terms.jacobians(ends))
        return terms.residuals(ends)[0]

    return gtsam.CustomFactor(gtsam.noiseModel.Unit.Create(6), [edge.before, edge.after], error)


def at_once(factors, odometry, start):
    graph, values = gtsam.NonlinearFactorGraph(), gtsam.Values()
    for term in (*factors, *map(as_custom_factor, odometry)):
        graph.add(term)
    for node, at in start.items():
        values.insert(node, at)
    settings = gtsam.LevenbergMarquardtParams()
    settings.setRelativeErrorTol(CONVERGED)
    settings.setAbsoluteErrorTol(CONVERGED)
    optimizer = gtsam.LevenbergMarquardtOptimizer(graph, values, settings)
    found = optimizer.optimize()
    return {node: found.atSimilarity3(node) for node in start}, 2 * optimizer.error()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("has_odometry", [True, False], ids=["with odometry", "without"])
@pytest.mark.parametrize("away", [1.0, 30.0], ids=["near start", "far start"])
def test_step_by_step_comes_out_what_gtsam_finds_at_once(seed, has_odometry, away):
    rng, nodes = np.random.default_rng(seed), truth()
    registrations, odometry, loops = edges(nodes, rng)
    odometry = odometry if has_odometry else []
    factors = [
        prior_factor(0, nodes[0]),
        *map(between_factor, registrations),
        *(between_factor(loop, 4.0) for loop in loops),
    ]
    start = {node: at * noisy(rng, away) for node, at in nodes.items()}
    found, error = minimize(factors, odometry, start)
    expected, least = at_once(factors, odometry, start)
    assert list(found) == list(start)
    assert error == pytest.approx(least, rel=1e-6)
    np.testing.assert_allclose(matrices(found), matrices(expected), rtol=1e-6, atol=1e-6)


def test_the_odometry_is_exact_whatever_the_units_and_its_derivatives_are_true():
    rng, nodes = np.random.default_rng(0), truth()
    _, odometry, _ = edges(nodes, rng)
    right = [Edge("odometry", a, a + 1, rigid_between(nodes[a], nodes[a + 1]), np.eye(7)) for a in range(COUNT - 1)]
    np.testing.assert_allclose(OdometryTerms(right, list(nodes)).residuals(matrices(nodes)), 0.0, atol=1e-9)
    terms, nodes = OdometryTerms(odometry, list(nodes)), {node: at * noisy(rng, 30) for node, at in nodes.items()}
    tiny = 1e-6
    for which, jacobians in enumerate(terms.jacobians(matrices(nodes))):
        for axis in range(7):
            step = similarity(tiny * np.eye(7)[axis])
            for number, edge in enumerate(odometry):
                end = (edge.before, edge.after)[which]
                ahead, behind = ({**nodes, end: nodes[end] * s} for s in (step, step.inverse()))
                change = terms.residuals(matrices(ahead))[number] - terms.residuals(matrices(behind))[number]
                np.testing.assert_allclose(jacobians[number][:, axis], change / (2 * tiny), rtol=1e-5, atol=1e-3)


def test_an_edge_that_is_no_number_has_no_solution():
    nodes = truth()
    registrations, _, _ = edges(nodes, np.random.default_rng(0))
    nowhere = Edge("odometry", 0, 1, similarity(np.full(7, np.nan)), np.eye(7))
    with pytest.raises(AlignmentError, match="not finite"):
        minimize([prior_factor(0, nodes[0]), *map(between_factor, registrations)], [nowhere], nodes)
