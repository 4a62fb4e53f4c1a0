"""The network over a window: features of shared views are kept, only what is asked for is decoded."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..errors import ConfigError, DvltError
from ..fast import FastDvlt, Precision
from ..model import Dvlt, Features, PixelMapping, State, prepare_images
from .config import ImageRotation
from .upright import Upright
from .windows import View

REMEMBERED_FITS = 25  # windows whose fitted intrinsics are averaged while no camera_info tells them


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


@dataclass(frozen=True, eq=False)
class Encoded:
    """What the encoder says of one view, on the device."""

    features: Features
    mapping: PixelMapping  # from the upright picture's pixels to the network's


class DvltPredictor:
    """Owns the network and the features of the views that come again.

    ``precision`` is that of the fast path. Without one a CPU gets it in float32, and a GPU the plain network under
    bfloat16 autocast: no GPU has run the fast path yet.
    """

    def __init__(
        self,
        model: Dvlt,
        device: torch.device | str,
        image_rotation: ImageRotation = 0,
        precision: Precision | None = None,
    ) -> None:
        self.device = torch.device(device)
        model = model.to(self.device).eval()
        is_plain = precision is None and self.device.type == "cuda"
        self.model: Dvlt | FastDvlt = model if is_plain else FastDvlt(model, precision or "float32")
        self.upright = Upright(image_rotation)
        self._encoded: dict[tuple[int, int], Encoded] = {}  # by view number and image size
        self._fits: deque[Tensor] = deque(maxlen=REMEMBERED_FITS)

    @property
    def min_steps(self) -> int:
        return self.model.config.min_steps

    @property
    def max_steps(self) -> int:
        return self.model.config.num_steps

    @property
    def has_fixed_steps(self) -> bool:
        return self.model.config.recurrence_mode == "none"

    @property
    def image_size(self) -> int:
        return self.model.config.image_size

    def reset(self) -> None:
        """Forgets the stream: another camera, or another place."""
        self._encoded.clear()
        self._fits.clear()

    def predict(
        self, views: Sequence[View], num_steps: int, image_size: int, decoded: Sequence[int]
    ) -> WindowPrediction:
        """Views of one size through K steps; ``decoded`` are the indices of the views that are needed.

        Raises:
            DeviceMemoryError: the device has no room for it; the views can be tried again, fewer or smaller.
        """
        try:
            with torch.inference_mode(), self._autocast():
                return self._predict(views, num_steps, image_size, decoded)
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            self._encoded.clear()
            if isinstance(self.model, FastDvlt):
                self.model.release()
            message = f"no memory for {len(views)} views at {image_size} pixels: {str(error).splitlines()[0]}"
        if self.device.type == "cuda":
            torch.cuda.empty_cache()  # outside of the handler, whose traceback holds tensors
        raise DeviceMemoryError(message)

    def _predict(
        self, views: Sequence[View], num_steps: int, image_size: int, decoded: Sequence[int]
    ) -> WindowPrediction:
        encoded = self._encode(views, image_size)
        mapping = encoded[-1].mapping
        state = self.model.begin(Features.concatenate([view.features for view in encoded]))
        prediction = self.model.decode(self._run(state, num_steps), views=decoded)
        known = self._known_intrinsics(views, decoded, mapping)
        if known is None:
            known = self._shared_fit(prediction.cameras().intrinsics[0])
        cameras = prediction.cameras(known.expand(1, -1, -1, -1))
        return self._restored(
            prediction.depth[0], prediction.depth_confidence[0], cameras.world_from_cam[0], known, mapping
        )

    def _run(self, state: State, num_steps: int) -> State:
        if isinstance(self.model, FastDvlt):
            return self.model.run(state, num_steps)
        for step in self.model.schedule(num_steps):
            state = self.model.step(state, step)
        return state

    def _autocast(self) -> AbstractContextManager[object]:
        is_needed = self.device.type == "cuda" and isinstance(self.model, Dvlt)
        return torch.autocast(self.device.type, torch.bfloat16, enabled=is_needed)

    def _encode(self, views: Sequence[View], image_size: int) -> list[Encoded]:
        """Features of every view; those of views that are not in this window are forgotten."""
        keys = [(view.number, image_size) for view in views]
        fresh = [i for i, key in enumerate(keys) if key not in self._encoded]
        if fresh:
            images = [self._on_device(self.upright.image(views[i].picture.image)) for i in fresh]
            prepared = prepare_images(images, image_size)
            features = self.model.encode(prepared.images)
            for place, i in enumerate(fresh):
                self._encoded[keys[i]] = Encoded(features.views([place]), prepared.mappings[place])
        self._encoded = {key: self._encoded[key] for key in keys}
        return list(self._encoded.values())

    def _on_device(self, image: np.ndarray) -> np.ndarray | Tensor:
        """On a GPU a tensor (3, H, W) that is still on its way there while the next image is made ready."""
        if self.device.type != "cuda":
            return image
        pinned = torch.from_numpy(np.require(image, requirements=("C", "W"))).pin_memory()
        return pinned.to(self.device, non_blocking=True).permute(2, 0, 1)

    def _known_intrinsics(self, views: Sequence[View], decoded: Sequence[int], mapping: PixelMapping) -> Tensor | None:
        """(D, 3, 3) of the network's upright pixels; None if no view comes with any.

        A window is of one camera: a view that came before the first camera_info gets that of the others.
        """
        known = [view.picture.intrinsics for view in views if view.picture.intrinsics is not None]
        if not known:
            return None
        upright = []
        for index in decoded:
            picture = views[index].picture
            own = known[-1] if picture.intrinsics is None else picture.intrinsics
            upright.append(self.upright.intrinsics(own, picture.image.shape[:2]))
        return mapping.intrinsics_to_network(torch.tensor(np.stack(upright), dtype=torch.float32)).to(self.device)

    def _shared_fit(self, fitted: Tensor) -> Tensor:
        """One camera for all views (D, 3, 3): the median over this window's and the last windows' fits."""
        usable = fitted[torch.isfinite(fitted).all(dim=(-2, -1))]
        if len(usable):
            self._fits.append(usable.median(dim=0).values)
        if not self._fits:
            return fitted
        return torch.stack(list(self._fits)).median(dim=0).values.expand(len(fitted), 3, 3)

    def _restored(
        self, depth: Tensor, confidence: Tensor, window_from_upright: Tensor, intrinsics: Tensor, mapping: PixelMapping
    ) -> WindowPrediction:
        turned, size = self.upright, self.upright.restored_mapping(mapping).network_size
        results = (depth, confidence, window_from_upright.double(), intrinsics.double())
        depth, confidence, window_from_upright, intrinsics = (x.to("cpu", non_blocking=True) for x in results)
        if self.device.type == "cuda":
            torch.cuda.current_stream(self.device).synchronize()  # once, for all four copies
        window_from_cam = window_from_upright.numpy().copy()
        window_from_cam[:, :3, :3] = window_from_cam[:, :3, :3] @ turned.upright_from_cam
        return WindowPrediction(
            turned.restored(depth.numpy()),
            turned.restored(confidence.numpy()),
            window_from_cam,
            turned.restored_intrinsics(intrinsics.numpy(), size),
            turned.restored_mapping(mapping),
        )


def is_out_of_memory(error: Exception) -> bool:
    """CUDA has a class for it, the CPU's allocator only a text."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def choose_device(name: str) -> torch.device:
    """Raises ConfigError for a device that this machine or this PyTorch does not have."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"device must be auto, cpu, cuda or cuda:N, got {name!r}") from error
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"device must be auto, cpu, cuda or cuda:N, got {name!r}")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(
            f"device {name!r} is not here: PyTorch {torch.__version__} sees {torch.cuda.device_count()} GPUs"
        )
    return device
