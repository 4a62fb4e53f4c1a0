"""Batches for a network whose encoder is frozen: stored windows with the features that were computed once."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from dvlt_ros.errors import ConfigError, DataError
from dvlt_ros.model import Dvlt

from ..config import TrainConfig
from ..data.types import Views, concatenate
from ..synthetic import AugmentConfig
from .features import FeatureCache
from .sampling import image_shape
from .stored import StoredWindows, StoreSpec, render_beside

LOOK_EVERY = 50  # batches between checks for windows that were rendered meanwhile
FIRST_PIECES = 1  # rendered here when the folder is empty


class FrozenWindows:
    """Windows by seed, each with one of its variants and some of its views, and their features.

    While a second process renders, a seed stands for one of the windows that are there: such a run is not repeated
    bit by bit. Once all are there, it is.

    Raises:
        ConfigError: images of several sizes, recordings, or no number of windows.
        DataError: folders with other windows or features.
    """

    def __init__(self, config: TrainConfig, network: Dvlt, device: torch.device, first: bool = True) -> None:
        data, shapes = config.data, config.shapes
        if data.windows_folder is None or data.features_folder is None or not data.synthetic_windows:
            raise ConfigError("data.features_folder needs data.windows_folder and data.synthetic_windows")
        if data.folder_share > 0 or shapes.aspect[0] != shapes.aspect[1] or shapes.portrait:
            raise ConfigError("data.features_folder takes synthetic windows of one size: no folders, one aspect")
        height, width = image_shape(shapes.image_size, shapes.aspect[0])
        spec = StoreSpec(data.stored_views, height, width, data.photos)
        if shapes.views[1] > spec.views:
            raise ConfigError(f"shapes.views asks for {shapes.views[1]} views, data.stored_views are {spec.views}")
        self.device, self.limit, self.prefer_far = device, data.synthetic_windows, data.prefer_far
        self.store = StoredWindows(data.windows_folder, spec)
        photometric = AugmentConfig() if data.augment else None
        self.cache = FeatureCache(data.features_folder, self.store, network, data.feature_variants, photometric)
        self.renderer: subprocess.Popen[bytes] | None = None
        if self.store.refresh(self.limit) == 0:
            list(self.store.render(range(FIRST_PIECES), None, None))
        if first and data.render_beside and self.store.refresh(self.limit) < self.limit:
            self.renderer = render_beside(self.store, self.limit, data.compile_renderer)
        self._batches = 0

    @property
    def grid(self) -> tuple[int, int]:
        return self.cache.grid

    def windows(self, seeds: Sequence[int], num_views: int) -> tuple[Views, Tensor]:
        """A batch (B, num_views, ...) without images, and its features (B, num_views, h*w, (taps + 1) * C)."""
        if self._batches % LOOK_EVERY == 0:
            self.store.refresh(self.limit)
            if not len(self.store):
                raise DataError(f"{self.store.folder}: no windows below data.synthetic_windows {self.limit}")
        self._batches += 1
        found = [self._window(np.random.default_rng(seed), num_views) for seed in seeds]
        views = concatenate([views for views, _ in found])
        return views.to(self.device), torch.cat([features for _, features in found]).to(self.device)

    def _window(self, rng: np.random.Generator, num_views: int) -> tuple[Views, Tensor]:
        index, variant = int(rng.integers(len(self.store))), int(rng.integers(self.cache.variants))
        order = rng.permutation(self.store.spec.views)
        if self.prefer_far and num_views == 2:
            order[1] = far_from(self.store.window(index, torch.arange(len(order)), images=False), int(order[0]), rng)
        return self.cache.window(index, variant, torch.from_numpy(order[:num_views].copy()))


def far_from(window: Views, view: int, rng: np.random.Generator) -> int:
    """Another view of a window (1, S, ...), the likelier the further its camera is away."""
    position = window.world_from_cam[0, :, :3, 3]
    distance = (position - position[view]).norm(dim=-1).double().numpy() + 1e-6
    distance[view] = 0.0
    return int(rng.choice(len(distance), p=distance / distance.sum()))
