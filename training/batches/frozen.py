"""Batches for a network whose encoder is frozen: stored windows with the features that were computed once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from dvlt_ros.errors import ConfigError
from dvlt_ros.model import Dvlt

from ..config import TrainConfig
from ..data.types import Views, concatenate
from ..synthetic import AugmentConfig
from .features import FeatureCache
from .kept import KeptWindows


class FrozenWindows:
    """Windows by seed, each with one of its variants and some of its views, and their features.

    Raises:
        ConfigError: recordings, or what `KeptWindows` refuses.
        DataError: folders with other windows or features.
    """

    def __init__(self, config: TrainConfig, network: Dvlt, device: torch.device, first: bool = True) -> None:
        data = config.data
        if data.features_folder is None or data.windows_folder is None:
            raise ConfigError("data.features_folder needs data.windows_folder and data.synthetic_windows")
        if data.folder_share > 0:
            raise ConfigError("data.features_folder takes synthetic windows alone: data.folder_share must be 0")
        self.device = device
        self.kept = KeptWindows(config, first)
        photometric = AugmentConfig() if data.augment else None
        self.cache = FeatureCache(data.features_folder, self.kept.store, network, data.feature_variants, photometric)

    @property
    def grid(self) -> tuple[int, int]:
        return self.cache.grid

    def windows(self, seeds: Sequence[int], num_views: int) -> tuple[Views, Tensor]:
        """A batch (B, num_views, ...) without images, and its features (B, num_views, h*w, (taps + 1) * C)."""
        self.kept.look_again()
        found = [self._window(np.random.default_rng(seed), num_views) for seed in seeds]
        views = concatenate([views for views, _ in found])
        return views.to(self.device), torch.cat([features for _, features in found]).to(self.device)

    def _window(self, rng: np.random.Generator, num_views: int) -> tuple[Views, Tensor]:
        index, order = self.kept.draw(rng, num_views)
        return self.cache.window(index, int(rng.integers(self.cache.variants)), order)
