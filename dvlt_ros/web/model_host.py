"""One model at a time lives on the device."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable

import torch

from ..errors import InputError
from ..mapping.inference.config import ModelConfig
from ..mapping.inference.loading import load_predictor
from ..mapping.inference.prediction import Predictor
from .choices import parts
from .photos import Photos
from .reconstruction import reconstruct
from .scene import Scene

MAX_WAITING = 4  # reconstructions that wait for the device: each keeps a thread

Load = Callable[[ModelConfig], Predictor]


class ModelHost:
    """Loads a model when it is asked for, after the one before has left. Several threads may ask.

    Names are choices: a model's, and its weights if they are not its own (`choices.parts`).
    """

    def __init__(self, device: str, load: Load = load_predictor) -> None:
        """``device``: as the parameter model.device."""
        self._device = device
        self._load = load
        self._lock = threading.Lock()
        self._places = threading.Semaphore(1 + MAX_WAITING)
        self._steps: dict[str, tuple[int, int]] = {}  # of all that were here: who asks waits for no reconstruction
        self._name = ""
        self._predictor: Predictor | None = None

    def steps(self, name: str) -> tuple[int, int]:
        """Fewest and most steps of a model. Errors are those of `load_predictor`."""
        if name not in self._steps:
            with self._lock:
                predictor = self._resident(name)
                most = predictor.max_steps
                self._steps[name] = most if predictor.has_fixed_steps else predictor.min_steps, most
        return self._steps[name]

    def reconstruct(
        self, name: str, photos: Photos, reference: int = 0, num_steps: int | None = None, references: int = 1
    ) -> Scene:
        """One at a time; errors are those of `load_predictor` and `reconstruct`.

        Raises:
            InputError: too many wait already.
        """
        if not self._places.acquire(blocking=False):
            raise InputError(f"{MAX_WAITING} others wait for the device: please try again in a moment")
        try:
            with self._lock:
                return reconstruct(self._resident(name), name, photos, reference, num_steps, references)
        finally:
            self._places.release()

    @property
    def is_busy(self) -> bool:
        """Whether somebody loads or reconstructs, which cannot be interrupted."""
        return self._lock.locked()

    def _resident(self, name: str) -> Predictor:
        if self._predictor is None or self._name != name:
            self._predictor, self._name = None, ""
            gc.collect()
            if torch.cuda.is_initialized():
                torch.cuda.empty_cache()
            model, weights = parts(name)
            config = ModelConfig(name=model, weights=weights, device=self._device)
            self._predictor, self._name = self._load(config), name
        return self._predictor
