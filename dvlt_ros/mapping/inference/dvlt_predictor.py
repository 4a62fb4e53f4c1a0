"""Déjà View on windows of a stream: the features of shared views are cached, and only needed views are decoded."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch

from ...checkpoints import EMBEDDED_WEIGHTS
from ...errors import ConfigError, InputError
from ...fast import FastDvlt, Precision
from ...model import Dvlt, Features, PixelMapping, prepare_images
from ...model.references import predict
from ...model.weights import digest_of
from ...runtimes import OnnxDvlt
from ..data.views import View
from .descriptors import describe
from .prediction import WindowPrediction, predict_within_memory
from .window_cameras import WindowCameras


@dataclass(frozen=True, eq=False)
class Encoded:
    """Encoder features of one view, on the device."""

    features: Features
    mapping: PixelMapping  # from the picture's pixels to the network's
    gray: np.ndarray | None  # (h, w), 0 to 1; None: the head leaves no patch artifacts


class DvltPredictor:
    """A `Predictor` and `PlaceRecognizer`; owns the network and the cached features.

    ``precision`` configures the fast path (`FastDvlt`). Without it, a CPU runs the fast path in float32 and a GPU runs
    the plain network under bfloat16 autocast, because no GPU has run the fast path yet.
    """

    def __init__(
        self,
        model: Dvlt | OnnxDvlt,
        device: torch.device | str,
        precision: Precision | None = None,
        weights: str = "",
        reason: str = "",
        settled_update: float = 0.0,
    ) -> None:
        """
        Args:
            weights: where they come from, for `checkpoint`; empty: the embedded ones.
            reason: why this ``precision``, for the status.
            settled_update: see `ModelConfig`.
        """
        self._settled_update = settled_update
        self._reason = reason
        self.device = torch.device(device)
        self.model = model if isinstance(model, OnnxDvlt) else self._in_torch(model, precision)
        self._cameras = WindowCameras(self.device)
        self._weights = weights
        self._references = 1
        self._encoded: dict[tuple[int, int], Encoded] = {}  # by view number and image size

    def _in_torch(self, model: Dvlt, precision: Precision | None) -> Dvlt | FastDvlt:
        model = model.to(self.device).eval()
        is_gpu = self.device.type == "cuda"
        if is_gpu and precision is None:
            return model
        return FastDvlt(model, precision or ("bfloat16" if is_gpu else "float32"))

    @property
    def precision(self) -> str:
        """What the network multiplies in, and why, for people."""
        if isinstance(self.model, OnnxDvlt):
            return f"{self.model.manifest.precision}, exported graphs"
        name = self.model.precision if isinstance(self.model, FastDvlt) else "bfloat16 autocast"
        return f"{name}: {self._reason}" if self._reason else name

    @cached_property
    def checkpoint(self) -> str:
        """See `PlaceRecognizer.checkpoint`."""
        if isinstance(self.model, OnnxDvlt):
            return self.model.manifest.checkpoint
        return digest_of(self._weights or EMBEDDED_WEIGHTS)

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
        if isinstance(self.model, OnnxDvlt):
            return max(self.model.manifest.width, self.model.manifest.height)
        return self.model.config.image_size

    @property
    def has_fixed_image_size(self) -> bool:
        """See `SizedOnce`."""
        return isinstance(self.model, OnnxDvlt)

    @property
    def cut_share(self) -> float:
        return self.model.config.confidence_cut_share

    def reset(self) -> None:
        """Forgets the stream, for another camera or another place."""
        self._encoded.clear()
        self._cameras.reset()

    def use_references(self, count: int) -> None:
        """See `SeveralReferences.use_references`."""
        self._references = count

    def predict(
        self, views: Sequence[View], num_steps: int, image_size: int, decoded: Sequence[int]
    ) -> WindowPrediction:
        """See `Predictor.predict`."""
        return predict_within_memory(
            lambda: self._predict(views, num_steps, image_size, decoded),
            self._release,
            self.device,
            f"{len(views)} views at {image_size} pixels",
        )

    def predict_apart(self, views: Sequence[View], num_steps: int, image_size: int) -> WindowPrediction:
        """See `PlaceRecognizer.predict_apart`."""
        kept, references = self._encoded, self._references
        self._encoded, self._references = {}, 1
        try:
            return self.predict(views, num_steps, image_size, range(len(views)))
        finally:
            self._encoded, self._references = kept, references

    def prepare(self, views: Sequence[View], image_size: int) -> None:
        """See `Preparable.prepare`; only the fast path on a GPU compiles kernels and captures graphs."""
        if isinstance(self.model, FastDvlt) and self.device.type == "cuda":
            images = prepare_images([self._cameras.image(views[0])], image_size).images
            self.model.prepare(len(views), *images.shape[-2:])

    def describe(self, view: View, image_size: int) -> np.ndarray:
        """See `PlaceRecognizer.describe`."""
        if (view.number, image_size) not in self._encoded:
            raise InputError(f"view {view.number} at {image_size} pixels is not in the latest window")
        return describe(self._encoded[view.number, image_size].features)[0]

    def _release(self) -> None:
        self._encoded.clear()
        if isinstance(self.model, FastDvlt | OnnxDvlt):
            self.model.release()

    def _predict(
        self, views: Sequence[View], num_steps: int, image_size: int, decoded: Sequence[int]
    ) -> WindowPrediction:
        with torch.inference_mode(), self._autocast():
            encoded = self._encode(views, image_size)
            mapping = encoded[-1].mapping
            features = Features.concatenate([view.features for view in encoded])
            if self._settled_update and self._references == 1:
                begun = self.model.begin(features)
                state, num_steps = self.model.run_until_settled(begun, num_steps, self._settled_update)
                prediction = self.model.decode(state, views=decoded)
            else:
                prediction = predict(self.model, features, num_steps, self._references, decoded)
            known = self._cameras.known_intrinsics(views, decoded, mapping)
            if known is None:
                known = self._cameras.shared_fit(prediction.cameras().intrinsics[0])
            cameras = prediction.cameras(known.expand(1, -1, -1, -1))
            found = self._cameras.on_cpu(
                prediction.depth[0], prediction.depth_confidence[0], cameras.world_from_cam[0], known, mapping
            )
        grays = tuple(gray for i in decoded if (gray := encoded[i].gray) is not None)
        return replace(found, num_steps=num_steps, grays=grays)

    @property
    def _is_linear(self) -> bool:
        return self.model.config.depth_head_type == "linear"

    def _autocast(self) -> AbstractContextManager[object]:
        is_needed = self.device.type == "cuda" and isinstance(self.model, Dvlt)
        return torch.autocast(self.device.type, torch.bfloat16, enabled=is_needed)

    def _encode(self, views: Sequence[View], image_size: int) -> list[Encoded]:
        """Features of every view; drops cached features of views that are not in this window."""
        keys = [(view.number, image_size) for view in views]
        fresh = [i for i, key in enumerate(keys) if key not in self._encoded]
        if fresh:
            images = [self._cameras.image(views[i]) for i in fresh]
            prepared = prepare_images(images, image_size)
            features = self.model.encode(prepared.images)
            for place, i in enumerate(fresh):
                own = features.tokens[:, place : place + 1].clone()  # a slice: indices of the host would wait for a GPU
                gray = prepared.images[0, place].mean(dim=0).numpy(force=True) if self._is_linear else None
                self._encoded[keys[i]] = Encoded(Features(own, features.grid), prepared.mappings[place], gray)
        self._encoded = {key: self._encoded[key] for key in keys}
        return list(self._encoded.values())


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
