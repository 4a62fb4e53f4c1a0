"""How photos become windows: all of them in one where the memory allows it, else in windows that overlap."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import replace

from ..mapping.budget.config import WindowConfig
from ..mapping.config import MapperConfig
from ..mapping.inference.memory import available_bytes, window_bytes
from ..mapping.inference.prediction import Predictor

MOST_TOGETHER = 256  # views of one window, as many as window.size can be
SHARED = 0.25  # part of a window that the window before had too, where there are several
USED_SHARE = 0.8  # of the memory that is free
MIN_WINDOW = 8  # views; smaller windows are left to the mapper, which makes them when memory runs out


def for_photos(
    config: MapperConfig, predictor: Predictor, num_photos: int, size: tuple[int, int], asked: Collection[str] = ()
) -> tuple[MapperConfig, str]:
    """The configuration for photos of one scene, and a sentence where they do not fit into one window.

    Every photo counts: none is passed over because it looks like the one before.

    Args:
        size: (height, width) of the photos, which tells the shape of the network's images.
        asked: names of parameters that somebody has set; those stay as they are.
    """
    every = {"min_interval_s": 0.0, "min_change": 0.0}
    free = {name: value for name, value in every.items() if f"keyframes.{name}" not in asked}
    config = replace(config, keyframes=replace(config.keyframes, **free))
    if "window.size" in asked or "window.overlap" in asked:
        return config, ""
    room = most_views(config, predictor, size)
    most = min(MOST_TOGETHER, room)
    together = max(2, num_photos)
    if together <= most:
        overlap = min(WindowConfig().overlap, together - 1)
        return replace(config, window=replace(config.window, size=together, overlap=overlap)), ""
    overlap = max(1, min(most - 1, max(WindowConfig().overlap, round(SHARED * most))))
    count = 1 + math.ceil((num_photos - most) / (most - overlap))
    even = math.ceil((num_photos + (count - 1) * overlap) / count)  # windows of equal size
    reason = f"memory is predicted to hold {room} views" if room <= MOST_TOGETHER else f"{MOST_TOGETHER} is the most"
    said = f"{num_photos} photos are seen in {count} windows of {even} that share {overlap} ({reason})"
    return replace(config, window=replace(config.window, size=even, overlap=overlap)), said


def most_views(config: MapperConfig, predictor: Predictor, size: tuple[int, int]) -> int:
    """How many views of this shape fit into the memory of the predictor's device, as far as can be predicted."""
    edge = config.model.image_size or predictor.image_size
    height, width = (edge * side / max(size) for side in size)
    per_view = window_bytes(predictor, round(height), round(width))
    free = available_bytes(predictor.device, config.model.max_gpu_memory_mb)
    if free is None:
        return MOST_TOGETHER
    return max(MIN_WINDOW, int(USED_SHARE * free / per_view))
