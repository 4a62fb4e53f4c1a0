"""Training windows from posed RGB-D sequences: a sampler's item in, one window out, whatever is bad.

A loader asks with the items of `BatchSampler` and joins the windows with `concatenate`; ground truth is in
metres and in the sequence's world until `normalize_views` has seen the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.utils.data import Dataset, get_worker_info

from dvlt_ros.errors import DataError, InputError

from ..batches.augment import ColourRule, DepthRule, change_colours, prepare_frames, stack_frames
from ..batches.mixture import mixture_set
from ..batches.sampling import Item, ViewRule, sample_views, with_retries
from .readers.layouts import open_dataset
from .sequence import RgbdSequence, require_frames
from .types import Views

if TYPE_CHECKING:
    from ..config import FolderSource

MAX_WORKERS = 256  # with counters of their own


@dataclass(frozen=True)
class Counts:
    """What a data set has given so far, over all loader workers."""

    windows: int
    refused: int  # windows tried in vain, each with a warning


class SequenceDataset(Dataset[Views]):
    """One data set: sequences that share the rules for views, depth and colour. Indexed by `Item`.

    A window that cannot be used (fewer frames than views, a bad image, depth in the wrong unit, ...) is
    replaced by another of the same data set with a warning; only when ten replacements fail too does the
    error come through.
    """

    def __init__(
        self,
        sequences: Sequence[RgbdSequence],
        image_size: int,
        views: ViewRule | None = None,
        depth: DepthRule | None = None,
        colour: ColourRule | None = None,
    ) -> None:
        """``image_size`` is the windows' longer edge in pixels; without ``colour`` the images stay as they are.

        Raises:
            DataError: no sequences.
        """
        if not sequences:
            raise DataError("a data set needs at least one sequence")
        self.sequences, self.image_size = list(sequences), image_size
        self.views, self.depth, self.colour = views or ViewRule(), depth or DepthRule(), colour
        # One row per process, in shared memory: nothing is lost when workers count at once.
        self._counts = torch.zeros(MAX_WORKERS + 1, 2, dtype=torch.int64).share_memory_()

    def __len__(self) -> int:
        return len(self.sequences)

    @property
    def num_images(self) -> int:
        return sum(len(sequence) for sequence in self.sequences)

    def counts(self) -> Counts:
        windows, refused = self._counts.sum(dim=0).tolist()
        return Counts(windows, refused)

    def __getitem__(self, item: Item) -> Views:
        """The item's window, as a batch of one. Equal items give equal windows.

        Raises:
            InputError: eleven windows in a row could not be used; it names the last cause.
        """
        rng, tries = item.rng, 0

        def load(index: int) -> Views:
            nonlocal tries
            tries += 1
            return self._window(self.sequences[index], item, rng)

        try:
            window = with_retries(load, item.sequence, len(self), rng)
        except InputError:
            self._count(windows=0, refused=tries)
            raise
        self._count(windows=1, refused=tries - 1)
        return window

    def _window(self, sequence: RgbdSequence, item: Item, rng: np.random.Generator) -> Views:
        require_frames(sequence, item.num_views)
        poses = torch.from_numpy(sequence.world_from_cam) if self.views.ranking == "pose" else None
        chosen = sample_views(self.views, item.num_views, len(sequence), rng, poses)
        read = {index: sequence.frame(index) for index in sorted(set(chosen.tolist()))}  # drawn with replacement
        height, width = item.shape(self.image_size)
        frames = prepare_frames([read[index] for index in chosen.tolist()], height, width, self.depth, rng)
        if self.colour is None:
            return stack_frames(frames, sequence.is_synthetic)
        images = np.stack([frame.image for frame in frames]).astype(np.float32) / 255
        return stack_frames(frames, sequence.is_synthetic, change_colours(images, self.colour, rng))

    def _count(self, windows: int, refused: int) -> None:
        worker = get_worker_info()
        row = MAX_WORKERS if worker is None else worker.id % MAX_WORKERS
        self._counts[row] += torch.tensor([windows, refused])


def open_recordings(
    folders: Sequence[FolderSource], image_size: int, colour: ColourRule | None = None
) -> list[SequenceDataset]:
    """The trainer's folders, each with its own rules for views and depth.

    Raises:
        DataError: a folder without a usable sequence.
        ConfigError: a folder is to be like a set that the published mixture does not have.
    """
    datasets = []
    for folder in folders:
        sequences = open_dataset(folder.path, folder.layout, frames=folder.frames, **folder.options)
        views, depth = ViewRule(ranking=folder.ranking, window_ratio=folder.window_ratio), DepthRule()
        if folder.like is not None:
            known = mixture_set(folder.like)
            views, depth = known.views, known.depth
        datasets.append(SequenceDataset(sequences, image_size, views, depth, colour))
    return datasets
