"""The limits within which the budget chooses K, window size and resolution."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from ...errors import ConfigError
from ...model.config import PATCH_SIZE
from ..inference.prediction import Predictor, SeveralReferences, SizedOnce
from .config import BudgetConfig, WindowConfig

DECODING_STEPS = 2  # of the loop, that take about as long as the decoding of an answer
MIN_WINDOW = 2  # views; a single one has no parallax


class Effort(NamedTuple):
    """What a window gets of the network."""

    num_steps: int  # K
    references: int = 1  # views that are the reference in turn

    @property
    def work(self) -> int:
        """Steps of one path that take as long."""
        return self.references * self.num_steps + (self.references - 1) * DECODING_STEPS


@dataclass(frozen=True)
class Limits:
    """Limits from configuration, checkpoint and cameras. Raises ConfigError: they are impossible."""

    budget_ms: float  # from a frame's arrival to its publication; 0: always k_max
    k_min: int
    k_max: int
    window_size: int
    window_overlap: int
    image_size: int  # network's longest edge, pixels
    min_window: int = MIN_WINDOW  # views; windows do not shrink below
    has_fixed_image_size: bool = False  # the resolution does not change
    references: int = 1  # views that are the reference in turn, at most

    def __post_init__(self) -> None:
        if not 0 <= self.budget_ms < math.inf:
            raise ConfigError(f"budget_ms must be 0 or more and finite, got {self.budget_ms}")
        if not 1 <= self.k_min <= self.k_max:
            raise ConfigError(f"k_min and k_max must be 1 or more and in order, got {self.k_min} and {self.k_max}")
        if not 1 <= self.window_overlap < self.window_size:
            raise ConfigError(
                f"window_overlap must be from 1 to below window_size {self.window_size}, got {self.window_overlap}"
            )
        if self.window_size < self.min_window:
            raise ConfigError(f"window_size must be at least {self.min_window}, got {self.window_size}")
        if self.image_size < PATCH_SIZE or self.image_size % PATCH_SIZE:
            raise ConfigError(f"image_size must be a positive multiple of {PATCH_SIZE}, got {self.image_size}")

    def efforts(self, num_views: int) -> list[Effort]:
        """What a window of so many views may get, from most to least: first reference views are saved, then steps."""
        several = range(min(self.references, num_views), 1, -1)
        steps = range(self.k_max, self.k_min - 1, -1)
        return [*(Effort(self.k_max, count) for count in several), *map(Effort, steps)]

    @classmethod
    def of(
        cls, budget: BudgetConfig, window: WindowConfig, image_size: int, predictor: Predictor, num_cameras: int
    ) -> Limits:
        """Values that are 0 in the configuration come from the checkpoint.

        Raises:
            ConfigError: the range of K is empty, or the window is too small for the cameras.
        """
        min_window = MIN_WINDOW * num_cameras
        if window.size < min_window:
            raise ConfigError(
                f"window.size must be at least {min_window}, two frame sets of {num_cameras} cameras, got {window.size}"
            )
        k_max = budget.k_max or predictor.max_steps
        k_min = budget.k_min or min(predictor.min_steps, k_max)
        if k_min > k_max:
            raise ConfigError(f"budget.k_min {k_min} is above budget.k_max {k_max} (0 stands for the checkpoint's own)")
        if predictor.has_fixed_steps and not k_min == k_max == predictor.max_steps:
            raise ConfigError(
                f"this model has one number of steps: budget.k_min and budget.k_max must be 0 or {predictor.max_steps}"
            )
        size = image_size or predictor.image_size
        is_fixed = isinstance(predictor, SizedOnce) and predictor.has_fixed_image_size
        if is_fixed and size != predictor.image_size:
            raise ConfigError(f"these graphs have one image size: model.image_size must be 0 or {predictor.image_size}")
        if budget.references > 1 and not isinstance(predictor, SeveralReferences):
            raise ConfigError(f"this model has one reference: budget.references must be 1, got {budget.references}")
        return cls(
            budget.latency_ms, k_min, k_max, window.size, window.overlap, size, min_window, is_fixed, budget.references
        )
