"""Where a quantity is now that drifts as a random walk and was observed with noise and outliers.

How fast it drifts and how noisy the observations are differs between networks and places; both are found by the
restricted likelihood of the observations, over a few choices each. Closed form, no random numbers.
"""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import numpy as np

from ...robust import deviation

NOISES = (1.0, 2.0, 4.0)  # times what the observations say of themselves
DRIFTS = (0.01, 0.03)  # in one step; a smaller one takes the beginning of a change for noise and lags behind
USUAL_NOISE, USUAL_DRIFT = 0, 0  # indices: as long as nothing else is known
PENALTY = 0.5  # of the log likelihood, for a choice that is one step of its list away from the usual one
ROUNDS = 4  # of reweighting
SOFTNESS = 3.0  # standard deviations at which an observation counts a quarter
LATEST = 9  # observations whose median begins


class Estimate(NamedTuple):
    """Of the present value."""

    value: float
    spread: float  # standard error


def present_value(age: np.ndarray, observed: np.ndarray, spread: np.ndarray) -> Estimate:
    """By generalised least squares over observations, oldest first.

    Args:
        age: (N,), steps ago.
        observed, spread: (N,), what was observed, and its standard deviation if it is no outlier.
    """
    shared = np.minimum.outer(age, age)  # what two observations have both missed since
    pairs = list(itertools.product(range(len(NOISES)), range(len(DRIFTS))))
    noise, drift = np.array([NOISES[n] for n, _ in pairs]), np.array([DRIFTS[d] for _, d in pairs])
    unusual = PENALTY * np.array([(n - USUAL_NOISE) ** 2 + (d - USUAL_DRIFT) ** 2 for n, d in pairs])
    value, best = float(np.median(observed[-LATEST:])), pairs.index((USUAL_NOISE, USUAL_DRIFT))
    for _ in range(ROUNDS):
        away = (observed - value) ** 2 / ((noise[best] * spread) ** 2 + drift[best] ** 2 * age)
        inlier = np.maximum((1 + away / SOFTNESS**2) ** -2.0, 1e-6)
        own = (noise[:, None] * spread) ** 2 / inlier
        covariance = drift[:, None, None] ** 2 * shared + own[:, :, None] * np.eye(len(age))
        cost, values, variance = _least_squares(covariance, observed)
        best = int((cost + unusual).argmin())
        value = float(values[best])
    scatter = deviation(observed, value) / math.sqrt(len(observed))
    return Estimate(value, max(math.sqrt(variance[best]), scatter))  # where most are outliers, nothing is known


def _least_squares(covariance: np.ndarray, observed: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Minus the restricted log likelihood, the mean and its variance, (C,) each, for C covariances (C, N, N)."""
    factor = np.linalg.cholesky(covariance)
    ones, whitened = np.moveaxis(np.linalg.solve(factor, np.stack([np.ones_like(observed), observed], axis=1)), -1, 0)
    information = (ones**2).sum(axis=1)
    mean = (ones * whitened).sum(axis=1) / information
    misfit = ((whitened - mean[:, None] * ones) ** 2).sum(axis=1)
    size = np.log(np.diagonal(factor, axis1=1, axis2=2)).sum(axis=1)
    return size + (np.log(information) + misfit) / 2, mean, 1 / information
