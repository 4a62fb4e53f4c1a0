"""Images of any size into the network, and the way back to the pixels they came from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import InputError
from ..geometry import pixel_centers
from .config import PATCH_SIZE

Image = np.ndarray | Tensor  # array (H, W, 3) or tensor (3, H, W); uint8, or floating point in [0, 1]
Size = tuple[int, int]  # (height, width)

OVERSHOOT = 1e-3  # around [0, 1]: what rounding and interpolation leave; it is clamped


@dataclass(frozen=True)
class PixelMapping:
    """``network = scale * original + offset`` on pixel coordinates (u, v), pixel (0, 0) centred at (0.5, 0.5)."""

    original_size: Size
    network_size: Size
    scale: tuple[float, float]
    offset: tuple[float, float]

    def to_network(self, pixels: Tensor) -> Tensor:
        """Original pixel coordinates (..., 2) -> network pixel coordinates."""
        pixels = _floating(pixels)
        return pixels * pixels.new_tensor(self.scale) + pixels.new_tensor(self.offset)

    def to_original(self, pixels: Tensor) -> Tensor:
        """Network pixel coordinates (..., 2) -> original pixel coordinates."""
        pixels = _floating(pixels)
        return (pixels - pixels.new_tensor(self.offset)) / pixels.new_tensor(self.scale)

    def intrinsics_to_network(self, intrinsics: Tensor) -> Tensor:
        """Intrinsics (..., 3, 3) of the original image -> those of the network's input."""
        return _scaled_and_shifted(intrinsics, self.scale, self.offset)

    def intrinsics_to_original(self, intrinsics: Tensor) -> Tensor:
        """Intrinsics (..., 3, 3) of the network's input -> those of the original image."""
        (sx, sy), (ox, oy) = self.scale, self.offset
        return _scaled_and_shifted(intrinsics, (1 / sx, 1 / sy), (-ox / sx, -oy / sy))

    def map_to_network(self, values: Tensor, mode: Literal["nearest", "bilinear"] = "nearest") -> Tensor:
        """A map (..., H, W) of the original, depth for example, at the network's pixels; NaN on padding.

        Maps of integers or half precision come out as float32.
        """
        values = _floating(values)
        targets = self.to_original(pixel_centers(*self.network_size, like=values))
        return _sample(values, self.original_size, targets, mode)

    def map_to_original(self, values: Tensor, mode: Literal["nearest", "bilinear"] = "nearest") -> Tensor:
        """A map (..., h, w) of the network at the original's pixels; NaN where the crop left nothing.

        Maps of integers or half precision come out as float32.
        """
        values = _floating(values)
        targets = self.to_network(pixel_centers(*self.original_size, like=values))
        return _sample(values, self.network_size, targets, mode)


@dataclass(frozen=True)
class PreparedImages:
    """One scene of S views, ready for the model."""

    images: Tensor  # (1, S, 3, H, W), float32 in [0, 1], zero on padding
    valid: Tensor  # (1, S, H, W), bool, False on padding
    mappings: tuple[PixelMapping, ...]  # one per view


def prepare_images(
    images: Sequence[Image] | Tensor,
    image_size: int = 504,
    *,
    interpolation: Literal["bilinear", "bicubic"] = "bilinear",
    device: torch.device | str | None = None,
) -> PreparedImages:
    """Resize the longest edge to ``image_size`` (antialiased), centre-crop to multiples of 14, pad to one size.

    Args:
        images: arrays (H, W, 3) or tensors (3, H, W), each uint8 or floating point in [0, 1], of any sizes.
        image_size: longest edge in pixels, a multiple of 14.
        device: where the work is done and the result lies; by default where the images are.

    Raises:
        InputError: no images; one of another shape or type, with values that are not finite or not in [0, 1], or
            so elongated that less than one patch is left; the message has its index. Images on several devices
            without a ``device``.
    """
    _check_options(image_size, interpolation)
    tensors = [_as_tensor(i, image).to(device) for i, image in enumerate(_several(images))]
    if not tensors:
        raise InputError("no images to prepare")
    if len(devices := sorted({str(tensor.device) for tensor in tensors})) > 1:
        raise InputError(f"images lie on {' and '.join(devices)}; choose one with device=")
    sizes = [(tensor.shape[-2], tensor.shape[-1]) for tensor in tensors]
    fitted: dict[Size, tuple[Size, Size]] = {}
    for i, size in enumerate(sizes):
        fitted.setdefault(size, _fit(i, size, image_size))
    height, width = (max(cropped[axis] for _, cropped in fitted.values()) for axis in (0, 1))

    batch = torch.zeros(len(tensors), 3, height, width, device=tensors[0].device)
    valid = torch.zeros(len(tensors), height, width, dtype=torch.bool, device=tensors[0].device)
    mappings: dict[Size, PixelMapping] = {}
    for size, (resized, cropped) in fitted.items():
        views = [i for i, other in enumerate(sizes) if other == size]
        crop = (resized[0] - cropped[0]) // 2, (resized[1] - cropped[1]) // 2
        pad = (height - cropped[0]) // 2, (width - cropped[1]) // 2
        pixels = torch.stack([_resized(tensors[i], resized, interpolation) for i in views])
        rows, cols = slice(pad[0], pad[0] + cropped[0]), slice(pad[1], pad[1] + cropped[1])
        batch[views, :, rows, cols] = pixels[..., crop[0] : crop[0] + cropped[0], crop[1] : crop[1] + cropped[1]]
        valid[views, rows, cols] = True
        scale = (resized[1] / size[1], resized[0] / size[0])
        mappings[size] = PixelMapping(size, (height, width), scale, (pad[1] - crop[1], pad[0] - crop[0]))
    return PreparedImages(batch[None], valid[None], tuple(mappings[size] for size in sizes))


