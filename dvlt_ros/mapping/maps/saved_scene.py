"""A saved map as a scene for other programs: the images of its submaps, at the network's size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch

from ...export.atomic import write_atomically
from ...export.scenes import SceneFormat, SceneImage, ScenePoints, Sight, export_scene
from ...geometry import pixel_axes
from ...model import PixelMapping
from ..submaps.config import ConfidenceConfig
from ..submaps.placement import trusted
from ..submaps.submap import StoredSubmap, StoredView, full_intrinsics, stride_of
from .saved_map import SavedMap


@dataclass(frozen=True)
class SceneExport:
    """What is exported of a saved map."""

    formats: tuple[SceneFormat, ...]
    confidence: ConfidenceConfig  # which depth is trusted


def write_saved_scene(folder: Path, saved: SavedMap, export: SceneExport) -> None:
    """See `export_scene`. Of equal stamps of a camera it is the last view.

    Raises:
        InputError: it cannot be written.
    """
    images = {image.name: image for image in _images(saved.stored_submaps, export.confidence)}
    points = ScenePoints(saved.cloud.points, saved.cloud.colors)
    export_scene(folder, list(images.values()), points, saved.voxel_size, export.formats)


def _images(submaps: Sequence[StoredSubmap], confidence: ConfidenceConfig) -> Iterator[SceneImage]:
    for submap in submaps:
        mapping = _mapping(submap)
        stride = stride_of(mapping.network_size)
        for view in submap.views:
            frame = view.anchor.view.frame
            camera = f"_{frame.camera.replace('/', '_')}" if frame.camera else ""
            full = full_intrinsics(view.anchor.intrinsics, stride)
            yield SceneImage(
                f"{frame.stamp_ns // 10**9}.{frame.stamp_ns % 10**9:09d}{camera}.jpg",
                mapping.original_size,
                mapping.intrinsics_to_original(torch.from_numpy(full)).numpy(),
                view.anchor.map_from_cam,
                partial(_write, view),
                partial(_sight, view, mapping, confidence),
            )


def _write(view: StoredView, path: Path) -> None:
    write_atomically(path, view.jpeg.tobytes())


def _mapping(submap: StoredSubmap) -> PixelMapping:
    """From the stored pictures to the network's depth maps: reduced to its size, the middle cut out."""
    edge, height, width, _, map_height, map_width = submap.image_format
    share = edge / max(height, width)
    reduced = round(height * share), round(width * share)
    stored = reduced if share < 1 else (height, width)  # smaller pictures are stored as they are
    scale = reduced[1] / stored[1], reduced[0] / stored[0]
    offset = -((reduced[1] - map_width) // 2), -((reduced[0] - map_height) // 2)
    return PixelMapping(stored, (map_height, map_width), scale, offset)


def sights(
    submaps: Sequence[StoredSubmap], confidence: ConfidenceConfig
) -> Iterator[tuple[StoredSubmap, StoredView, Sight]]:
    """Of every stored view: trusted depth with colours, as far as it is stored."""
    for submap in submaps:
        mapping = _mapping(submap)
        for view in submap.views:
            yield submap, view, _sight(view, mapping, confidence)


def _sight(view: StoredView, mapping: PixelMapping, confidence: ConfidenceConfig) -> Sight:
    """Depth at the pixels that are stored, and the picture's mean colour around each."""
    depth = np.where(trusted(view.anchor, confidence), view.anchor.depth, np.float32(np.nan))
    stride = stride_of(mapping.network_size)
    u, v = pixel_axes(mapping.network_size, stride)
    (sx, sy), (ox, oy) = mapping.scale, mapping.offset
    size = max(1, round(stride / sx)), max(1, round(stride / sy))
    picture = cv2.blur(view.view().picture.image, size)
    height, width = mapping.original_size
    columns = np.clip((u - ox) / sx, 0, width - 1).astype(np.intp)
    rows = np.clip((v - oy) / sy, 0, height - 1).astype(np.intp)
    return Sight(depth, picture[rows[:, None], columns], view.anchor.intrinsics)
