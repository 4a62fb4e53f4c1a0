"""The stored windows of a run: rendered once into a folder, by a second process while training goes on."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from dvlt_ros.errors import ConfigError, DataError

from ..config import TrainConfig
from ..data.types import Views
from .sampling import image_shape
from .stored import StoredWindows, StoreSpec, render_beside

LOOK_EVERY = 50  # batches between checks for windows that were rendered meanwhile
FIRST_PIECES = 1  # rendered here when the folder is empty


class KeptWindows:
    """Windows of ``data.windows_folder``, drawn by seed with some of their views.

    While a second process renders, a seed stands for one of the windows that are there: such a run is not repeated
    bit by bit. Once all are there, it is.

    Raises:
        ConfigError: images of several sizes, more views than are stored, or no number of windows.
        DataError: a folder with other windows.
    """

    def __init__(self, config: TrainConfig, first: bool = True) -> None:
        """``first``: this process sees to it that missing windows are rendered."""
        data, shapes = config.data, config.shapes
        if data.windows_folder is None or not data.synthetic_windows:
            raise ConfigError("windows are kept with data.windows_folder and data.synthetic_windows, both")
        if shapes.aspect[0] != shapes.aspect[1] or shapes.portrait:
            raise ConfigError("data.windows_folder keeps windows of one size: shapes.aspect must name one, no portrait")
        height, width = image_shape(shapes.image_size, shapes.aspect[0])
        spec = StoreSpec(data.stored_views, height, width, data.photos)
        if shapes.views[1] > spec.views:
            raise ConfigError(f"shapes.views asks for {shapes.views[1]} views, data.stored_views are {spec.views}")
        self.store = StoredWindows(data.windows_folder, spec)
        self._limit, self._prefer_far = data.synthetic_windows, data.prefer_far
        self._batches = 0
        if self.store.refresh(self._limit) == 0:
            list(self.store.render(range(FIRST_PIECES), None, None))
        if first and data.render_beside and self.store.refresh(self._limit) < self._limit:
            render_beside(self.store, self._limit, data.compile_renderer)

    def look_again(self) -> None:
        """Once for every batch: some time later, windows that were rendered meanwhile are drawn, too."""
        if self._batches % LOOK_EVERY == 0 and not self.store.refresh(self._limit):
            raise DataError(f"{self.store.folder}: no windows below data.synthetic_windows {self._limit}")
        self._batches += 1

    def draw(self, rng: np.random.Generator, num_views: int) -> tuple[int, Tensor]:
        """The index of a window and ``num_views`` of its views."""
        index, order = int(rng.integers(len(self.store))), rng.permutation(self.store.spec.views)
        if self._prefer_far and num_views == 2:
            order[1] = far_from(self.store.window(index, torch.arange(len(order)), images=False), int(order[0]), rng)
        return index, torch.from_numpy(order[:num_views].copy())


def far_from(window: Views, view: int, rng: np.random.Generator) -> int:
    """Another view of a window (1, S, ...), the likelier the further its camera is away."""
    position = window.world_from_cam[0, :, :3, 3]
    distance = (position - position[view]).norm(dim=-1).double().numpy() + 1e-6
    distance[view] = 0.0
    return int(rng.choice(len(distance), p=distance / distance.sum()))
