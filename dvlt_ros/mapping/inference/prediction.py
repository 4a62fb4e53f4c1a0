"""What the engine asks of a network, whichever it is, and what it gets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch

from ...errors import DvltError
from ...model import PixelMapping
from ..data.views import View


class DeviceMemoryError(DvltError):
    """The device has no room for a window of this size."""


@dataclass(frozen=True, eq=False)
class WindowPrediction:
    """The decoded views of a window, on the CPU, in the cameras' own orientation, up to one scale per window."""

    depth: np.ndarray  # (D, h, w) float32, along the optical axis
    confidence: np.ndarray  # (D, h, w) float32, from 1 upwards
    window_from_cam: np.ndarray  # (D, 4, 4) float64; NaN where no camera explains the rays
    intrinsics: np.ndarray  # (D, 3, 3) float64, pixels of the maps
    mapping: PixelMapping  # from the pictures' pixels to those of the maps


class Predictor(Protocol):
    """A network that sees windows of one stream."""

    @property
    def device(self) -> torch.device: ...

    @property
    def min_steps(self) -> int:
        """Fewest steps of the loop; 1 without one."""

    @property
    def max_steps(self) -> int:
        """Most steps of the loop; 1 without one."""

    @property
    def has_fixed_steps(self) -> bool:
        """Whether ``max_steps`` is the only number of steps there is."""

    @property
    def image_size(self) -> int:
        """Longest edge in pixels that the weights are meant for, a multiple of 14."""

    def reset(self) -> None:
        """Forgets the stream: another camera, or another place."""

    def predict(
        self, views: Sequence[View], num_steps: int, image_size: int, decoded: Sequence[int]
    ) -> WindowPrediction:
        """Views of one size through K steps; ``decoded`` are the indices of the views that are needed.

        Raises:
            DeviceMemoryError: the device has no room for it; the views can be tried again, fewer or smaller.
        """
        ...


@runtime_checkable
class PlaceRecognizer(Predictor, Protocol):
    """A network that recognises places, too."""

    @property
    def checkpoint(self) -> str:
        """Digest of the weights: descriptors of another checkpoint cannot be compared."""

    def describe(self, view: View, image_size: int) -> np.ndarray:
        """(cells, channels) float32 of a view of the latest window: what `places` compares."""

    def predict_apart(self, views: Sequence[View], num_steps: int, image_size: int) -> WindowPrediction:
        """All of views that are not the stream's: what is kept for its next window stays.

        Raises:
            DeviceMemoryError: the device has no room for it.
        """


@runtime_checkable
class Preparable(Predictor, Protocol):
    """A network that has something to choose or to compile for a shape."""

    def prepare(self, views: Sequence[View], image_size: int) -> None:
        """Ahead of windows of as many views as these and of their size, so that none of them waits for it."""


def predict_within_memory(
    predict: Callable[[], WindowPrediction], release: Callable[[], None], device: torch.device, what: str
) -> WindowPrediction:
    """``release`` gives back what is kept on the device should there be no room for ``what``.

    Raises:
        DeviceMemoryError: there was none.
    """
    try:
        return predict()
    except (torch.OutOfMemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        release()
        message = f"no memory for {what}: {str(error).splitlines()[0]}"
    if device.type == "cuda":
        torch.cuda.empty_cache()  # outside of the handler, whose traceback holds tensors
    raise DeviceMemoryError(message)


def is_out_of_memory(error: Exception) -> bool:
    """CUDA has a class for it, the CPU's allocator only a text."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
