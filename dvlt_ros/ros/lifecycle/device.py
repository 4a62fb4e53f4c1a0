"""Weights onto the device, ready to run."""

from __future__ import annotations

import torch

from ...mapping.config import ImageRotation
from ...mapping.inference.dvlt_predictor import choose_device
from ...mapping.inference.loading import load_predictor as load
from ...mapping.inference.prediction import Predictor
from ..config import NodeConfig


def load_predictor(config: NodeConfig, image_rotation: ImageRotation) -> Predictor:
    """The configured model on the configured device.

    Raises:
        ConfigError: no such device, a model that is not installed, a precision that they lack, or a limit of memory
            that the device cannot have.
        WeightsError: no such checkpoint.
    """
    device = choose_device(config.device)
    if config.max_gpu_memory_mb and device.type == "cuda":
        total = torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, config.max_gpu_memory_mb * 2**20 / total), device)
    precision = None if config.precision == "auto" else config.precision
    return load(config.model, config.weights, device, image_rotation, precision, config.merged_keys)
