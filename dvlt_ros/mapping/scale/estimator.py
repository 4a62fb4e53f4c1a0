"""Estimates the map's scale, metres per map unit, over the recent windows, and locks it when enough evidence agrees.

The unit drifts by about 1 % per window through registration errors: a random walk that every window observes with
noise.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np

from ...alignment import Sim3
from ...errors import InputError
from ...parameters import check_parameters, parameter
from .observations import NoObservation, ScaleObservation, ScaleSource
from .random_walk import Estimate, present_value

ScaleState = Literal["unknown", "estimating", "locked"]

REMEMBERED = 30  # observations per source
UNSURE = 2.0  # multiple of scale_max_spread above which new evidence contradicts the locked scale


@dataclass(frozen=True)
class ScaleConfig:
    """Conditions for locking the scale (publishing metres), and how a locked scale may change."""

    GROUP: ClassVar[str] = "scale"
    min_windows: int = parameter(
        5, "windows with an observation before the scale is locked", 2, REMEMBERED, expert=True
    )
    max_spread: float = parameter(0.05, "relative standard error above which it is not locked", 0.0, 1.0, expert=True)
    max_residual: float = parameter(
        0.3,
        "relative disagreement of source and map, beside their scale, above which it is not locked",
        0.0,
        10.0,
        expert=True,
    )
    max_disagreement: float = parameter(0.05, "relative difference that two sources may have", 0.0, 1.0, expert=True)
    max_error: float = parameter(
        0.1, "relative difference to what is locked that is not followed but contradicts", 0.0, 1.0, expert=True
    )
    max_rate: float = parameter(0.02, "relative change per second while locked", 0.0, 1.0, live=True, expert=True)
    patience_s: float = parameter(
        10.0, "evidence contradicts the lock this long before it is lost", 0.0, 3600.0, expert=True
    )

    def __post_init__(self) -> None:
        check_parameters(self)


@dataclass(frozen=True)
class ScaleStatus:
    """The scale after a window."""

    state: ScaleState = "unknown"
    metres_per_unit: float | None = None  # None: unknown
    source: str = ""  # "odometry", "odometry+baseline", ...
    spread: float | None = None  # relative standard error of the present estimate
    residual: float | None = None  # relative scatter and misfit of the recent observations
    reason: str = ""  # why it is not locked; if locked, why there are no new observations, or what contradicts
    locks: int = 0  # number of locks so far; when it increases, the scale may have jumped


class MetricScaleEstimator:
    """Takes one window after the other; a new map starts from nothing. Not thread-safe; a status may be shared."""

    def __init__(self, config: ScaleConfig | None = None) -> None:
        self.config = config or ScaleConfig()
        self.status = ScaleStatus()
        self._tracks: dict[ScaleSource, _Track] = {}
        self._map_id: int | None = None
        self._stamp_ns = 0
        self._contradicted_since_ns: int | None = None

    def begin(self, map_id: int) -> None:
        """Starts another map, whose scale is unknown."""
        self._map_id = map_id
        self._forget()
        self.status = ScaleStatus(locks=self.status.locks)

    def observe(self, map_id: int, stamp_ns: int, findings: Sequence[ScaleObservation | NoObservation]) -> ScaleStatus:
        """Takes the findings of all sources in one window, and returns the scale after it.

        Args:
            stamp_ns: of the window's newest frame.
        """
        if map_id != self._map_id:
            self.begin(map_id)
            self._stamp_ns = stamp_ns
        elapsed_s = max(0.0, (stamp_ns - self._stamp_ns) * 1e-9)
        self._stamp_ns = stamp_ns
        for track in self._tracks.values():
            track.age()
        for finding in findings:
            if isinstance(finding, ScaleObservation):
                self._tracks.setdefault(finding.source, _Track()).add(finding)
        has_news = any(isinstance(finding, ScaleObservation) for finding in findings)
        unheard = "; ".join(f"{f.source}: {f.reason}" for f in findings if isinstance(f, NoObservation))
        if not self._tracks:
            self.status = ScaleStatus(locks=self.status.locks, reason=unheard or "no source gives an observation")
        else:
            self.status = self._judge(elapsed_s, has_news, unheard)
        return self.status

    def adopt(self, observation: ScaleObservation) -> None:
        """Locks the scale of the current map at once: several witnesses agree on it. Nothing, where it is locked."""
        self._tracks.setdefault(observation.source, _Track()).add(observation)
        if self.status.state != "locked":
            self.status = ScaleStatus(
                "locked", math.exp(observation.log_scale), observation.source, observation.spread,
                observation.residual, locks=self.status.locks + 1,
            )  # fmt: skip

    def _judge(self, elapsed_s: float, has_news: bool, unheard: str) -> ScaleStatus:
        estimates = {source: track.estimate() for source, track in self._tracks.items()}
        found = _combined(list(estimates.values()))
        residual = max(track.residual() for track in self._tracks.values())
        objection = self._disagreement(estimates) or self._misfit(residual)
        sources = "+".join(estimates)
        locks = self.status.locks
        status = ScaleStatus("estimating", math.exp(found.value), sources, found.spread, residual, locks=locks)
        if self.status.state == "locked":
            return self._follow(status, found, objection, elapsed_s, has_news, unheard)
        objection = objection or self._too_little(found)
        if objection:
            return replace(status, reason="; ".join(filter(None, (objection, unheard))))
        self._contradicted_since_ns = None
        return replace(status, state="locked", reason=unheard, locks=locks + 1)

    def _follow(
        self, status: ScaleStatus, found: Estimate, objection: str, elapsed_s: float, has_news: bool, unheard: str
    ) -> ScaleStatus:
        """While locked: follows the estimate at a bounded rate; unlocks if evidence contradicts it for too long."""
        assert self.status.metres_per_unit is not None
        locked = math.log(self.status.metres_per_unit)
        away = found.value - locked
        if has_news and found.spread > UNSURE * self.config.max_spread:
            objection = objection or f"standard error {found.spread:.3f}: the latest windows contradict each other"
        if not objection and abs(away) > self.config.max_error:
            objection = f"the latest windows give {math.exp(away):.3f} times the locked scale"
        if not objection:
            self._contradicted_since_ns = None
            step = math.copysign(min(abs(away), self.config.max_rate * elapsed_s), away)
            return replace(status, state="locked", metres_per_unit=math.exp(locked + step), reason=unheard)
        if has_news and self._contradicted_since_ns is None:
            self._contradicted_since_ns = self._stamp_ns
        since_ns = self._contradicted_since_ns
        if has_news and since_ns is not None and (self._stamp_ns - since_ns) * 1e-9 >= self.config.patience_s:
            self._forget()
            return ScaleStatus(reason=f"the lock is lost: {objection}", locks=status.locks)
        return replace(status, state="locked", metres_per_unit=self.status.metres_per_unit, reason=objection)

    def _forget(self) -> None:
        self._tracks.clear()
        self._contradicted_since_ns = None

    def _disagreement(self, estimates: dict[ScaleSource, Estimate]) -> str:
        """Which sources disagree; empty if none do."""
        ranked = sorted(estimates.items(), key=lambda entry: entry[1].value)
        (low_name, low), (high_name, high) = ranked[0], ranked[-1]
        apart = high.value - low.value
        chance = math.hypot(low.spread, high.spread)
        if apart <= max(self.config.max_disagreement, 2 * chance):
            return ""
        return f"sources disagree: {high_name} gives {math.exp(apart):.3f} times the scale of {low_name}"

    def _misfit(self, residual: float) -> str:
        if residual <= self.config.max_residual:
            return ""
        return (
            f"source and map do not fit together (residual {residual:.2f} is above {self.config.max_residual}); "
            "the network may know motion too coarsely (model.weights), or a time offset or mount may be wrong"
        )

    def _too_little(self, found: Estimate) -> str:
        count = max(len(track) for track in self._tracks.values())
        if count < self.config.min_windows:
            return f"{count} of {self.config.min_windows} windows"
        if found.spread > self.config.max_spread:
            return f"standard error {found.spread:.3f} is above {self.config.max_spread}"
        return ""


class _Track:
    """The recent observations of one source, oldest first."""

    def __init__(self) -> None:
        self._observations: deque[tuple[int, ScaleObservation]] = deque(maxlen=REMEMBERED)  # by window
        self._window = 0
        self._latest: Estimate | None = None

    def __len__(self) -> int:
        return len({window for window, _ in self._observations})

    def age(self) -> None:
        """Starts a new window: the unit may have drifted."""
        self._window += 1
        self._latest = None

    def add(self, observation: ScaleObservation) -> None:
        self._observations.append((self._window, observation))
        self._latest = None

    def residual(self) -> float:
        """Median over the observations."""
        scale = self.estimate().value
        return float(np.median([math.hypot(o.log_scale - scale, o.residual) for _, o in self._observations]))

    def estimate(self) -> Estimate:
        if self._latest is None:
            windows, observations = zip(*self._observations, strict=True)
            self._latest = present_value(
                self._window - np.array(windows, dtype=np.float64),
                np.array([o.log_scale for o in observations]),
                np.array([o.spread for o in observations]),
            )
        return self._latest


def _combined(estimates: list[Estimate]) -> Estimate:
    information = np.array([e.spread**-2 for e in estimates])
    mean = float(information @ np.array([e.value for e in estimates]) / information.sum())
    return Estimate(mean, float(information.sum()) ** -0.5)


def rescale_about(position: np.ndarray, factor: float) -> Sim3:
    """new_from_old of a map whose unit changes by ``factor``; ``position`` (3,) does not move.

    Pass the current camera's position: scaled about an origin 300 m away, 1 % would move the robot by 3 m.

    Raises:
        InputError: the factor is not above 0 and finite.
    """
    if not 0 < factor < math.inf:
        raise InputError(f"a map is rescaled by a factor above 0, got {factor}")
    return Sim3.of(factor, np.eye(3), (1 - factor) * position)
