"""A sequence as the published protocol shows it to a network, and the truth that it is judged by."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dvlt_ros.errors import DataError
from dvlt_ros.geometry import homogeneous, pixel_centers, rotate, transform_points

from ..batches.augment import Frame
from ..data.sequence import RgbdSequence
from ..prepare.jobs import HalfPixel

# "published": depth is sampled at the upper left corner of a pixel and lifted through it, while images are
# resampled about pixel centres. "consistent": centres everywhere, as in the rest of this package.
SAMPLING: dict[HalfPixel, int] = {"published": cv2.INTER_NEAREST, "consistent": cv2.INTER_NEAREST_EXACT}
CENTRE: dict[HalfPixel, float] = {"published": 0.0, "consistent": 0.5}

MIN_DEPTH = 1e-8  # in the data set's unit


@dataclass(frozen=True, eq=False)
class Truth:
    """Ground truth of S views at the network's size, in the data set's own world frame and unit."""

    depth: Tensor  # (S, H, W) float32, along the optical axis, 0 where unknown
    world_from_cam: Tensor  # (S, 4, 4) float64
    intrinsics: Tensor  # (S, 3, 3) float64, pixels
    half_pixel: HalfPixel

    @property
    def valid(self) -> Tensor:
        """(S, H, W), bool."""
        return self.depth > MIN_DEPTH

    def points(self) -> Tensor:
        """World points (S, H, W, 3), float32."""
        return torch.stack([self.points_of_view(view).float() for view in range(len(self.depth))])

    def points_of_view(self, view: int) -> Tensor:
        """World points (H, W, 3) of one view, float64: of all views at once they would be most of the memory."""
        depth, pose, intrinsics = self.depth[view], self.world_from_cam[view], self.intrinsics[view]
        height, width = depth.shape
        pixels = homogeneous(pixel_centers(height, width, like=intrinsics) - 0.5 + CENTRE[self.half_pixel])
        return transform_points(pose, rotate(torch.linalg.inv(intrinsics), pixels) * depth.unsqueeze(-1))


@dataclass(frozen=True, eq=False)
class Scene:
    """S views, the first of which is the reference. One set of images, one truth for each convention."""

    name: str
    images: Tensor  # (S, 3, H, W) float32 in [0, 1], 0 on padding
    truths: dict[HalfPixel, Truth]


@dataclass(frozen=True, eq=False)
class _View:
    image: np.ndarray  # (h, w, 3) uint8
    depths: dict[HalfPixel, np.ndarray]  # (h, w) float32
    intrinsics: np.ndarray  # (3, 3), pixels
    world_from_cam: np.ndarray  # (4, 4)


def prepare_scene(
    sequence: RgbdSequence, image_size: int, patch_size: int, conventions: Sequence[HalfPixel] = ("published",)
) -> Scene:
    """Every frame of a sequence, in its order, in the published "crop" mode.

    The width becomes ``image_size`` and the height the nearest multiple of ``patch_size`` (which stretches a
    little); what is higher than wide loses its upper and lower rows. Smaller frames of a sequence get a frame
    of zeros. Frames are read one by one: no more than one is in memory at its own size.

    Raises:
        DataError: no frames, one that cannot be used, or none with a valid depth.
    """
    views = list(_views(sequence, image_size, patch_size, conventions))
    if not views:
        raise DataError(f"{sequence.name}: no frames")
    height = max(len(view.image) for view in views)
    above = [(height - len(view.image)) // 2 for view in views]
    images = torch.zeros(len(views), 3, height, image_size)
    intrinsics = np.stack([view.intrinsics for view in views])
    intrinsics[:, 1, 2] += above
    for target, view, row in zip(images, views, above, strict=True):
        target[:, row : row + len(view.image)] = torch.from_numpy(view.image).permute(2, 0, 1).float() / 255
    truths = {}
    for convention in conventions:
        depth = torch.zeros(len(views), height, image_size)
        for layer, view, row in zip(depth, views, above, strict=True):
            layer[row : row + len(view.image)] = torch.from_numpy(view.depths[convention])
        poses = torch.from_numpy(np.stack([view.world_from_cam for view in views]))
        truths[convention] = Truth(depth, poses, torch.from_numpy(intrinsics), convention)
        if not truths[convention].valid.any():
            raise DataError(f"{sequence.name}: no pixel of its {len(views)} frames has a valid depth")
    return Scene(sequence.name, images, truths)


def _views(
    sequence: RgbdSequence, image_size: int, patch_size: int, conventions: Sequence[HalfPixel]
) -> Iterator[_View]:
    for index in range(len(sequence)):
        frame = sequence.frame(index)
        try:
            yield _resize(frame, image_size, patch_size, conventions)
        except DataError as error:
            raise DataError(f"{sequence.name}: frame {index}: {error}") from error


def _resize(frame: Frame, image_size: int, patch_size: int, conventions: Sequence[HalfPixel]) -> _View:
    height, width = frame.depth.shape
    resized = round(image_size * height / width / patch_size) * patch_size
    if resized == 0:
        raise DataError(f"{width} x {height} pixels leave no row of patches at width {image_size}")
    top = max(resized - image_size, 0) // 2
    rows = slice(top, top + min(resized, image_size))
    image = Image.fromarray(frame.image).resize((image_size, resized), Image.Resampling.BICUBIC)
    depth = np.where(np.isfinite(frame.depth), frame.depth, 0).astype(np.float32)
    depths = {
        convention: cv2.resize(depth, (image_size, resized), interpolation=SAMPLING[convention])[rows]
        for convention in conventions
    }
    network_from_frame = np.array([[image_size / width, 0, 0], [0, resized / height, -top], [0, 0, 1]])
    return _View(np.array(image)[rows], depths, network_from_frame @ frame.intrinsics, frame.world_from_cam)
