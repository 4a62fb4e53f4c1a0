"""A head start for descriptors: they learn to find patches again before the rest learns to use what they find."""

from __future__ import annotations

import logging
import math
from typing import cast

import numpy as np
import torch

from dvlt_ros.model import Dvlt, Features

from ..batches.frozen import FrozenWindows
from ..losses.matching import correlation_error

LEARNING_RATE = 3e-3  # of a linear layer on frozen features
PAIRS = 12  # per update
LOG_EVERY = 50

logger = logging.getLogger(__name__)


def start_descriptors(network: Dvlt, windows: FrozenWindows, updates: int, seed: int) -> list[float]:
    """Train descriptors and their correlation alone on pairs of views; their errors, update by update, in nats."""
    correlation = network.correlation
    if correlation is None or not updates:
        return []
    encoder = network.patch_embed_encoder
    layer = cast(torch.nn.Linear, encoder.descriptors)
    parameters = [*layer.parameters(), correlation.log_sharpness, correlation.nowhere]
    optimizer = torch.optim.AdamW(parameters, lr=LEARNING_RATE, weight_decay=0.02)
    errors: list[float] = []
    for update in range(updates):
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * 0.5 * (1 + math.cos(math.pi * update / updates))
        seeds = np.random.default_rng([seed, update]).integers(2**63, size=PAIRS).tolist()
        views, frozen = windows.windows(seeds, 2)
        features = Features(encoder.readout(frozen), windows.grid)
        error = correlation_error(correlation, features, views)
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
        errors.append(error.item())
        if (update + 1) % LOG_EVERY == 0:
            logger.info("descriptors, update %d: %.3f nats", update + 1, sum(errors[-LOG_EVERY:]) / LOG_EVERY)
    for parameter in parameters:
        parameter.grad = None
    return errors
