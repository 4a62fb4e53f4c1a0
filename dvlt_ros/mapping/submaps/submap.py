"""Submaps: windows that become nodes of the pose graph, and their views, stored so that they can be recognized."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import cv2
import numpy as np

from ...alignment import Sim3
from ...errors import InputError
from ...geometry import every
from ...refinement import Keyframe, MotionDeviation
from ..data.frames import Frame, Picture, Reconstruction
from ..data.views import Anchor, View
from ..inference.prediction import WindowPrediction

SUBMAP_VIEWS = 3  # views of a window that are stored; fewer have little parallax
KEPT_PIXELS = 5_000  # of each stored depth map, about
JPEG_QUALITY = 90


@dataclass(frozen=True, eq=False)
class Submap:
    """A window as a node of the pose graph, in the frame of the visual map at that time."""

    number: int  # increases over the life of the mapper
    map_id: int  # of the visual map
    stamp_ns: int  # of the reference view
    frame_id: str
    map_from_cam: np.ndarray  # (4, 4) of the reference view
    depth: float  # its median, the map's unit
    num_registrations: int  # since the submap before; 0: no registration connects it to one
    forgotten: tuple[int, ...] = ()  # older submaps that are no longer stored
    motions: tuple[MotionDeviation, ...] = ()  # of those windows since the submap before that were refined
    is_place: bool = True  # its views are stored, so that it can be recognized
    keyframe: Keyframe | None = None  # of the reference view; None: it follows no tracks

    def index_in(self, reconstructions: Sequence[Reconstruction]) -> int:
        """Index of the reference view, which is one of the window's new views."""
        return next(
            i for i, r in enumerate(reconstructions) if (r.stamp_ns, r.frame_id) == (self.stamp_ns, self.frame_id)
        )


@dataclass
class RegistrationChain:
    """What joins the latest window to the latest submap."""

    length: int = 0  # registrations
    motions: list[MotionDeviation] = field(default_factory=list)  # of those windows that were refined

    def add(self, motion: MotionDeviation | None) -> None:
        """One more window; ``motion``: of its newest view since the window before, None: it is not refined."""
        self.length += 1
        if motion is not None:
            self.motions.append(motion)


