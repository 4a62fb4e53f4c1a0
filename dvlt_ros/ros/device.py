"""Weights onto the device, ready to run."""

from __future__ import annotations

import numpy as np
import torch

from ..checkpoints import EMBEDDED_WEIGHTS
from ..engine.config import ImageRotation
from ..engine.frames import Frame, Picture
from ..engine.predictor import DvltPredictor, choose_device
from ..engine.windows import View
from ..model import Dvlt
from .config import NodeConfig

WARM_UP_SIZE = (480, 640)  # height, width


def load_predictor(config: NodeConfig, image_rotation: ImageRotation) -> DvltPredictor:
    """The configured checkpoint on the configured device.

    Raises:
        ConfigError: no such device, a precision that it lacks, or a limit of memory that it cannot have.
        WeightsError: no such checkpoint.
    """
    device = choose_device(config.device)
    if config.max_gpu_memory_mb and device.type == "cuda":
        total = torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, config.max_gpu_memory_mb * 2**20 / total), device)
    model = Dvlt.from_pretrained(config.weights or EMBEDDED_WEIGHTS)
    return DvltPredictor(model, device, image_rotation, None if config.precision == "auto" else config.precision)


def warm_up(predictor: DvltPredictor, num_steps: int, image_size: int) -> None:
    """One small window of noise: kernels are chosen and memory is reserved before the first frame comes."""
    image = np.random.default_rng(0).integers(0, 255, (*WARM_UP_SIZE, 3), dtype=np.uint8)
    picture = Picture(image, None)
    frame = Frame(1, "warm_up", 0, lambda: picture)
    predictor.predict([View(-1, frame, picture), View(-2, frame, picture)], num_steps, image_size, [0, 1])
    predictor.reset()