def _check_options(image_size: int, interpolation: str) -> None:
    if isinstance(image_size, bool) or not isinstance(image_size, int) or image_size < 1 or image_size % PATCH_SIZE:
        raise InputError(f"image_size must be a multiple of {PATCH_SIZE}, got {image_size!r}")
    if interpolation not in ("bilinear", "bicubic"):
        raise InputError(f"interpolation must be 'bilinear' or 'bicubic', got {interpolation!r}")


def _several(images: Sequence[Image] | Tensor) -> Iterable[Image]:
    """Something to go through image by image; one image alone would be taken apart into its rows."""
    if isinstance(images, np.ndarray | Tensor) and images.ndim != 4:
        shape = tuple(images.shape)
        raise InputError(f"images must be a sequence, or (S, H, W, 3) or (S, 3, H, W), got {shape}; is it one image?")
    if not isinstance(images, Iterable):
        raise InputError(f"images must be a sequence of images, got {type(images).__name__}")
    return images


def _fit(index: int, size: Size, image_size: int) -> tuple[Size, Size]:
    """Sizes after the resize and after the crop."""
    scale = image_size / max(size)
    height, width = (round(edge * scale) for edge in size)
    cropped = height - height % PATCH_SIZE, width - width % PATCH_SIZE
    if 0 in cropped:
        raise InputError(
            f"image {index} of {size[0]} x {size[1]} pixels is too elongated: {height} x {width} at image_size "
            f"{image_size} leaves less than one patch of {PATCH_SIZE}"
        )
    return (height, width), cropped


def _resized(image: Tensor, size: Size, interpolation: str) -> Tensor:
    """float32 in [0, 1] of an image (3, H, W); one at a time stays in the cache, and few pixels are left to scale."""
    pixels, white = image.float(), 255 if image.dtype == torch.uint8 else 1
    if image.shape[-2:] != size:
        pixels = F.interpolate(pixels[None], size=size, mode=interpolation, antialias=True, align_corners=False)[0]
    return (pixels / white).clamp(0, 1)


def _as_tensor(index: int, image: Image) -> Tensor:
    """Any accepted image as a checked tensor (3, H, W)."""
    if not isinstance(image, np.ndarray | Tensor):
        raise InputError(f"image {index} must be a NumPy array or a tensor, got {type(image).__name__}")
    order = "(H, W, 3)" if isinstance(image, np.ndarray) else "(3, H, W)"
    shape = tuple(image.shape)
    if len(shape) != 3 or 0 in shape or shape[-1 if isinstance(image, np.ndarray) else 0] != 3:
        raise InputError(f"image {index} must be RGB, {order}, got {shape}")
    if isinstance(image, np.ndarray):
        if image.dtype not in (np.uint8, np.float16, np.float32, np.float64):
            raise InputError(f"image {index} must be uint8 or floating point, got {image.dtype}")
        tensor = torch.from_numpy(np.require(image, requirements=("C", "W"))).permute(2, 0, 1)
    else:
        tensor = image
    if tensor.dtype == torch.uint8:
        return tensor
    if not tensor.is_floating_point():
        raise InputError(f"image {index} must be uint8 or floating point, got {tensor.dtype}")
    tensor = _floating(tensor)
    low, high = (value.item() for value in tensor.aminmax())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise InputError(f"image {index} has NaN or infinite pixels")
    if low < -OVERSHOOT or high > 1 + OVERSHOOT:
        raise InputError(f"image {index} is floating point and must be in [0, 1], got {low:.4g} to {high:.4g}")
    return tensor


def _floating(values: Tensor) -> Tensor:
    """At least float32: integers have no NaN and truncate the scale, half precision has too few digits for pixels."""
    return values if values.dtype in (torch.float32, torch.float64) else values.float()


def _scaled_and_shifted(intrinsics: Tensor, scale: tuple[float, float], offset: tuple[float, float]) -> Tensor:
    """Intrinsics (..., 3, 3) after ``pixel -> scale * pixel + offset``."""
    intrinsics = _floating(intrinsics)
    (sx, sy), (ox, oy) = scale, offset
    return intrinsics.new_tensor([[sx, 0, ox], [0, sy, oy], [0, 0, 1]]) @ intrinsics


def _sample(values: Tensor, size: Size, pixels: Tensor, mode: str) -> Tensor:
    """values (..., h, w) at pixel coordinates (H, W, 2); NaN outside."""
    if tuple(values.shape[-2:]) != size:
        raise InputError(f"the map must be {size[0]} x {size[1]} pixels, got {tuple(values.shape)}")
    extent = pixels.new_tensor([size[1], size[0]])
    inside = ((pixels >= 0) & (pixels <= extent)).all(-1)
    grid = (2 * pixels / extent - 1).expand(1, -1, -1, -1)
    flat = values.reshape(1, -1, *size)
    sampled = F.grid_sample(flat, grid, mode=mode, padding_mode="border", align_corners=False)
    return torch.where(inside, sampled, torch.nan).reshape(*values.shape[:-2], *pixels.shape[:2])
