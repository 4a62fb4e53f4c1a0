"""Where a run computes, and what it logs to."""

from __future__ import annotations

import torch
from accelerate import Accelerator
from accelerate.utils import ProjectConfiguration, is_wandb_available

from dvlt_ros.errors import ConfigError

from ..config import TrainConfig
from .forward import resolved_precision


def default_device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def make_accelerator(config: TrainConfig) -> Accelerator:
    if config.log_with == "wandb" and not is_wandb_available():  # accelerate would log nothing and say nothing
        raise ConfigError("log_with=wandb needs Weights & Biases: pip install 'wandb>=0.31,<0.32'")
    accelerator = Accelerator(
        cpu=not torch.accelerator.is_available(),  # unasked, processes on CPUs would not know of each other
        mixed_precision=resolved_precision(config.precision, default_device()),
        gradient_accumulation_steps=config.accumulation,
        log_with=None if config.log_with == "none" else config.log_with,
        project_config=ProjectConfiguration(project_dir=config.output, logging_dir=config.output),
        step_scheduler_with_optimizer=False,
    )
    if config.log_with != "none":
        accelerator.init_trackers("logs")
    return accelerator
