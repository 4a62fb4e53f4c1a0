"""Endless synthetic robot scenes: seeded, batched, rendered by torch on any device."""

from .augment import augment
from .benchmark import Benchmark, Difficulty, difficulty, load_benchmark, mean_depth_map
from .config import AugmentConfig, SyntheticConfig
from .render import BENCHMARK_SEED, compiled_renderer, render_views, sample_windows
from .surface.atlas import Photos, load_atlas

__all__ = [
    "BENCHMARK_SEED",
    "AugmentConfig",
    "Benchmark",
    "Difficulty",
    "Photos",
    "SyntheticConfig",
    "augment",
    "compiled_renderer",
    "difficulty",
    "load_atlas",
    "load_benchmark",
    "mean_depth_map",
    "render_views",
    "sample_windows",
]
