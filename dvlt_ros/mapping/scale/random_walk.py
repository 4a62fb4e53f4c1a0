"""The present value of a quantity that drifts as a random walk and is observed with noise and outliers.

Its steps have something in common: a camera that walks on through a room loses a little of its unit with every window.
Drift and noise differ between networks and places. Both are chosen from a few values each by the restricted likelihood
of the observations. Closed form, no random numbers.
"""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import numpy as np

from ...robust import deviation

NOISES = (1.0, 2.0, 4.0)  # multiples of the observations' own standard deviations
DRIFTS = (0.01, 0.03)  # standard deviation per step; a smaller one would lag behind a change
TREND = 0.01  # standard deviation of what all steps have in common; without it a steady drift is followed late
USUAL_NOISE, USUAL_DRIFT = 0, 0  # indices of the prior's most likely choices
PENALTY = 0.5  # of the log likelihood, per squared step away from these choices
ROUNDS = 4  # of reweighting
SOFTNESS = 3.0  # standard deviations at which an observation's weight is a quarter
LATEST = 9  # observations whose median is the first guess


class Estimate(NamedTuple):
    """Of the present value."""

    value: float
    spread: float  # standard error


def present_value(age: np.ndarray, observed: np.ndarray, spread: np.ndarray) -> Estimate:
    """By generalized least squares over observations, oldest first.

    Args:
        age: (N,), steps ago.
        observed, spread: (N,), observed values, and their standard deviations if they are not outliers.
    """
    shared = np.minimum.outer(age, age)  # steps of drift that two observations have in common
    pairs = list(itertools.product(range(len(NOISES)), range(len(DRIFTS))))
    noise, drift = np.array([NOISES[n] for n, _ in pairs]), np.array([DRIFTS[d] for _, d in pairs])
    unusual = PENALTY * np.array([(n - USUAL_NOISE) ** 2 + (d - USUAL_DRIFT) ** 2 for n, d in pairs])
    walked = drift[:, None, None] ** 2 * shared + TREND**2 * np.multiply.outer(age, age)
    value = float(np.median(observed[-LATEST:]))
    best = pairs.index((USUAL_NOISE, USUAL_DRIFT))
    for _ in range(ROUNDS):
        away = (observed - value) ** 2 / ((noise[best] * spread) ** 2 + walked[best].diagonal())
        inlier = np.maximum((1 + away / SOFTNESS**2) ** -2.0, 1e-6)
        own = (noise[:, None] * spread) ** 2 / inlier
        covariance = walked + own[:, :, None] * np.eye(len(age))
        cost, values, variance = _least_squares(covariance, observed)
        best = int((cost + unusual).argmin())
        value = float(values[best])
    scatter = deviation(observed, value) / math.sqrt(len(observed))
    return Estimate(value, max(math.sqrt(variance[best]), scatter))  # if most are outliers, the scatter is large


def _least_squares(covariance: np.ndarray, observed: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Negative restricted log likelihood, mean, and variance of the mean, (C,) each, for covariances (C, N, N)."""
    factor = np.linalg.cholesky(covariance)
    ones, whitened = np.moveaxis(np.linalg.solve(factor, np.stack([np.ones_like(observed), observed], axis=1)), -1, 0)
    information = (ones**2).sum(axis=1)
    mean = (ones * whitened).sum(axis=1) / information
    misfit = ((whitened - mean[:, None] * ones) ** 2).sum(axis=1)
    size = np.log(np.diagonal(factor, axis1=1, axis2=2)).sum(axis=1)
    return size + (np.log(information) + misfit) / 2, mean, 1 / information
