"""Features of a frozen encoder, computed once per stored image and kept on disk.

Every stored window has several variants with photometric augmentation of their own, every second one mirrored. With one
variant, every second chunk of windows is mirrored.
Files are memory-mapped; the system keeps in memory what fits.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from dvlt_ros.errors import ConfigError, DataError
from dvlt_ros.model import Dvlt
from dvlt_ros.model.config import PATCH_SIZE

from ..data.types import Views
from ..synthetic import AugmentConfig, augment
from .rendering import mirror
from .stored import CHUNK, StoredWindows, difference, opened, tensor_digest, write_whole

FORMAT = 1
INDEX = "features.json"
VARIANT_SEEDS = 1 << 32  # apart, so that no variant of a window has the photometric seed of another window


class FeatureCache:
    """What a frozen encoder says of stored windows, made at their first use.

    Raises:
        DataError: a folder with features of another encoder or of other variants, or, at first use, of other images.
        ConfigError: an encoder that is trained, or no variant at all.
    """

    def __init__(
        self, folder: str | Path, store: StoredWindows, network: Dvlt, variants: int, photometric: AugmentConfig | None
    ) -> None:
        if variants < 1:
            raise ConfigError(f"data.feature_variants must be at least 1, got {variants}")
        self.folder, self.store = Path(folder).expanduser(), store
        self.encoder, self.variants, self.photometric = network.patch_embed_encoder, variants, photometric
        self.grid = (store.spec.height // PATCH_SIZE, store.spec.width // PATCH_SIZE)
        trained = [name for name, p in self.encoder.named_parameters() if p.requires_grad and is_frozen_part(name)]
        if trained:
            raise ConfigError(f"data.features_folder keeps what a frozen encoder says, but {trained[0]} is trained")
        self._checked: set[int] = set()
        index = {
            "encoder": encoder_digest(network), "taps": list(self.encoder.taps), "variants": variants,
            "photometric": None if photometric is None else asdict(photometric), "format": FORMAT,
        }  # fmt: skip
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            differs = difference(self.folder / INDEX, index)
        except OSError as cause:
            raise DataError(f"{self.folder}: features cannot be kept here: {cause}") from cause
        if differs is not None:
            name, there, wanted = differs
            what = "of another encoder" if name == "encoder" else f"with {name} {there}, not {wanted}"
            raise DataError(f"{self.folder}: holds features {what}; remove the folder, or name another one")

    def window(self, index: int, variant: int, order: Tensor) -> tuple[Views, Tensor]:
        """Views ``order`` (S,) of a window, without images, and their features (1, S, h*w, (taps + 1) * C)."""
        number, row = self.store.place(index)
        self._ensure(number)
        with opened(self.path(number)) as chunk:
            features = chunk.get_slice("features")[variant, row][order][None].float()
        views = self.store.window(index, order, images=False)
        return (mirror(views, torch.tensor([True])) if is_mirrored(number, variant) else views), features

    def path(self, number: int) -> Path:
        return self.folder / f"chunk-{number:06d}.safetensors"

    def _ensure(self, number: int) -> None:
        """The features of a chunk are there, and are those of its images."""
        if number in self._checked:
            return
        images = self.store.digest(number)
        if not self.path(number).exists():
            features = torch.stack([self._encoded(number, variant) for variant in range(self.variants)])
            write_whole(self.path(number), {"features": features}, {"images": images})
        with opened(self.path(number)) as chunk:
            if chunk.metadata().get("images") != images:
                raise DataError(
                    f"{self.path(number)}: features of other images than {self.store.path(number)} has; "
                    "remove the folder, or name another one"
                )
        self._checked.add(number)

    def _encoded(self, number: int, variant: int) -> Tensor:
        """(8, S, h*w, (taps + 1) * C) in float16."""
        images = self.store.images(number).float() / 255
        if is_mirrored(number, variant):
            images = images.flip(-1)
        device = self.encoder.cls_token.device
        with torch.inference_mode():
            if self.photometric is not None:
                seeds = torch.arange(CHUNK * number, CHUNK * (number + 1)) + VARIANT_SEEDS * variant
                images = augment(images, seeds, self.photometric)
            found = [self.encoder.frozen(window.to(device)).half().cpu() for window in images]
        return torch.stack(found)


def is_mirrored(number: int, variant: int) -> bool:
    return (number + variant) % 2 == 1


def is_frozen_part(name: str) -> bool:
    """Whether a parameter of the encoder has a say in `Encoder.frozen`."""
    return name != "mask_token" and not name.startswith("descriptors.")


def encoder_digest(network: Dvlt) -> str:
    """Of everything that the frozen features depend on."""
    encoder = network.patch_embed_encoder
    # + 0.0: an average of weights that stay as they are makes 0 of -0.
    tensors = [value + 0.0 for name, value in sorted(encoder.state_dict().items()) if is_frozen_part(name)]
    return tensor_digest(*tensors, torch.tensor([float(encoder.antialias), *map(float, encoder.taps)]))
