"""Pictures of a scene for the page."""

from __future__ import annotations

import base64

import cv2
import numpy as np

from ..export.colors import CONFIDENCE_COLORS, DEPTH_COLORS
from .scene import Scene

OVERLAY = 0.65  # of the colours over the photo
JPEG_QUALITY = 85


def depth_overlays(scene: Scene) -> list[np.ndarray]:
    """Each photo (h, w, 3) under its depth: blue near, red far as in all pictures, one range for all views."""
    near, far = depth_range(scene)
    shares = (scene.depth - near) / max(far - near, 1e-9)
    return [_blended(image, value, DEPTH_COLORS) for image, value in zip(scene.images, shares, strict=True)]


def depth_range(scene: Scene) -> tuple[float, float]:
    """What the first and the last colour stand for, in the scene's unit."""
    near, far = np.nanquantile(scene.depth, [0.02, 0.98])
    return float(near), float(far)


def color_bar(colormap: str) -> np.ndarray:
    """(1, 256, 3) uint8, the first colour at the left."""
    import matplotlib

    bar: np.ndarray = matplotlib.colormaps[colormap](np.linspace(0, 1, 256), bytes=True)[None, :, :3]
    return bar


def confidence_overlays(scene: Scene) -> list[np.ndarray]:
    """Each photo (h, w, 3) under its confidence as a rank among all pixels: yellow high, violet low."""
    levels = np.quantile(scene.confidence[scene.usable], np.linspace(0, 1, 101))
    ranks = np.searchsorted(levels, scene.confidence) / 100
    ranks = np.where(scene.usable, ranks, np.nan)
    return [_blended(image, value, CONFIDENCE_COLORS) for image, value in zip(scene.images, ranks, strict=True)]


def _blended(image: np.ndarray, values: np.ndarray, colormap: str) -> np.ndarray:
    """``values`` (h, w) from 0 to 1 as colours over the photo; NaN shows the photo."""
    import matplotlib

    colors = 255 * matplotlib.colormaps[colormap](np.clip(np.nan_to_num(values), 0, 1))[..., :3]
    blended = (1 - OVERLAY) * image + OVERLAY * colors
    shown: np.ndarray = np.where(np.isfinite(values)[..., None], blended, image).round().astype(np.uint8)
    return shown


def thumbnail(image: np.ndarray, longest: int) -> np.ndarray:
    """The photo (H, W, 3), at most so many pixels long."""
    height, width = image.shape[:2]
    scale = longest / max(height, width)
    if scale >= 1:
        return image
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def data_url(image: np.ndarray) -> str:
    """A picture (h, w, 3) uint8 as a browser takes it."""
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    encoded = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)[1]
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode()
