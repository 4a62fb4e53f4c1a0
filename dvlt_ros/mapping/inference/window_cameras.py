"""Images and cameras between the views and a network: known or fitted intrinsics, copies from and to the device."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ...model import PixelMapping
from ..data.views import View
from .prediction import WindowPrediction

REMEMBERED_FITS = 25  # windows whose fitted intrinsics are averaged as long as there is no camera_info


class WindowCameras:
    """Owns the fitted intrinsics of a stream."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._fits: deque[Tensor] = deque(maxlen=REMEMBERED_FITS)

    def reset(self) -> None:
        """Forgets the fitted intrinsics."""
        self._fits.clear()

    def image(self, view: View) -> np.ndarray | Tensor:
        """The image: an array (H, W, 3), or for a GPU a tensor (3, H, W) whose copy is asynchronous."""
        image = view.picture.image
        if self._device.type != "cuda":
            return image
        pinned = torch.from_numpy(np.require(image, requirements=("C", "W"))).pin_memory()
        return pinned.to(self._device, non_blocking=True).permute(2, 0, 1)

    def known_intrinsics(self, views: Sequence[View], decoded: Sequence[int], mapping: PixelMapping) -> Tensor | None:
        """(D, 3, 3) in the network's pixels; None if no view has intrinsics.

        A view that came before the first camera_info gets the intrinsics of the window's other views.
        """
        known = [view.picture.intrinsics for view in views if view.picture.intrinsics is not None]
        if not known:
            return None
        own = [views[index].picture.intrinsics for index in decoded]
        chosen = np.stack([known[-1] if intrinsics is None else intrinsics for intrinsics in own])
        return mapping.intrinsics_to_network(torch.tensor(chosen, dtype=torch.float32)).to(self._device)

    def shared_fit(self, fitted: Tensor) -> Tensor:
        """The same intrinsics for all views (D, 3, 3): the median over the fits of this and the last windows."""
        usable = fitted[torch.isfinite(fitted).all(dim=(-2, -1))]
        if len(usable):
            self._fits.append(usable.median(dim=0).values)
        if not self._fits:
            return fitted
        return torch.stack(list(self._fits)).median(dim=0).values.expand(len(fitted), 3, 3)

    def on_cpu(
        self, depth: Tensor, confidence: Tensor, window_from_cam: Tensor, intrinsics: Tensor, mapping: PixelMapping
    ) -> WindowPrediction:
        """What the network has found, from its device to the CPU."""
        results = (depth, confidence, window_from_cam.double(), intrinsics.double())
        depth, confidence, window_from_cam, intrinsics = (x.to("cpu", non_blocking=True) for x in results)
        if self._device.type == "cuda":
            torch.cuda.current_stream(self._device).synchronize()  # once, for all four copies
        return WindowPrediction(depth.numpy(), confidence.numpy(), window_from_cam.numpy(), intrinsics.numpy(), mapping)