@dataclass(frozen=True, eq=False)
class StoredView:
    """A view with its depth, compressed: the picture as JPEG, and every n-th pixel of the depth map."""

    jpeg: np.ndarray  # bytes
    picture_intrinsics: np.ndarray | None  # (3, 3), pixels of the stored picture
    anchor: Anchor  # thinned; its view is `without_pixels`

    @classmethod
    def of(cls, anchor: Anchor, image_size: int) -> StoredView:
        """``image_size``: the network's longest edge; a larger picture is reduced to it.

        Raises:
            InputError: the picture cannot be encoded.
        """
        picture = _smaller(anchor.view.picture, image_size)
        done, jpeg = cv2.imencode(".jpg", picture.image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        if not done:
            raise InputError(f"a picture of {picture.image.shape} cannot be kept as JPEG")
        stride = stride_of(anchor.depth.shape)
        thin = Anchor(
            without_pixels(anchor.view.number, anchor.view.frame, anchor.view.frame_set),
            thinned_maps(anchor.depth, stride), thinned_maps(anchor.confidence, stride),
            thinned_intrinsics(anchor.intrinsics, stride), anchor.map_from_cam,
        )  # fmt: skip
        return cls(jpeg, picture.intrinsics, thin)

    def view(self) -> View:
        """The view with its pixels decoded."""
        image = np.ascontiguousarray(np.asarray(cv2.imdecode(self.jpeg, cv2.IMREAD_COLOR))[..., ::-1])
        return replace(self.anchor.view, picture=Picture(image, self.picture_intrinsics))

    def moved(self, other_from_map: Sim3) -> StoredView:
        """The same view in another frame and unit."""
        depth = other_from_map.apply_to_depth(self.anchor.depth)
        pose = other_from_map.apply_to_poses(self.anchor.map_from_cam)
        return replace(self, anchor=replace(self.anchor, depth=depth, map_from_cam=pose))


@dataclass(frozen=True, eq=False)
class StoredSubmap:
    """The views of a submap, from which it can be recognized later."""

    number: int
    views: tuple[StoredView, ...]
    image_size: int  # the network's longest edge
    image_format: tuple[int, ...]  # edge, sizes of picture and depth map; submaps in one window need equal formats
    descriptor: np.ndarray  # (cells, channels) of the reference view

    @classmethod
    def of(cls, number: int, anchors: Sequence[Anchor], image_size: int, descriptor: np.ndarray) -> StoredSubmap:
        """Stores `SUBMAP_VIEWS` of the anchors, evenly spread, the newest one included."""
        kept = np.unique(np.linspace(0, len(anchors) - 1, SUBMAP_VIEWS).round().astype(int))
        views = tuple(StoredView.of(anchors[i], image_size) for i in kept)
        image_format = image_size, *anchors[0].view.picture.image.shape, *anchors[0].depth.shape
        return cls(number, views, image_size, image_format, descriptor)

    @property
    def submap_views(self) -> SubmapViews:
        """Without the pictures, for `verify`."""
        return SubmapViews(self.number, tuple(view.anchor for view in self.views))

    def moved(self, other_from_map: Sim3) -> StoredSubmap:
        """The same submap in another frame and unit."""
        return replace(self, views=tuple(view.moved(other_from_map) for view in self.views))


@dataclass(frozen=True, eq=False)
class SubmapViews:
    """A few views of a submap in the submap's own frame and unit."""

    submap: int
    views: tuple[Anchor, ...]

    def __post_init__(self) -> None:
        if not self.views:
            raise InputError(f"submap {self.submap} has no views")


def format_text(image_format: tuple[int, ...]) -> str:
    """A `StoredSubmap.image_format` in words."""
    size, height, width, *_ = image_format
    return f"{width} x {height} at image_size {size}"


def thinned(prediction: WindowPrediction) -> WindowPrediction:
    """The prediction with its maps thinned like those of stored views."""
    stride = stride_of(prediction.depth.shape[1:])
    return replace(
        prediction,
        depth=thinned_maps(prediction.depth, stride),
        confidence=thinned_maps(prediction.confidence, stride),
        intrinsics=thinned_intrinsics(prediction.intrinsics, stride),
    )


def stride_of(size: tuple[int, ...], kept_pixels: int = KEPT_PIXELS) -> int:
    """The stride that leaves about ``kept_pixels`` of a depth map of this (height, width)."""
    return max(1, round((math.prod(size) / kept_pixels) ** 0.5))


def spread(thin: np.ndarray, shape: tuple[int, ...], stride: int) -> np.ndarray:
    """(H, W) bool of what was told of every ``stride``-th pixel, (h, w) or flat; what lies outside is False."""
    height, width = shape
    rows, columns = (len(range(stride // 2, length, stride)) for length in shape)
    full = np.repeat(np.repeat(thin.reshape(rows, columns), stride, axis=0), stride, axis=1)
    return np.pad(full, ((0, max(0, height - full.shape[0])), (0, max(0, width - full.shape[1]))))[:height, :width]


def thinned_maps(values: np.ndarray, stride: int) -> np.ndarray:
    """(..., h, w) of (..., H, W), a copy."""
    return np.ascontiguousarray(values[(..., *every(stride))])


def thinned_intrinsics(intrinsics: np.ndarray, stride: int) -> np.ndarray:
    """Intrinsics (..., 3, 3) of thinned maps: pixel n had its centre at ``stride * n + stride // 2 + 0.5``."""
    thin = intrinsics.copy()
    thin[..., :2, :] /= stride
    thin[..., :2, 2] += 0.5 - (stride // 2 + 0.5) / stride
    return thin


def full_intrinsics(thin: np.ndarray, stride: int) -> np.ndarray:
    """The inverse of `thinned_intrinsics`."""
    intrinsics = thin.copy()
    intrinsics[..., :2, 2] -= 0.5 - (stride // 2 + 0.5) / stride
    intrinsics[..., :2, :] *= stride
    return intrinsics


def _smaller(picture: Picture, image_size: int) -> Picture:
    """The picture reduced to the network's size, so that it is not resampled a second time."""
    height, width = picture.image.shape[:2]
    share = image_size / max(height, width)
    if share >= 1:
        return picture
    size = round(height * share), round(width * share)
    image = cv2.resize(picture.image, size[::-1], interpolation=cv2.INTER_AREA)
    if picture.intrinsics is None:
        return Picture(image, None)
    return Picture(image, np.diag([size[1] / width, size[0] / height, 1.0]) @ picture.intrinsics)


def without_pixels(number: int, frame: Frame, frame_set: int) -> View:
    """A view without pixels, whose frame cannot load them again."""
    return View(number, replace(frame, load=has_been_loaded), Picture(np.empty((0, 0, 3), np.uint8), None), frame_set)


def has_been_loaded() -> Picture:
    """Raises InputError: the ``load`` of a stored view's frame."""
    raise InputError("a stored view has no frame to load any more")
