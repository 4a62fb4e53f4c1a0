"""What is probed: a model behind the protocol of all, its modules to tap, and windows with ground truth."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dvlt_ros.backends import DEFAULT_MODEL, MultiViewModel, load_model
from dvlt_ros.errors import ConfigError, InputError
from dvlt_ros.model import Dvlt
from dvlt_ros.model.weights import digest_of

from ..data.types import Views
from ..evaluation.candidates import Candidate
from .taps import PATTERNS, Layer, Taps

MEMORY_SHARE = 0.8  # of the free memory that cached tokens may take


@dataclass(frozen=True, eq=False)
class Subject:
    """A loaded model and how to tap it."""

    label: str
    digest: str  # of the checkpoint; the label where weights are somebody else's
    model: MultiViewModel
    patterns: tuple[str, ...]  # of module names; outputs of the last one are the layers, the others lie between
    image_size: int
    patch_size: int
    num_steps: int  # K; 1 without a loop

    @classmethod
    def load(cls, text: str, device: torch.device, patterns: Sequence[str] = ()) -> Subject:
        """``text`` as `Candidate.parse` takes it.

        Raises:
            ConfigError: a model whose layers are not known, and no ``patterns``.
            WeightsError: no such checkpoint.
        """
        candidate = Candidate.parse(text)
        known = tuple(patterns) or PATTERNS.get(candidate.model, ())
        if not known:
            raise ConfigError(f"{candidate.model}: which modules are its layers is not known; name them with --taps")
        model = load_model(candidate.model, candidate.weights, device)
        digest = digest_of(candidate.weights) if candidate.has_loop else candidate.label
        return cls(text, digest, model, known, candidate.image_size, candidate.patch_size, candidate.num_steps)

    @property
    def network(self) -> nn.Module:
        """Whose modules are tapped."""
        network = getattr(self.model, "network", None)
        if not isinstance(network, nn.Module):
            raise ConfigError(f"{self.label} does not expose a network whose modules can be tapped")
        return network

    @property
    def looped(self) -> Dvlt | None:
        """The network whose states decoders can read at every step; None: this model's cannot be read so."""
        network = self.network
        return network if isinstance(network, Dvlt) and self.model.card.name == DEFAULT_MODEL else None

    def layers(self, images: Tensor, steps: int) -> list[Layer]:
        """Tokens of one window (S, 3, H, W) after every layer of a K-step pass."""
        height, width = images.shape[-2:]
        with Taps(self.network, self.patterns) as taps:
            self.model.predict(images, steps)
        return taps.layers(len(images), (height // self.patch_size, width // self.patch_size))


@dataclass(frozen=True, eq=False)
class Cache:
    """Tokens of N windows at every layer."""

    titles: tuple[str, ...]  # "0" before the first layer, "3" after the third, "3 frame_attn" within it
    tokens: tuple[Tensor, ...]  # (N, S, n, C) of each, float32 on the CPU

    @property
    def main(self) -> list[int]:
        """Indices of whole layers, the start included."""
        return [i for i, title in enumerate(self.titles) if title.isdecimal()]


def cache_tokens(subject: Subject, windows: Sequence[Views], steps: int) -> Cache:
    """Of every window (1, S, ...).

    Raises:
        InputError: they would not fit into the memory.
    """
    kept: list[list[Tensor]] = []
    _check_memory(subject, windows, steps)
    for views in windows:
        layers = subject.layers(views.images[0], steps)
        kept.append([layer.tokens.to("cpu", torch.float32, copy=True) for layer in layers])
    stacked = tuple(torch.cat(tokens) for tokens in zip(*kept, strict=True))
    return Cache(_titles(layers, subject.patterns), stacked)


def _titles(layers: Sequence[Layer], patterns: Sequence[str]) -> tuple[str, ...]:
    whole = patterns[-1].rstrip(".*").split(".")[-1]
    titles, count = [], 0
    for layer in layers:
        kind = [part for part in layer.module.split(".") if not part.isdecimal()][-1]
        if not layer.module:
            titles.append("0")
        elif kind == whole:
            count += 1
            titles.append(str(count))
        else:
            titles.append(f"{count + 1} {kind}")
    return tuple(titles)


def _check_memory(subject: Subject, windows: Sequence[Views], steps: int) -> None:
    """Before a pass of K steps: of one that is no longer than the model's own."""
    taken = min(steps, subject.num_steps)
    layers = subject.layers(windows[0].images[0], taken)
    needed = len(windows) * sum(4 * layer.tokens.numel() for layer in layers) * steps // taken
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if 2 * needed > MEMORY_SHARE * free:  # once in pieces, once joined
        raise InputError(
            f"tokens of {len(windows)} windows at all layers of K = {steps} take {2 * needed / 2**30:.1f} GiB, "
            f"{free / 2**30:.1f} GiB are free: fewer --windows, or a smaller --steps"
        )
