"""An endless stream of training windows whose whole state is one integer."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from dvlt_ros.errors import ConfigError

from ..data.types import Views
from .atlas import Photos
from .config import SyntheticConfig
from .draw import mix64
from .render import BENCHMARK_SEED, render_views, sample_windows


class SyntheticStream:
    """Batches of training windows that never repeat; ranks take disjoint seeds.

    ``position`` counts the windows drawn by all ranks; setting it resumes the stream exactly.
    """

    def __init__(
        self,
        config: SyntheticConfig,
        batch: int,
        seed: int = 0,
        device: torch.device | str = "cpu",
        rank: int = 0,
        ranks: int = 1,
        atlas: Tensor | None = None,
        compiled: bool = False,
    ) -> None:
        """``batch`` windows per rank; ``atlas`` uint8 (N, 3, size, size); ``compiled`` for a GPU."""
        if config.split != "train":
            raise ConfigError(f"a stream draws from the train split, got {config.split!r}")
        if batch < 1 or not 0 <= rank < ranks:
            raise ConfigError(f"need batch >= 1 and 0 <= rank < ranks, got batch {batch}, rank {rank} of {ranks}")
        self.config, self.batch, self.device = config, batch, torch.device(device)
        self.rank, self.ranks, self.position = rank, ranks, 0
        self._seed = seed
        self._photos = None if atlas is None else Photos(atlas.to(device))
        self._render: Callable = compiled_renderer() if compiled else render_views

    def next(
        self, views: int | None = None, height: int | None = None, width: int | None = None, batch: int | None = None
    ) -> Views:
        """The next batch, with this step's number of views and image size (pixels)."""
        count = batch or self.batch
        first = self.position + self.rank * count
        size = (height or self.config.height, width or self.config.width)
        windows = sample_windows(
            self._seeds(first, count),
            self.config,
            self.device,
            views=views,
            size=size,
            photos=self._photos,
            render=self._render,
        )
        self.position += count * self.ranks
        return windows

    def __iter__(self) -> Iterator[Views]:
        while True:
            yield self.next()

    def state_dict(self) -> dict[str, int]:
        return {"position": self.position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.position = int(state["position"])

    def _seeds(self, first: int, count: int) -> list[int]:
        """Hashes of (stream seed, window number), in the range of the train split."""
        numbers = torch.arange(first, first + count, dtype=torch.int64)
        mixed = mix64(numbers ^ mix64(torch.full_like(numbers, self._seed)))
        return (mixed & (BENCHMARK_SEED - 1)).tolist()


def compiled_renderer() -> Callable:
    """`render_views` as one compiled graph per shape: every reduction over solids fused with its operands."""
    return torch.compile(render_views, dynamic=False)
