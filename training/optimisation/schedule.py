"""The learning rate of every update: a warm-up, then a cosine over the steps or over the time that a run has."""

from __future__ import annotations

import math

import torch
from torch.optim.lr_scheduler import LambdaLR

from ..config import Optimizer, TrainConfig
from .state import Progress


def make_scheduler(optimizer: torch.optim.Optimizer, config: TrainConfig, progress: Progress) -> LambdaLR:
    def factor(step: int) -> float:
        return learning_rate_factor(step, config.optimizer, config.schedule, progress.spent(config.total_minutes))

    return LambdaLR(optimizer, factor)


def learning_rate_factor(step: int, config: Optimizer, total_steps: int, spent: float = 0.0) -> float:
    """Linear warm-up, then a cosine from 1 to ``final_factor``, over the steps or the share of time ``spent``.

    Whichever is further along: a run that has to end by the clock ends with the learning rate of an end.
    """
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    done = max((step - config.warmup_steps) / max(1, total_steps - config.warmup_steps), spent)
    return config.final_factor + (1 - config.final_factor) * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
