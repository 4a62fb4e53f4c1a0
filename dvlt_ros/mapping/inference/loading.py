"""Loads a model by its name as a `Predictor`."""

from __future__ import annotations

from pathlib import Path

import torch

from ...backends import DEFAULT_MODEL, load_model
from ...errors import ConfigError
from ...fast.choice import choose_precision
from ...model import Dvlt
from ...runtimes import OnnxDvlt
from .config import ModelConfig
from .dvlt_predictor import DvltPredictor, choose_device
from .model_predictor import WindowPredictor
from .prediction import Predictor


def load_predictor(config: ModelConfig) -> Predictor:
    """The model on its device, within the memory that it may take there.

    Raises:
        ConfigError: no such model or device, its package is not installed, it knows no ``precision``, or a limit of
            memory that the device cannot have.
        WeightsError: no such weights, or they do not fit.
    """
    precision = None if config.precision == "auto" else config.precision
    if precision is not None and config.name != DEFAULT_MODEL:
        raise ConfigError(f"model.precision is for {DEFAULT_MODEL}; {config.name} has its own, got {precision!r}")
    if config.runtime != "torch" and config.name != DEFAULT_MODEL:
        raise ConfigError(f"model.runtime {config.runtime} is for {DEFAULT_MODEL}, got model.name {config.name}")
    device = choose_device(config.device)
    if config.max_gpu_memory_mb and device.type == "cuda":
        total = torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, config.max_gpu_memory_mb * 2**20 / total), device)
    if config.runtime != "torch":
        graphs = OnnxDvlt(Path(config.weights), device, config.runtime)
        return DvltPredictor(graphs, device, settled_update=config.settled_update)
    if config.name == DEFAULT_MODEL:
        network, reason = Dvlt.from_pretrained(config.weights or None), ""
        if precision is None and device.type == "cpu":
            choice = choose_precision()
            precision, reason = choice.precision, choice.reason
        return DvltPredictor(network, device, precision, config.weights, reason, config.settled_update)
    return WindowPredictor(load_model(config.name, config.weights, device))
