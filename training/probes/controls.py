"""What a probe must not find: the controls of a study."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from dvlt_ros.model import Dvlt

from ..data.types import Views
from .probe import Truth
from .subject import Subject


def untrained(subject: Subject) -> Subject | None:
    """The same encoder before a loop of fresh weights; None: this model has no loop."""
    if subject.looped is None:
        return None
    twin = copy.deepcopy(subject.model)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        fresh = Dvlt(subject.looped.config).recurrent_blocks
    twin.network.recurrent_blocks.load_state_dict(fresh.state_dict())  # type: ignore[attr-defined]
    return replace(subject, model=twin)


def mixed_scenes(windows: Sequence[Views]) -> list[Views]:
    """Every window's first view beside the other views of the window before it, as if they were of one scene."""
    mixed = []
    for i, views in enumerate(windows):
        images = torch.cat([views.images[:, :1], windows[i - 1].images[:, 1:]], dim=1)
        mixed.append(replace(views, images=images))
    return mixed


def chance_points(learnt: Truth, truth: Truth) -> Tensor:
    """The mean point map of the training windows, as an answer (N, S, n, p * p, 3) to every window."""
    total = (learnt.points * learnt.valid.unsqueeze(-1)).sum((0, 1))
    mean = total / learnt.valid.sum((0, 1)).clamp(min=1).unsqueeze(-1)
    return mean.expand_as(truth.points)
