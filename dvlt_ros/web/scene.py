"""One reconstruction as the page, and files, show it: which points, how large the frusta. No toolkit, no network."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..errors import ConfigError, InputError


@dataclass(frozen=True)
class ShowOptions:
    """What the sliders say; changing them needs no network."""

    max_points: int = 500_000
    percentile: float | None = None  # of each view's confidence, below: left out; None: as the checkpoint's config says
    frustum_percent: float = 1.0  # depth of the frusta in percent of the scene; 0: no cameras

    def __post_init__(self) -> None:
        if not 1_000 <= self.max_points <= 2_000_000:
            raise ConfigError(f"max_points must be from 1000 to 2000000, got {self.max_points}")
        if self.percentile is not None and not 0 <= self.percentile <= 100:
            raise ConfigError(f"percentile must be from 0 to 100, got {self.percentile}")
        if not 0 <= self.frustum_percent <= 5:
            raise ConfigError(f"frustum_percent must be from 0 to 5, got {self.frustum_percent}")


@dataclass(frozen=True, eq=False)
class Selection:
    """Points with colour, at random order."""

    points: np.ndarray  # (N, 3) float32, world
    colors: np.ndarray  # (N, 3) uint8
    confidence: np.ndarray  # (N,) float32


@dataclass(frozen=True, eq=False)
class Scene:
    """S views in the order they were given. The world is the reference view's camera (OpenCV)."""

    titles: tuple[str, ...]
    images: np.ndarray  # (S, h, w, 3) uint8, the part that the network saw
    usable: np.ndarray  # (S, h, w) bool: a picture, and a point in front of its camera
    depth: np.ndarray  # (S, h, w) float32, NaN where not usable
    confidence: np.ndarray  # (S, h, w) float32
    points: np.ndarray  # (S, h, w, 3) float32, world
    intrinsics: np.ndarray  # (S, 3, 3), pixels of the maps
    world_from_cam: np.ndarray  # (S, 4, 4)
    reference: int
    is_metric: bool
    model: str  # with its weights (`choices.parts`)
    num_steps: int
    cut_share: float  # of a view's pixels, the least confident, that the checkpoint says to leave out
    remark: str = ""  # views that were left out, and why

    def __post_init__(self) -> None:
        if not self.usable.any():
            raise InputError(f"{self.model} found no depth in any of {len(self.titles)} views")

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the maps."""
        height, width = self.depth.shape[1:]
        return height, width

    @cached_property
    def extent(self) -> float:
        """Diagonal of the box around most points and all cameras, in the scene's unit."""
        low, high = np.quantile(self.points[self.usable], [0.05, 0.95], axis=0)
        centers = self.world_from_cam[:, :3, 3]
        low, high = np.minimum(low, centers.min(axis=0)), np.maximum(high, centers.max(axis=0))
        return float(np.linalg.norm(high - low))

    def frustum_size(self, options: ShowOptions) -> float:
        """In the scene's unit."""
        return self.extent * options.frustum_percent / 100

    def select(self, options: ShowOptions) -> Selection:
        """The more points, or the lower the percentile, the more: those of a smaller choice stay."""
        kept = np.flatnonzero(self.certain(options)[self.usable])
        kept = kept[np.argsort(self._lots[kept])[: options.max_points]]
        chosen = self.points[self.usable][kept], self.images[self.usable][kept]
        return Selection(*chosen, self.confidence[self.usable][kept])

    def percentile(self, options: ShowOptions) -> float:
        """Of each view's confidence, below which points are left out."""
        return 100 * self.cut_share if options.percentile is None else options.percentile

    def certain(self, options: ShowOptions) -> np.ndarray:
        """(S, h, w) bool: usable and not left out, view by view, as the mapper cuts a share of a frame."""
        percentile = self.percentile(options)
        with warnings.catch_warnings():  # a view without any usable pixel
            warnings.simplefilter("ignore", RuntimeWarning)
            known = np.where(self.usable, self.confidence, np.nan).reshape(len(self.titles), -1)
            least = np.nanpercentile(known, percentile, axis=1)
        return self.usable & (self.confidence >= least.astype(np.float32)[:, None, None])

    @cached_property
    def _lots(self) -> np.ndarray:
        """A random rank for every usable pixel, the same each time."""
        return np.random.default_rng(0).permutation(int(self.usable.sum())).astype(np.int32)
