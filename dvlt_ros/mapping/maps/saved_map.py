"""A map on disk for relocalization: cloud, path and submaps with their place descriptors.

Everything is in the map's own frame and unit. The file is safetensors: arrays and a few strings, no code.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from ...errors import InputError
from ..data.frames import Cloud, Frame
from ..data.views import Anchor
from ..submaps.submap import StoredSubmap, StoredView, has_been_loaded, without_pixels
from .map_part import MapSnapshot

FORMAT = "dvlt_ros map 2"  # a change of names or meanings needs another number


@dataclass(frozen=True, eq=False)
class SavedMap:
    """The views of its submaps have their poses in the map, not in a window."""

    checkpoint: str  # digest; place descriptors of another network differ
    is_metric: bool
    cloud: Cloud
    voxel_size: float
    stamps_ns: np.ndarray  # (P,) int64, of the path
    map_from_cam: np.ndarray  # (P, 4, 4) float64
    stored_submaps: tuple[StoredSubmap, ...]  # oldest first

    def __post_init__(self) -> None:
        if not (len(self.stored_submaps) and len(self.cloud.points) and 0 < self.voxel_size < math.inf):
            raise InputError("a saved map needs submaps and voxels")
        anchors = [view.anchor for stored_submap in self.stored_submaps for view in stored_submap.views]
        shape = self.stored_submaps[0].descriptor.shape
        numbers = [
            ("points", (self.cloud.points,), (len(self.cloud.points), 3)),
            ("colors", (self.cloud.colors,), (len(self.cloud.points), 3)),
            ("confidence", (self.cloud.confidence,), (len(self.cloud.points),)),
            ("path", (self.map_from_cam,), (len(self.stamps_ns), 4, 4)),
            ("descriptors", [stored_submap.descriptor for stored_submap in self.stored_submaps], shape),
            ("places' cameras", [anchor.map_from_cam for anchor in anchors], (4, 4)),
            ("places' intrinsics", [anchor.intrinsics for anchor in anchors], (3, 3)),
        ]
        for name, arrays, expected in numbers:
            if any(array.shape != expected or not np.isfinite(array).all() for array in arrays):
                raise InputError(f"the {name} of a saved map must be finite and {expected}")

    @classmethod
    def of(
        cls, snapshot: MapSnapshot, stored_submaps: Mapping[int, StoredSubmap], checkpoint: str, is_metric: bool
    ) -> SavedMap:
        """``stored_submaps``: of this map and of others. Raises InputError: none is of this map."""
        known = sorted(snapshot.map_from_visual.keys() & stored_submaps.keys())
        if not known:
            raise InputError("no submap of this map is stored")
        placed = tuple(stored_submaps[number].moved(snapshot.map_from_visual[number]) for number in known)
        return cls(
            checkpoint, is_metric, snapshot.cloud, snapshot.voxel_size, snapshot.stamps_ns, snapshot.map_from_cam,
            placed,
        )  # fmt: skip

    def check(self, checkpoint: str, is_metric: bool) -> None:
        """Raises InputError: a node with this network and unit cannot relocalize in it."""
        if self.checkpoint != checkpoint:
            raise InputError(
                f"it was made with another checkpoint ({self.checkpoint[:8]}..., this one is {checkpoint[:8]}...), "
                "whose place descriptors differ"
            )
        if self.is_metric != is_metric:
            units = "metres", "a unit of its own"
            theirs, ours = units if self.is_metric else units[::-1]
            raise InputError(f"its lengths are in {theirs}, this node's in {ours}")

    def encoded(self) -> bytes:
        """The content of a file."""
        views = [view for stored_submap in self.stored_submaps for view in stored_submap.views]
        anchors = [view.anchor for view in views]
        frames = [anchor.view.frame for anchor in anchors]
        words = {
            "format": FORMAT, "checkpoint": self.checkpoint, "is_metric": json.dumps(self.is_metric),
            "voxel_size": json.dumps(self.voxel_size), "frame_ids": json.dumps([frame.frame_id for frame in frames]),
            "cameras": json.dumps([frame.camera for frame in frames]),
        }  # fmt: skip
        tensors = {
            "points": self.cloud.points, "colors": self.cloud.colors, "confidence": self.cloud.confidence,
            "stamps_ns": self.stamps_ns, "map_from_cam": self.map_from_cam,
            "descriptors": np.stack([stored_submap.descriptor for stored_submap in self.stored_submaps]),
            "image_formats": np.array([stored_submap.image_format for stored_submap in self.stored_submaps]),
            "num_views": np.array([len(stored_submap.views) for stored_submap in self.stored_submaps]),
            "view_stamps_ns": np.array([frame.stamp_ns for frame in frames]),
            "view_jpeg": np.concatenate([view.jpeg.ravel() for view in views]),
            "view_jpeg_size": np.array([view.jpeg.size for view in views]),
            "view_picture_intrinsics": np.stack([_or_nan(view.picture_intrinsics) for view in views]),
            "view_depth": np.concatenate([anchor.depth.ravel() for anchor in anchors]),
            "view_depth_size": np.array([anchor.depth.shape for anchor in anchors]),
            "view_confidence": np.concatenate([anchor.confidence.ravel() for anchor in anchors]),
            "view_intrinsics": np.stack([anchor.intrinsics for anchor in anchors]),
            "view_map_from_cam": np.stack([anchor.map_from_cam for anchor in anchors]),
        }  # fmt: skip
        return save({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}, words)


RIGID = 1e-3  # by which a rotation may miss R R^T = 1
KINDS = {  # NumPy's kinds of numbers: float, signed and unsigned integer
    "points": "f", "colors": "u", "confidence": "f", "stamps_ns": "i", "map_from_cam": "f", "descriptors": "f",
    "image_formats": "i", "num_views": "i", "view_stamps_ns": "i", "view_jpeg": "u", "view_jpeg_size": "i",
    "view_picture_intrinsics": "f", "view_depth": "f", "view_depth_size": "i", "view_confidence": "f",
    "view_intrinsics": "f", "view_map_from_cam": "f",
}  # fmt: skip


def read_saved_map(path: Path) -> SavedMap:
    """Raises InputError: no such file, not a saved map, truncated, or of another version."""
    try:
        with safe_open(path, framework="np") as file:
            words = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    except SafetensorError as error:
        raise InputError(f"{path}: not a whole map: {error}") from error
    if words.get("format") != FORMAT:
        raise InputError(f"{path}: its format is {words.get('format')!r}, this version reads {FORMAT!r}")
    try:
        _check_values(tensors)
        saved = _decoded(words, tensors)
        _check_pictures(saved)
    except KeyError as error:
        raise InputError(f"{path}: not a whole map: {error} is missing") from error
    except Exception as error:  # whatever the libraries raise at damaged numbers
        raise InputError(f"{path}: not a whole map: {' '.join(str(error).split())}") from error
    return saved


def _check_values(tensors: Mapping[str, np.ndarray]) -> None:
    """What `SavedMap` itself does not look at. Raises ValueError: poses that are not rigid, depths that are none."""
    for name, kind in KINDS.items():
        if tensors[name].dtype.kind != kind:
            raise ValueError(f"{name}: numbers of type {tensors[name].dtype}")
    for name in ("stamps_ns", "view_stamps_ns", "num_views", "view_jpeg_size"):
        if tensors[name].ndim != 1 or (tensors[name] < 0).any():
            raise ValueError(f"{name}: not a row of numbers from 0 upwards")
    if tensors["image_formats"].ndim != 2 or (tensors["image_formats"] < 1).any():
        raise ValueError("image_formats: not rows of sizes")
    if np.isinf(tensors["view_picture_intrinsics"]).any():
        raise ValueError("view_picture_intrinsics: a value that is infinite")
    if not (tensors["confidence"] > 0).all():
        raise ValueError("confidence: a value that is not above 0")
    for name in ("map_from_cam", "view_map_from_cam"):
        poses = tensors[name]
        if poses.shape[1:] == (4, 4) and np.isfinite(poses).all() and not is_rigid(poses).all():
            raise ValueError(f"{name}: a pose that is not rigid")
    for name in ("view_depth", "view_confidence"):
        if not np.isfinite(tensors[name]).all():
            raise ValueError(f"{name}: a value that is not finite")


def _check_pictures(saved: SavedMap) -> None:
    """Raises ValueError: pictures or depth maps that a loop could not be checked with."""
    if saved.stored_submaps[0].descriptor.ndim != 2:
        raise ValueError(f"descriptors: of shape {saved.stored_submaps[0].descriptor.shape}, not (cells, channels)")
    for stored_submap in saved.stored_submaps:
        for view in stored_submap.views:
            if view.anchor.depth.ndim != 2 or view.anchor.depth.shape != view.anchor.confidence.shape:
                raise ValueError(f"view_depth: of shape {view.anchor.depth.shape}")
            if cv2.imdecode(view.jpeg, cv2.IMREAD_REDUCED_GRAYSCALE_8) is None:  # the fastest
                raise ValueError("view_jpeg: a picture that cannot be decoded")


def is_rigid(poses: np.ndarray) -> np.ndarray:
    """(N,) of poses (N, 4, 4)."""
    rotations = poses[:, :3, :3].astype(np.float64)
    products = rotations @ rotations.transpose(0, 2, 1)
    with np.errstate(invalid="ignore"):
        turned = (np.abs(products - np.eye(3)) < RIGID).all(axis=(1, 2)) & (np.linalg.det(rotations) > 0)
        based = (np.abs(poses[:, 3] - [0, 0, 0, 1]) < RIGID).all(axis=1)
    found: np.ndarray = turned & based
    return found


def _decoded(words: Mapping[str, str], tensors: Mapping[str, np.ndarray]) -> SavedMap:
    columns = tensors["descriptors"], tensors["image_formats"].tolist(), tensors["num_views"].tolist()
    views = list(_views(words, tensors))
    if len(views) != sum(columns[2]) or 0 in columns[2]:
        raise ValueError(f"{len(views)} views for submaps of {sum(columns[2])}")
    rest = iter(views)
    stored_submaps = tuple(
        StoredSubmap(number, tuple(islice(rest, count)), image_format[0], tuple(image_format), descriptor)
        for number, (descriptor, image_format, count) in enumerate(zip(*columns, strict=True))
    )
    cloud = Cloud(tensors["points"], tensors["colors"], tensors["confidence"])
    return SavedMap(
        words["checkpoint"], {"true": True, "false": False}[words["is_metric"]], cloud, float(words["voxel_size"]),
        tensors["stamps_ns"], tensors["map_from_cam"], stored_submaps,
    )  # fmt: skip


def _views(words: Mapping[str, str], tensors: Mapping[str, np.ndarray]) -> Iterator[StoredView]:
    """Numbered below zero; the front end numbers its views from zero."""
    sizes = tensors["view_depth_size"]
    depths, confidences = (_parts(tensors[name], sizes) for name in ("view_depth", "view_confidence"))
    jpegs = _parts(tensors["view_jpeg"], tensors["view_jpeg_size"][:, None])
    columns = (
        tensors["view_stamps_ns"].tolist(), _names(words["frame_ids"]), _names(words["cameras"]), jpegs,
        tensors["view_picture_intrinsics"], depths, confidences, tensors["view_intrinsics"],
        tensors["view_map_from_cam"],
    )  # fmt: skip
    for i, row in enumerate(zip(*columns, strict=True)):
        stamp_ns, frame_id, camera, jpeg, picture_intrinsics, *maps = row
        frame = Frame(stamp_ns, frame_id, 0, has_been_loaded, camera)
        known = None if np.isnan(picture_intrinsics).any() else picture_intrinsics
        yield StoredView(jpeg, known, Anchor(without_pixels(-1 - i, frame, frame_set=-1 - i), *maps))


def _names(words: str) -> list[str]:
    names = json.loads(words)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"not a list of names: {words[:40]}")
    return names


def _parts(values: np.ndarray, sizes: np.ndarray) -> Sequence[np.ndarray]:
    """Splits values into arrays of these sizes (N, dimensions)."""
    ends = sizes.prod(axis=1).cumsum()
    if len(values) != (ends[-1] if len(ends) else 0):
        raise ValueError(f"{len(values)} values for {len(sizes)} arrays of {ends[-1:]} in all")
    return [part.reshape(size) for part, size in zip(np.split(values, ends[:-1]), sizes, strict=True)]


def _or_nan(intrinsics: np.ndarray | None) -> np.ndarray:
    return np.full((3, 3), np.nan) if intrinsics is None else intrinsics
