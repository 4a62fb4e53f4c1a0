"""What a window takes of the device's memory, predicted from the network's size, and what is free there."""

from __future__ import annotations

from pathlib import Path

import torch

from ...model import DvltConfig
from ...model.config import PATCH_SIZE
from .prediction import Predictor

# Bytes of a view, float32, on top of the weights. Each is a little above what `benchmarks/window_memory.py` measures.
PER_TOKEN_CHANNEL = 4 * 28  # tokens of the loop, and what attention and MLP make of them
PER_PIXEL = 4 * 14  # rays, depth, confidence and cameras, and copies of them
PER_PIXEL_CHANNEL = 18  # the convolutional depth head at its last stage
PER_PIXEL_OF_OTHERS = 2400  # of networks as large as VGGT, which publish 0.2 GB a view of 518 x 336 in half precision
SPECIAL_TOKENS = 6


def window_bytes(predictor: Predictor, height: int, width: int) -> int:
    """Predicted bytes of every view (pixels of the network) in a window, without the weights."""
    pixels = height * width
    model = getattr(predictor, "model", None)
    config = getattr(model, "config", None)
    if not isinstance(config, DvltConfig):
        return PER_PIXEL_OF_OTHERS * pixels
    tokens = pixels / PATCH_SIZE**2 + SPECIAL_TOKENS
    per_pixel = PER_PIXEL
    if config.depth_head_type == "conv":
        per_pixel += PER_PIXEL_CHANNEL * config.depth_head_channels[-1]
    return round(PER_TOKEN_CHANNEL * config.embed_dim * tokens + per_pixel * pixels)


def available_bytes(device: torch.device, limit_mb: int = 0) -> int | None:
    """What is free on the device; None: nobody tells.

    Args:
        limit_mb: ``model.max_gpu_memory_mb``; 0: none.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        reserved, allocated = torch.cuda.memory_reserved(device), torch.cuda.memory_allocated(device)
        free += reserved - allocated  # the allocator's own reserve
        return min(free, limit_mb * 2**20 - allocated) if limit_mb else free
    found = [value for value in (_of_machine(), _of_group()) if value is not None]
    return min(found, default=None)


def _of_machine() -> int | None:
    """Linux's own estimate of what can be had without swapping."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)


def _of_group(folder: Path = Path("/sys/fs/cgroup")) -> int | None:
    """What the container may still take (cgroup v2); None: it has no limit."""
    try:
        most, used = (folder / "memory.max").read_text().strip(), int((folder / "memory.current").read_text())
    except (OSError, ValueError):
        return None
    return None if most == "max" else max(0, int(most) - used)
