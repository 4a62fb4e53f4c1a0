"""Latency model: ``window_ms = a + b * K`` for every number of views and image size, learned from past windows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ...model.config import PATCH_SIZE

NORMAL_QUANTILE = 2.576  # standard deviations below which 99.5 % of a normal distribution lie
MAX_QUANTILE = 4.0
MISS_SHARE = 0.005
QUANTILE_STEP = 0.3

ATTENTION_TOKENS = 4608  # tokens whose attention costs as much as the linear layers: six times the usual width
FIXED_SHARE = 0.25  # prior share of a in a first window, before K has varied
MIN_STEPS_SHARE = 0.1  # smallest share of the loop in a window's time
SURPRISE = 4.0  # standard deviations beyond which a window is an outlier or shows a new load
EVIDENCE_KEPT = 0.75  # per usual window
NEW_LOAD = 1.5  # evidence: two surprises in a row, or with one or two usual windows between them
DEVICE_DRIFT = (0.003, 0.01)  # of a and b per window, relative
CORRECTION_DRIFT = (0.001, 0.001)
LAW_DOUBT = 0.3  # relative error of `log_work` at e times the work of a measured window
LEARNING = 3  # windows before the quality level may change: the first ones warm up the device
WARMER = 0.7  # a window below this share of its prediction shows that the ones before warmed up the device
MIN_NOISE = 0.005  # relative
FIRST_NOISE = 0.1
NOISE_MEMORY = 40  # windows


@dataclass(frozen=True)
class WindowTime:
    """Predicted time of a window, log-normal."""

    median_ms: float
    noise: float  # relative standard deviation from window to window
    doubt: float  # relative standard deviation of the median itself
    beside_ms: float = 0.0  # what is done with the network's answer; it ends in time, whatever the network takes

    @property
    def usual_ms(self) -> float:
        """Network and what is beside it."""
        return self.median_ms + self.beside_ms

    def margin_ms(self, quantile: float) -> float:
        """Above the median, at so many standard deviations."""
        return self.median_ms * math.expm1(quantile * math.hypot(self.noise, self.doubt))


@dataclass(frozen=True, eq=False)
class Belief:
    """Gaussian estimate of log a and log b: the time outside the steps, and the time of one step."""

    mean: np.ndarray  # (2,)
    covariance: np.ndarray  # (2, 2)

    def variance(self, slope: np.ndarray) -> float:
        """Of the combination with this slope (2,); in numbers, as arrays of two cost several times as much."""
        a, b = slope.tolist()
        (var_a, covar), (_, var_b) = self.covariance.tolist()
        return a * a * var_a + 2 * a * b * covar + b * b * var_b

    def blurred(self, deviations: tuple[float, float]) -> Belief:
        """With the process noise of these standard deviations added."""
        return Belief(self.mean, self.covariance + np.diag(np.square(deviations)))

    def corrected(self, slope: np.ndarray, residual: float, variance: float) -> Belief:
        """Kalman update; ``variance`` is that of the residual."""
        gain = self.covariance @ slope / variance
        return Belief(self.mean + gain * residual, self.covariance - np.outer(gain, slope @ self.covariance))


class LatencyModel:
    """``window_ms = a + b * K`` per (views, image_size): an extended Kalman filter on logarithms.

    a and b per unit of work belong to the device and are common to all windows; a correction per (views, image_size)
    changes slowly. b may change fast and a only slowly: at constant K a change of a cannot be told from a change of b,
    and other load on the device mostly changes the loop's time. After one surprising window nothing is learned, but
    the next plan is careful, as it may be an outlier. A second one in the same direction soon after is a new load.
    """

    def __init__(self) -> None:
        self.num_windows = 0
        self.num_loads = 0  # sudden changes of the load so far
        self.quantile = NORMAL_QUANTILE  # grows if the distribution's tail is heavier than a normal one's
        self._device = Belief(np.zeros(2), np.zeros((2, 2)))
        self._corrections: dict[tuple[int, int], Belief] = {}
        self._borrowed: dict[tuple[int, int], Belief] = {}  # for shapes that were not measured yet
        self._noise_variance = FIRST_NOISE**2
        self._suspect: np.ndarray | None = None  # the device's mean if the last, surprising window shows a new load
        self._evidence = 0.0  # for a new load; above 0: for a higher one

    @property
    def is_settled(self) -> bool:
        """Whether the last window was a usual one."""
        return self._suspect is None

    def predict(self, num_views: int, image_size: int, num_steps: int) -> WindowTime:
        """Needs at least one observation of a window of any shape."""
        device = self._device.mean if self._suspect is None else np.maximum(self._device.mean, self._suspect)
        median_ms, slope = self._linearized((num_views, image_size), num_steps, device)
        doubt = self._doubt((num_views, image_size), slope)
        return WindowTime(median_ms, math.sqrt(self._noise_variance), math.sqrt(doubt))

    def observe(self, num_views: int, image_size: int, num_steps: int, window_ms: float) -> None:
        """Learns from the measured time of one window."""
        self.num_windows += 1
        key = (num_views, image_size)
        if not self._corrections:
            self._begin(key, num_steps, window_ms)
            return
        self._corrections[key] = self._correction(key).blurred(CORRECTION_DRIFT)
        self._borrowed.clear()
        self._device = self._device.blurred(DEVICE_DRIFT)
        median_ms, slope = self._linearized(key, num_steps, self._device.mean)
        if self.num_windows <= LEARNING and window_ms < WARMER * median_ms:
            self._begin(key, num_steps, window_ms)  # the device was warming up
            return
        residual = math.log(window_ms / median_ms)
        deviation = math.sqrt(self._doubt(key, slope) + self._noise_variance)
        if abs(residual) <= SURPRISE * deviation:
            self._learn_usual(key, slope, residual, deviation)
        else:
            self._learn_surprise(self._explained(key, num_steps, window_ms), residual > 0, deviation)

    def _begin(self, key: tuple[int, int], num_steps: int, window_ms: float) -> None:
        """Forgets all earlier windows; the first windows load kernels, so the next one may be much faster."""
        mean = np.log([FIXED_SHARE * window_ms, (1 - FIXED_SHARE) * window_ms / num_steps]) - log_work(*key)
        # a may be anything from nearly 0 to most of the time; the sum is known, so b changes opposite to a
        spread = np.array([0.8, -0.8 * FIXED_SHARE / (1 - FIXED_SHARE)])
        covariance = np.outer(spread, spread) + (0.5 / self.num_windows) ** 2 * np.ones((2, 2))
        self._device = Belief(mean, covariance)
        self._corrections = {key: Belief(np.zeros(2), np.zeros((2, 2)))}

    def _correction(self, key: tuple[int, int]) -> Belief:
        """That of this shape, or of the most similar measured shape."""
        known = self._corrections.get(key) or self._borrowed.get(key)
        if known is None:
            distances = {other: np.abs(log_work(*other) - log_work(*key)) for other in self._corrections}
            nearest = min(distances, key=lambda other: float(distances[other].sum()))
            known = self._corrections[nearest].blurred(tuple(0.05 + LAW_DOUBT * distances[nearest]))
            self._borrowed[key] = known
        return known

    def _linearized(self, key: tuple[int, int], num_steps: int, device: np.ndarray) -> tuple[float, np.ndarray]:
        """Median time in ms, and the derivative (2,) of its logarithm by log a and log b, which is their shares."""
        log_a, log_b = (device + log_work(*key) + self._correction(key).mean).tolist()
        outside_ms, steps_ms = math.exp(log_a), num_steps * math.exp(log_b)
        median_ms = outside_ms + steps_ms
        return median_ms, np.array([outside_ms / median_ms, steps_ms / median_ms])

    def _doubt(self, key: tuple[int, int], slope: np.ndarray) -> float:
        return self._device.variance(slope) + self._correction(key).variance(slope)

    def _learn_usual(self, key: tuple[int, int], slope: np.ndarray, residual: float, deviation: float) -> None:
        """Kalman update of device and correction; residuals beyond 3 standard deviations count as 3."""
        if self._suspect is not None:  # the window before was an outlier
            self._learn_quantile(missed=self._evidence > 0)
            self._suspect = None
        self._evidence *= EVIDENCE_KEPT
        self._learn_quantile(missed=residual > self.quantile * deviation)
        bounded = min(max(residual, -3 * deviation), 3 * deviation)
        doubt = self._doubt(key, slope)
        self._device = self._device.corrected(slope, bounded, deviation**2)
        self._corrections[key] = self._corrections[key].corrected(slope, bounded, deviation**2)
        self._learn_noise(bounded**2, doubt)

    def _learn_surprise(self, explanation: np.ndarray, is_dearer: bool, deviation: float) -> None:
        """``explanation``: the device's mean for which the window would be a usual one."""
        sign = 1 if is_dearer else -1
        self._evidence = sign * (1 + max(sign * self._evidence, 0.0))
        if abs(self._evidence) < NEW_LOAD:
            self._suspect = explanation
            self._learn_noise((SURPRISE * deviation) ** 2, doubt=0.0)
            return
        self.num_loads += 1
        covariance = np.diag([self._device.covariance[0, 0] + 0.2**2, self._noise_variance + 0.03**2])
        self._device = Belief(explanation, covariance)
        self._suspect = None
        self._evidence = 0.0

    def _explained(self, key: tuple[int, int], num_steps: int, window_ms: float) -> np.ndarray:
        """The device's mean that explains a window's time by b alone; if that is impossible, by a and b alike."""
        median_ms, (fixed_share, steps_share) = self._linearized(key, num_steps, self._device.mean)
        steps_ms = window_ms - fixed_share * median_ms
        if steps_ms < MIN_STEPS_SHARE * window_ms:
            return self._device.mean + math.log(window_ms / median_ms)
        return self._device.mean + np.array([0.0, math.log(steps_ms / (steps_share * median_ms))])

    def _learn_noise(self, squared: float, doubt: float) -> None:
        rate = 1 / min(self.num_windows + 3, NOISE_MEMORY)
        learned = self._noise_variance + rate * (squared - doubt - self._noise_variance)
        self._noise_variance = max(learned, (1 - rate) * self._noise_variance, MIN_NOISE**2)

    def _learn_quantile(self, missed: bool) -> None:
        moved = self.quantile + QUANTILE_STEP * (missed - MISS_SHARE)
        self.quantile = min(max(moved, NORMAL_QUANTILE), MAX_QUANTILE)


@lru_cache
def log_work(num_views: int, image_size: int) -> np.ndarray:
    """(2,) logarithms: work outside the loop (proportional to the tokens), and of a step (attention is quadratic)."""
    per_view = (image_size / PATCH_SIZE) ** 2
    tokens = num_views * per_view
    attended = 0.5 * (per_view + tokens)  # half of a step attends within a view, the other half over all views
    return np.log([tokens, tokens * (1 + attended / ATTENTION_TOKENS)])
