"""Synthetic windows for training: rendered anew for every use, or kept in memory or a folder, and varied."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from dvlt_ros.errors import ConfigError

from ..config import Data
from ..data.types import Views, concatenate
from ..synthetic import (
    BENCHMARK_SEED,
    AugmentConfig,
    Photos,
    SyntheticConfig,
    augment,
    compiled_renderer,
    load_atlas,
    sample_windows,
)
from .kept import KeptWindows

Size = tuple[int, int]  # (height, width)

RENDERED_AT_ONCE = 8  # windows; a compiled renderer is compiled for this number alone
TRAINING_SEEDS = BENCHMARK_SEED - 2**21  # validation and the frozen benchmark have the seeds above
PER_VIEW = ("images", "world_from_cam", "intrinsics", "depth", "valid")


class SyntheticWindows:
    """Windows of synthetic scenes by seed: endless, or a fixed number of scenes that are rendered once and kept.

    A kept window has the most views that training asks for; each use takes some of them in a new order, perhaps
    mirrored, with new photometric augmentation. That serves wherever rendering costs more than learning. Every
    process keeps windows of its own, as many in all as were asked for; windows of a folder are everyone's.

    Raises:
        ConfigError: fewer windows to keep than processes.
    """

    def __init__(
        self,
        data: Data,
        most_views: int,
        device: torch.device,
        rank: int = 0,
        world_size: int = 1,
        folder: KeptWindows | None = None,
    ) -> None:
        self.most_views, self.device, self.folder = most_views, device, folder
        self.own_seeds = range(rank, data.synthetic_windows or 0, world_size)
        if data.synthetic_windows and not self.own_seeds:
            wanted = f"at least the number of processes, {world_size}"
            raise ConfigError(f"data.synthetic_windows must be {wanted}, got {data.synthetic_windows}")
        self.photometric = AugmentConfig() if data.augment else None
        self.render = compiled_renderer() if data.compile_renderer else None
        self.photos = Photos(load_atlas(data.photos).to(device)) if data.photos else None
        self._kept: dict[Size, _Kept] = {}

    def windows(self, seeds: Sequence[int], num_views: int, size: Size) -> list[Views]:
        """One window (1, num_views, ...) per seed."""
        if self.folder is not None:
            views = self._stored(self.folder, seeds, num_views)
        elif self.own_seeds:
            views = self._remembered(seeds, num_views, size)
        else:
            views = self._rendered([seed % TRAINING_SEEDS for seed in seeds], num_views, size, self.photometric)
        return [views[i : i + 1] for i in range(len(seeds))]

    def _rendered(self, seeds: Sequence[int], num_views: int, size: Size, photometric: AugmentConfig | None) -> Views:
        """Windows (B, num_views, ...), in chunks; a compiled renderer gets whole ones, filled up with the last seed."""
        missing = -len(seeds) % RENDERED_AT_ONCE if self.render is not None else 0
        padded = [*seeds, *[seeds[-1]] * missing]
        config = SyntheticConfig(augment=photometric)
        chunks = [
            sample_windows(
                padded[i : i + RENDERED_AT_ONCE], config, self.device, None, num_views, size, self.photos, self.render
            )
            for i in range(0, len(padded), RENDERED_AT_ONCE)
        ]
        return concatenate(chunks)[: len(seeds)]

    def _stored(self, folder: KeptWindows, seeds: Sequence[int], num_views: int) -> Views:
        folder.look_again()
        draws = [np.random.default_rng(seed) for seed in seeds]
        drawn = [folder.store.window(*folder.draw(rng, num_views)) for rng in draws]
        return self._varied(concatenate(drawn).to(self.device), seeds, draws)

    def _remembered(self, seeds: Sequence[int], num_views: int, size: Size) -> Views:
        if size not in self._kept:
            self._kept[size] = _Kept(len(self.own_seeds))
        kept = self._kept[size]
        indices = [seed % len(self.own_seeds) for seed in seeds]
        missing = sorted({i for i in indices if i not in kept})
        if missing:
            if self.render is not None:  # it makes whole chunks: what is needed next rather than one window twice
                missing += kept.missing(-len(missing) % RENDERED_AT_ONCE, besides=set(missing))
            kept.add(missing, self._rendered([self.own_seeds[i] for i in missing], self.most_views, size, None))
        draws = [np.random.default_rng(seed) for seed in seeds]
        order = np.stack([rng.permutation(self.most_views)[:num_views] for rng in draws])
        return self._varied(kept.select(indices, order), seeds, draws)

    def _varied(self, views: Views, seeds: Sequence[int], draws: Sequence[np.random.Generator]) -> Views:
        """Windows that are used again, perhaps mirrored, with new photometric augmentation."""
        if self.photometric is None:
            return views
        mirrored = torch.tensor([rng.random() < 0.5 for rng in draws], device=self.device)
        views = mirror(views, mirrored)
        images = augment(views.images, torch.tensor(list(seeds), device=self.device), self.photometric)
        return replace(views, images=images)


class _Kept:
    """Windows that were rendered, on the device, with 8-bit images; each in its row once it is there."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._there: set[int] = set()
        self._rows: dict[str, Tensor] = {}

    def __contains__(self, index: int) -> bool:
        return index in self._there

    def missing(self, count: int, besides: set[int]) -> list[int]:
        """At most ``count`` windows that are not there yet."""
        return list(islice((i for i in range(self.count) if i not in self._there and i not in besides), count))

    def add(self, indices: list[int], windows: Views) -> None:
        for name in PER_VIEW:
            value = getattr(windows, name)
            value = (255 * value).round().to(torch.uint8) if name == "images" else value
            if name not in self._rows:
                self._rows[name] = value.new_empty(self.count, *value.shape[1:])
            self._rows[name][indices] = value
        self._there.update(indices)

    def select(self, indices: list[int], order: np.ndarray) -> Views:
        """Views ``order`` (B, S) of the windows ``indices`` (B,)."""
        device = self._rows["images"].device
        rows, columns = torch.tensor(indices, device=device)[:, None], torch.from_numpy(order).to(device)
        chosen = {name: stored[rows, columns] for name, stored in self._rows.items()}
        chosen["images"] = chosen["images"].float() / 255
        return Views(**chosen, is_synthetic=torch.ones(len(indices), dtype=torch.bool, device=device))


def mirror(views: Views, which: Tensor) -> Views:
    """The windows of ``which`` (B,), bool, as seen in a mirror: right and left of images and of the world change."""
    flipped = {name: getattr(views, name).flip(-1) for name in ("images", "depth", "valid")}
    sign = torch.tensor([-1.0, 1, 1, 1], device=which.device)
    flipped["world_from_cam"] = sign[:, None] * views.world_from_cam * sign
    flipped["intrinsics"] = views.intrinsics.clone()
    flipped["intrinsics"][..., 0, 2] = views.images.shape[-1] - views.intrinsics[..., 0, 2]
    choose = lambda new, old: torch.where(which.view(-1, *[1] * (old.dim() - 1)), new, old)  # noqa: E731
    return replace(views, **{name: choose(value, getattr(views, name)) for name, value in flipped.items()})
