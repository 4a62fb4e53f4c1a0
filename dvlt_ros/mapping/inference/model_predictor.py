"""Any multi-view model on windows of a stream; every window is computed from its images."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from ...backends import MultiViewModel
from ...backends.images import prepare_for
from ...cameras import fit_cameras, rays_from_cameras
from ...model.config import PATCH_SIZE, UNMEASURED_CUT_SHARE
from ..data.views import View
from .prediction import WindowPrediction, predict_within_memory
from .window_cameras import WindowCameras


class WindowPredictor:
    """A `Predictor` without a cache; `DvltPredictor` is faster for Déjà View."""

    def __init__(self, model: MultiViewModel) -> None:
        self.model = model
        self._cameras = WindowCameras(model.device)

    @property
    def device(self) -> torch.device:
        return self.model.device

    @property
    def min_steps(self) -> int:
        return self.model.min_steps

    @property
    def max_steps(self) -> int:
        return self.model.max_steps

    @property
    def has_fixed_steps(self) -> bool:
        return self.min_steps == self.max_steps

    @property
    def image_size(self) -> int:
        return PATCH_SIZE * math.ceil(self.model.image_size / PATCH_SIZE)

    @property
    def cut_share(self) -> float:
        return UNMEASURED_CUT_SHARE

    def reset(self) -> None:
        """Forgets the stream, for another camera or another place."""
        self._cameras.reset()

    def predict(
        self, views: Sequence[View], num_steps: int, image_size: int, decoded: Sequence[int]
    ) -> WindowPrediction:
        """See `Predictor.predict`."""
        return predict_within_memory(
            lambda: self._predict(views, num_steps, image_size, decoded),
            lambda: None,
            self.device,
            f"{len(views)} views at {image_size} pixels",
        )

    @torch.inference_mode()
    def _predict(
        self, views: Sequence[View], num_steps: int, image_size: int, decoded: Sequence[int]
    ) -> WindowPrediction:
        images = [self._cameras.image(view) for view in views]
        prepared = prepare_for(self.model.card.patch_size, images, image_size)
        mapping = prepared.mappings[-1]
        found = self.model.predict(prepared.images[0], num_steps)
        chosen = list(decoded)
        known = self._cameras.known_intrinsics(views, decoded, mapping)
        if known is None:
            known = self._cameras.shared_fit(found.intrinsics[chosen])
        directions, origins = rays_from_cameras(found.cameras[chosen], *found.depth.shape[-2:])
        cameras = fit_cameras(directions, origins, intrinsics=known)
        return self._cameras.on_cpu(
            found.depth[chosen], found.confidence[chosen], cameras.world_from_cam, known, mapping
        )
