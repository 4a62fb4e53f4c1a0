"""The images that the tests of the player play."""

from __future__ import annotations

import numpy as np

HEIGHT, WIDTH = 48, 64
SECOND = 10**9


def picture(index: int) -> np.ndarray:
    return np.random.default_rng(index).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
