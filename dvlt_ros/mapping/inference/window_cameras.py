"""Images and cameras between the views and a network: known or fitted intrinsics, and upright images."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ...model import PixelMapping
from ..data.views import View
from .config import ImageRotation
from .prediction import WindowPrediction
from .upright import Upright

REMEMBERED_FITS = 25  # windows whose fitted intrinsics are averaged as long as there is no camera_info


class WindowCameras:
    """Owns the fitted intrinsics of a stream."""

    def __init__(self, device: torch.device, image_rotation: ImageRotation = 0) -> None:
        self.upright = Upright(image_rotation)
        self._device = device
        self._fits: deque[Tensor] = deque(maxlen=REMEMBERED_FITS)

    def reset(self) -> None:
        """Forgets the fitted intrinsics."""
        self._fits.clear()

    def image(self, view: View) -> np.ndarray | Tensor:
        """The upright image: an array (H, W, 3), or for a GPU a tensor (3, H, W) whose copy is asynchronous."""
        image = self.upright.image(view.picture.image)
        if self._device.type != "cuda":
            return image
        pinned = torch.from_numpy(np.require(image, requirements=("C", "W"))).pin_memory()
        return pinned.to(self._device, non_blocking=True).permute(2, 0, 1)

    def known_intrinsics(self, views: Sequence[View], decoded: Sequence[int], mapping: PixelMapping) -> Tensor | None:
        """(D, 3, 3) in the network's upright pixels; None if no view has intrinsics.

        A view that came before the first camera_info gets the intrinsics of the window's other views.
        """
        known = [view.picture.intrinsics for view in views if view.picture.intrinsics is not None]
        if not known:
            return None
        upright = []
        for index in decoded:
            picture = views[index].picture
            own = known[-1] if picture.intrinsics is None else picture.intrinsics
            upright.append(self.upright.intrinsics(own, picture.image.shape[:2]))
        return mapping.intrinsics_to_network(torch.tensor(np.stack(upright), dtype=torch.float32)).to(self._device)

    def shared_fit(self, fitted: Tensor) -> Tensor:
        """The same intrinsics for all views (D, 3, 3): the median over the fits of this and the last windows."""
        usable = fitted[torch.isfinite(fitted).all(dim=(-2, -1))]
        if len(usable):
            self._fits.append(usable.median(dim=0).values)
        if not self._fits:
            return fitted
        return torch.stack(list(self._fits)).median(dim=0).values.expand(len(fitted), 3, 3)

    def restored(
        self, depth: Tensor, confidence: Tensor, window_from_upright: Tensor, intrinsics: Tensor, mapping: PixelMapping
    ) -> WindowPrediction:
        """From upright views on the device to views in the cameras' orientation on the CPU."""
        turned = self.upright
        size = turned.restored_mapping(mapping).network_size
        results = (depth, confidence, window_from_upright.double(), intrinsics.double())
        depth, confidence, window_from_upright, intrinsics = (x.to("cpu", non_blocking=True) for x in results)
        if self._device.type == "cuda":
            torch.cuda.current_stream(self._device).synchronize()  # once, for all four copies
        window_from_cam = window_from_upright.numpy().copy()
        window_from_cam[:, :3, :3] = window_from_cam[:, :3, :3] @ turned.upright_from_cam
        return WindowPrediction(
            turned.restored(depth.numpy()),
            turned.restored(confidence.numpy()),
            window_from_cam,
            turned.restored_intrinsics(intrinsics.numpy(), size),
            turned.restored_mapping(mapping),
        )
