"""Which terms of the losses count, and by how much."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dvlt_ros.errors import ConfigError


@dataclass(frozen=True)
class LossConfig:
    """Which terms count, and by how much. The defaults are stage 1."""

    point: float = 1.0
    depth: float = 1.0
    ray: float = 1.0
    camera: float = 1.0
    field_of_view: float = 0.5  # within the camera term; translation and rotation have 1
    gauge: float = 0.0  # of (log scale)^2, which the published losses leave free; holds predictions near unit size
    pairs: float = 0.0  # of the relative poses of all pairs of views (losses/pairs.py)
    match: float = 0.0  # of global attention's cross-entropy with true correspondences (losses/matching.py)
    displacement: float = 0.0  # of how far away they were found, as the state carries it
    correlation: float = 0.0  # cross-entropy of where descriptors find a patch in the first view (losses/matching.py)
    pixel_stride: int = 1  # maps are compared at every so many pixels of rows and columns, from a random one on
    confidence: bool = False  # weigh the depth errors by the predicted confidence
    confidence_reward: float = 0.2  # of log c
    confidence_quantile: float = 0.98  # weighted errors above it are left out
    max_error: float = 100.0  # of one pixel or component
    min_pixels: int = 100  # rays and cameras need more valid pixels than this in a view
    gradient_strides: tuple[int, ...] = (1, 2, 4, 8)

    def __post_init__(self) -> None:
        weights = "point", "depth", "ray", "camera", "field_of_view", "gauge", "pairs"
        matching = "match", "displacement", "correlation"
        for name in (*weights, *matching, "confidence_reward", "min_pixels"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"loss.{name} must be at least 0, got {getattr(self, name)}")
        if self.pixel_stride < 1:
            raise ConfigError(f"loss.pixel_stride must be at least 1, got {self.pixel_stride}")
        if not 0 < self.confidence_quantile <= 1:
            raise ConfigError(f"loss.confidence_quantile must be in (0, 1], got {self.confidence_quantile}")
        if not self.max_error > 0 or not self.gradient_strides or min(self.gradient_strides) < 1:
            got = f"{self.max_error} and {self.gradient_strides}"
            raise ConfigError(f"loss.max_error and loss.gradient_strides must be above 0, got {got}")

    @property
    def needs_matches(self) -> bool:
        return self.match > 0 or self.displacement > 0

    @classmethod
    def for_stage(cls, stage: Literal[1, 2]) -> LossConfig:
        """Stage 1: all four terms, no confidence. Stage 2: points, and depth with confidence."""
        if stage not in (1, 2):
            raise ConfigError(f"loss stage must be 1 or 2, got {stage!r}")
        return cls() if stage == 1 else cls(ray=0.0, camera=0.0, confidence=True)
