"""Batches for one process: synthetic scenes rendered where the model is, recordings loaded beside it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dvlt_ros.model import DvltConfig

from ..config import TrainConfig
from ..data.dataset import SequenceDataset, open_recordings
from ..data.types import Views, concatenate
from .augment import ColourRule
from .frozen import FrozenWindows
from .kept import KeptWindows
from .mixture import shares
from .rendering import SyntheticWindows
from .sampling import BatchSampler, Item, sample_num_steps

SYNTHETIC_SEQUENCES = 1000  # of the endless source, as far as the sampler counts


@dataclass(frozen=True)
class Batch:
    index: int  # counts from 0, also across a resume
    views: Views  # without images where there are features
    num_steps: int  # K
    frozen: Tensor | None = None  # (B, S, h*w, (taps + 1) * C), what a frozen encoder says of the images


class Batches(Iterator[Batch]):
    """Endless; everything in a batch follows from (seed, index, process). Call `commit` once it was trained on."""

    def __init__(
        self,
        config: TrainConfig,
        model: DvltConfig,
        device: torch.device,
        rank: int,
        world_size: int,
        frozen: FrozenWindows | None = None,
    ) -> None:
        self.seed, self.model, self.device, self.frozen = config.seed, model, device, frozen
        self.image_size = config.shapes.image_size
        in_folder = config.data.windows_folder is not None and frozen is None
        kept = KeptWindows(config, rank == 0) if in_folder else None
        self.synthetic = SyntheticWindows(config.data, config.shapes.views[1], device, rank, world_size, kept)
        self.recordings: list[SequenceDataset] = []
        lengths, drawn = [SYNTHETIC_SEQUENCES], [config.data.synthetic_share]
        if config.data.folder_share > 0:
            colour = ColourRule() if config.data.augment else None
            self.recordings = open_recordings(config.data.folders, self.image_size, colour)
            lengths += [len(recording) for recording in self.recordings]
            images = [recording.num_images for recording in self.recordings]
            drawn += list(config.data.folder_share * shares(images, config.data.temperature))
        repeats = [share / length for share, length in zip(drawn, lengths, strict=True)]
        self.sampler = BatchSampler(config.shapes, lengths, repeats, config.seed, rank, world_size)
        self.workers = config.data.workers
        self.index = 0
        self._loaded: Iterator[list[Item | Views]] | None = None

    def __next__(self) -> Batch:
        if self._loaded is None:  # here, so that a restored state counts
            self._loaded = iter(
                DataLoader(
                    _Recorded(self.recordings), batch_sampler=self.sampler, num_workers=self.workers, collate_fn=list
                )
            )
        entries = next(self._loaded)
        low, high = self.model.min_steps, self.model.num_steps
        num_steps = sample_num_steps(self.seed, self.index, low, high)
        if self.frozen is not None:
            items = [entry for entry in entries if isinstance(entry, Item)]
            views, features = self.frozen.windows([item.seed for item in items], items[0].num_views)
            return Batch(self.index, views, num_steps, features)
        rendered = iter(self._render([entry for entry in entries if isinstance(entry, Item)]))
        windows = [next(rendered) if isinstance(entry, Item) else entry.to(self.device) for entry in entries]
        return Batch(self.index, concatenate(windows), num_steps)

    def commit(self) -> None:
        self.sampler.commit()
        self.index += 1

    def state_dict(self) -> dict[str, Any]:
        return {"index": self.index, "sampler": self.sampler.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.index = state["index"]
        self.sampler.load_state_dict(state["sampler"])
        self._loaded = None

    def _render(self, items: list[Item]) -> list[Views]:
        """One window (1, S, ...) per item; all items of a batch have one shape."""
        if not items:
            return []
        size = items[0].shape(self.image_size)
        return self.synthetic.windows([item.seed for item in items], items[0].num_views, size)


class _Recorded(Dataset):
    """Windows of recordings, sources from 1; items of the synthetic source 0 pass through to be rendered later."""

    def __init__(self, recordings: list[SequenceDataset]) -> None:
        self.recordings = recordings

    def __getitem__(self, item: Item) -> Item | Views:
        return item if item.source == 0 else self.recordings[item.source - 1][item]
