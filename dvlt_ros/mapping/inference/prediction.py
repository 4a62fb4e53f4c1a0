"""The interface between the mapping and any network: `Predictor` and `WindowPrediction`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch

from ...errors import DvltError
from ...model import PixelMapping
from ...refinement import Landmarks, MotionDeviation
from ..data.views import View


class DeviceMemoryError(DvltError):
    """The device has not enough memory for a window of this size."""


@dataclass(frozen=True, eq=False)
class WindowPrediction:
    """The D decoded views of a window, on the CPU, of turned cameras, up to one scale per window."""

    depth: np.ndarray  # (D, h, w) float32, along the optical axis
    confidence: np.ndarray  # (D, h, w) float32, from 1 upwards
    window_from_cam: np.ndarray  # (D, 4, 4) float64, rigid; NaN where no camera fits the rays
    intrinsics: np.ndarray  # (D, 3, 3) float64, pixels of the maps
    mapping: PixelMapping  # from the pictures' pixels to those of the maps
    landmarks: tuple[Landmarks, ...] = ()  # of each view, where the window was refined; empty: it was not
    motion: MotionDeviation | None = None  # of the newest view, since the last shared one, else since the first
    hidden: np.ndarray | None = None  # (D, h, w) float32: depth of what is masked, NaN elsewhere; None: nothing is
    grays: tuple[np.ndarray, ...] = ()  # (h, w) float32 images, 0 to 1, of views with patch artifacts; empty: none have
    num_steps: int | None = None  # of the loop that were taken; None: as many as were asked for


class Predictor(Protocol):
    """A network that predicts depth and cameras of windows of one stream."""

    @property
    def device(self) -> torch.device:
        """Where the network runs."""

    @property
    def min_steps(self) -> int:
        """Fewest steps of the loop; 1 for a network without a loop."""

    @property
    def max_steps(self) -> int:
        """Most steps of the loop; 1 for a network without a loop."""

    @property
    def has_fixed_steps(self) -> bool:
        """Whether ``max_steps`` is the only possible number of steps."""

    @property
    def image_size(self) -> int:
        """Longest edge in pixels that the weights were trained for, a multiple of 14."""

    @property
    def cut_share(self) -> float:
        """Share of a frame's pixels, the least confident, whose depth is better left out, as its checkpoint says."""

    def reset(self) -> None:
        """Forgets the stream, for another camera or another place."""

    def predict(
        self, views: Sequence[View], num_steps: int, image_size: int, decoded: Sequence[int]
    ) -> WindowPrediction:
        """Depth and cameras of a window.

        Args:
            views: of one size, oldest first.
            num_steps: K.
            image_size: longest edge of the network's images, pixels.
            decoded: indices of the views that are needed; the prediction holds these, in this order.

        Raises:
            DeviceMemoryError: not enough memory; the caller may try again with fewer or smaller views.
        """
        ...


@runtime_checkable
class PlaceRecognizer(Predictor, Protocol):
    """A network that also gives place descriptors."""

    @property
    def checkpoint(self) -> str:
        """Digest of the weights: descriptors of another checkpoint cannot be compared."""

    def describe(self, view: View, image_size: int) -> np.ndarray:
        """The place descriptor (cells, channels) float32 of a view of the latest window."""

    def predict_apart(self, views: Sequence[View], num_steps: int, image_size: int) -> WindowPrediction:
        """A prediction of all views of a window outside the stream; the stream's cache is not changed.

        Raises:
            DeviceMemoryError: not enough memory.
        """


@runtime_checkable
class Preparable(Predictor, Protocol):
    """A network that selects or compiles kernels for each window shape."""

    def prepare(self, views: Sequence[View], image_size: int) -> None:
        """Does this work now for windows with as many views of this size, so that no window waits for it later."""


@runtime_checkable
class SizedOnce(Predictor, Protocol):
    """A network that may know images of one size only."""

    @property
    def has_fixed_image_size(self) -> bool:
        """Whether ``image_size`` is the only possible size."""


@runtime_checkable
class TimeLimited(Predictor, Protocol):
    """A network whose answer is worked on afterwards, for as long as the latency budget allows."""

    @property
    def beside_ms(self) -> float:
        """What the latest prediction took beside the network."""

    def usual_beside_ms(self, num_views: int, num_new: int) -> float:
        """What it takes for a window of so many views, of which some are new, if nothing is left out."""

    def usual_joint_ms(self, num_views: int) -> float:
        """The same for a window beside the stream, see `PlaceRecognizer.predict_apart`."""

    def limit(self, milliseconds: float) -> None:
        """How long the next prediction may take from now on, network included; without a call there is no limit."""


@runtime_checkable
class SeveralReferences(Predictor, Protocol):
    """A network that answers in the frame of one view, and can merge its answers for several of them."""

    def use_references(self, count: int) -> None:
        """How many views of each following window of the stream are the reference in turn; at first one."""


def predict_within_memory(
    predict: Callable[[], WindowPrediction], release: Callable[[], None], device: torch.device, what: str
) -> WindowPrediction:
    """Calls ``predict``; if memory runs out, calls ``release`` to free caches on the device.

    Raises:
        DeviceMemoryError: memory ran out; the message names ``what``.
    """
    try:
        return predict()
    except (torch.OutOfMemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        release()
        message = f"no memory for {what}: {str(error).splitlines()[0]}"
    if device.type == "cuda":
        torch.cuda.empty_cache()  # outside the handler, because its traceback keeps tensors alive
    raise DeviceMemoryError(message)


def is_out_of_memory(error: Exception) -> bool:
    """CUDA raises its own class; others only have a message."""
    texts = ("can't allocate memory", "Failed to allocate memory")  # of PyTorch and of ONNX Runtime
    return isinstance(error, torch.OutOfMemoryError) or any(text in str(error) for text in texts)
