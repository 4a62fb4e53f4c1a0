"""One small network per layer that reads geometry from one patch token alone, trained on cached tokens.

So narrow a view must read what the layer knows; it cannot solve for it. LayerNorm, four layers with GELU, and a linear
one to the point map and confidence of the patch (Understanding Multi-View Transformers); the loss is that of DUSt3R:
the distance of points in the first view's frame, each side divided by its own mean distance, weighted by confidence.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from dvlt_ros.errors import ConfigError, WeightsError

HIDDEN_LAYERS = 4
CONFIDENCE_REWARD = 0.2  # of the logarithm of confidence
WINDOWS_PER_UPDATE = 8
PATCHES_PER_VIEW = 16  # drawn for each update, the same of every view
PIXELS_PER_PATCH = 49  # likewise; a patch has 196


class Probe(nn.Module):
    """Tokens (..., C) -> points (..., p * p, 3) in the first view's frame, in any unit, and confidence (..., p * p)."""

    def __init__(self, channels: int, patch_size: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.LayerNorm(channels)]
        for _ in range(HIDDEN_LAYERS):
            layers += [nn.Linear(channels, channels), nn.GELU()]
        self.layers = nn.Sequential(*layers, nn.Linear(channels, 4 * patch_size**2))

    def forward(self, tokens: Tensor, pixels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """``pixels``: indices of those that are wanted of every patch; None: all."""
        hidden, last = self.layers[:-1](tokens), cast(nn.Linear, self.layers[-1])
        weight, bias = last.weight.unflatten(0, (-1, 4)), last.bias.unflatten(0, (-1, 4))
        if pixels is not None:
            weight, bias = weight[pixels], bias[pixels]
        found = F.linear(hidden, weight.flatten(0, 1), bias.flatten()).unflatten(-1, (-1, 4))
        return found[..., :3], 1 + found[..., 3].clamp(max=15).exp()


@dataclass(frozen=True, eq=False)
class Truth:
    """Geometry of N windows of S views by patch: n patches of p * p pixels."""

    points: Tensor  # (N, S, n, p * p, 3), first camera's frame, the window's mean distance is 1
    valid: Tensor  # (N, S, n, p * p), bool


def by_patch(maps: Tensor, patch: int) -> Tensor:
    """Maps (..., H, W) -> (..., n, p * p), patches and pixels in row order."""
    height, width = maps.shape[-2] // patch, maps.shape[-1] // patch
    cut = maps.unflatten(-1, (width, patch)).unflatten(-3, (height, patch))  # (..., h, p, w, p)
    return cut.transpose(-3, -2).flatten(-2).flatten(-3, -2)


def as_maps(patches: Tensor, grid: tuple[int, int]) -> Tensor:
    """The way back: (..., n, p * p) -> (..., H, W)."""
    patch = round(patches.shape[-1] ** 0.5)
    cut = patches.unflatten(-2, grid).unflatten(-1, (patch, patch))  # (..., h, w, p, p)
    return cut.transpose(-3, -2).flatten(-2).flatten(-3, -2)


def probe_loss(points: Tensor, confidence: Tensor, truth: Truth) -> Tensor:
    """Of windows (N, S, n, p * p[, 3])."""
    error = (points / _unit(points, truth.valid) - truth.points / _unit(truth.points, truth.valid)).norm(dim=-1)
    value = confidence * error - CONFIDENCE_REWARD * confidence.log()
    return value[truth.valid].mean()


def _unit(points: Tensor, valid: Tensor) -> Tensor:
    """Mean distance of each window's valid points, (N, 1, 1, 1, 1)."""
    distance = (points.norm(dim=-1) * valid).flatten(1).sum(1)
    return (distance / valid.flatten(1).sum(1).clamp(min=1)).clamp(min=1e-3)[:, None, None, None, None]


def fit_probe(tokens: Tensor, truth: Truth, updates: int, seed: int = 0, learning_rate: float = 2e-3) -> Probe:
    """A probe of one layer, trained on its tokens (N, S, n, C) of N windows; ``seed`` decides weights and batches.

    Raises:
        ConfigError: no window to train on.
    """
    if not len(tokens):
        raise ConfigError("a probe needs at least one window to be trained on")
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        probe = Probe(tokens.shape[-1], round(truth.valid.shape[-1] ** 0.5)).to(tokens.device)
    optimizer = torch.optim.AdamW(probe.parameters(), learning_rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=updates + 1)
    for _ in range(updates):
        rows = torch.randperm(len(tokens), generator=generator)[:WINDOWS_PER_UPDATE]
        patches = torch.randperm(tokens.shape[2], generator=generator)[:PATCHES_PER_VIEW]
        pixels = torch.randperm(truth.valid.shape[-1], generator=generator)[:PIXELS_PER_PATCH]
        index = rows[:, None, None], slice(None), patches[:, None], pixels  # the slice, views, comes last
        part = Truth(truth.points[index].permute(0, 3, 1, 2, 4), truth.valid[index].permute(0, 3, 1, 2))
        if part.valid.any():
            points, confidence = probe(tokens[rows][:, :, patches], pixels)
            optimizer.zero_grad()
            probe_loss(points, confidence, part).backward()
            nn.utils.clip_grad_norm_(probe.parameters(), 1.0)
            optimizer.step()
        schedule.step()
    return probe.eval().requires_grad_(False)


@dataclass(frozen=True)
class Origin:
    """What probes belong to."""

    checkpoint: str  # SHA-256 of the file that was probed, or the model's name
    layers: tuple[str, ...]  # title of every layer, in order
    steps: int  # K
    settled_update: float | None = None  # see `settling.learn_threshold`


def save_probes(path: Path, probes: list[Probe], origin: Origin) -> None:
    """One safetensors file: ``LAYER.layers.N.weight``, with the origin as its metadata."""
    tensors = {f"{i}.{name}": value for i, probe in enumerate(probes) for name, value in probe.state_dict().items()}
    save_file(tensors, path, metadata={"origin": json.dumps(vars(origin))})


def load_probes(path: Path, checkpoint: str) -> tuple[list[Probe], Origin]:
    """Probes of this checkpoint.

    Raises:
        WeightsError: no such file, no probes in it, or those of another checkpoint.
    """
    try:
        with safe_open(path, "pt") as file:
            stated = json.loads((file.metadata() or {})["origin"])
            origin = Origin(**stated | {"layers": tuple(stated["layers"])})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dict
    except (OSError, SafetensorError) as cause:
        raise WeightsError(f"{path}: cannot be read: {cause}") from cause
    except (KeyError, TypeError, ValueError) as cause:
        raise WeightsError(f"{path}: no probes: its metadata do not say what they belong to") from cause
    if origin.checkpoint != checkpoint:
        raise WeightsError(
            f"{path}: probes of another checkpoint: they belong to {origin.checkpoint[:12]}, this is {checkpoint[:12]}"
        )
    probes = []
    for i in range(len(origin.layers)):
        own = {name.removeprefix(f"{i}."): value for name, value in tensors.items() if name.startswith(f"{i}.")}
        try:
            last = own[f"layers.{2 * HIDDEN_LAYERS + 1}.weight"]
            probe = Probe(last.shape[1], round((last.shape[0] / 4) ** 0.5))
            probe.load_state_dict(own)
        except (KeyError, RuntimeError) as cause:
            raise WeightsError(f"{path}: the probe of layer {i} is not whole") from cause
        probes.append(probe.eval().requires_grad_(False))
    return probes, origin
