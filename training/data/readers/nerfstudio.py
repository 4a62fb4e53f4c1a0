"""nerfstudio's transforms.json: pinhole or distorted cameras, OpenGL poses, depth in 16-bit images.

https://docs.nerf.studio/quickstart/data_conventions.html. Pixel (0, 0) is centred at (0.5, 0.5), as here.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from dvlt_ros.errors import DataError
from dvlt_ros.lens import Lens, LensModel
from dvlt_ros.sources.border import border

from .folder import DepthCoding, FolderSequence, FrameFiles, build_sequence, image_size

LOOKED_FOR = "transforms.json"
OPENGL_FROM_OPENCV = np.diag([1.0, -1.0, -1.0, 1.0])  # of the camera axes; its own inverse
RADIAL_TANGENTIAL = ("k1", "k2", "p1", "p2", "k3")  # OpenCV's order
FISHEYE = ("k1", "k2", "k3", "k4")
MODELS = ("OPENCV", "OPENCV_FISHEYE", "PINHOLE", "SIMPLE_PINHOLE", "PERSPECTIVE")


def is_root(path: Path) -> bool:
    return (path / "transforms.json").is_file()


def read(path: Path, file: str = "transforms.json", depth_unit_m: float | None = None) -> FolderSequence:
    """One folder with a transforms.json; its poses are taken back to metres and to the original world.

    ``depth_unit_m`` is metres per unit of the depth images; by default the file's own factor
    (``depth_unit_scale_factor``), else a millimetre.

    Raises:
        DataError: an unreadable file, or no frame with depth, camera and pose.
    """
    meta = load_json(path / file)
    source = str(path / file)
    unit = _positive(meta, "depth_unit_scale_factor", 1e-3, source) if depth_unit_m is None else depth_unit_m
    original_from_file = _original_from_file(meta, source)
    scale = _positive(meta, "applied_scale", 1.0, source)

    def load(entry: dict[str, Any]) -> tuple[FrameFiles, np.ndarray]:
        if "depth_file_path" not in entry:
            named = path / str(entry.get("file_path"))
            raise DataError(f"{named}: missing depth: the frame has no depth_file_path")
        image = file_of(path, entry, "file_path")
        depth = file_of(path, entry, "depth_file_path")
        pose = original_from_file @ pose_of(entry, image)
        pose[:3, 3] /= scale
        return FrameFiles(image, depth, lens_of(meta, entry, image, source)), pose

    entries = sorted(meta["frames"], key=lambda entry: _natural(str(entry.get("file_path"))))
    return build_sequence(path.resolve().name, entries, load, DepthCoding(unit))


def file_of(path: Path, entry: dict[str, Any], field: str) -> str:
    """A file that a frame names, with the separators of any system.

    Raises:
        DataError: it is not there; now, not when training wants it.
    """
    name = str(entry.get(field))
    found = next((path / text for text in (name, name.replace("\\", "/")) if (path / text).is_file()), None)
    if found is None:
        raise DataError(f"{path / name}: missing {'image' if field == 'file_path' else 'depth'}")
    return str(found)


def load_json(path: Path) -> dict[str, Any]:
    """A transforms file with its list of frames.

    Raises:
        DataError: an unreadable file, or one without frames.
    """
    with border(path, "unreadable"):
        meta = json.loads(path.read_text(encoding="utf-8-sig"))
    frames = meta.get("frames") if isinstance(meta, dict) else None
    if not isinstance(frames, list) or not frames or not all(isinstance(entry, dict) for entry in frames):
        raise DataError(f"{path}: no list of frames")
    return meta


def lens_of(meta: dict[str, Any], entry: dict[str, Any], image: str, source: str) -> Lens:
    """A frame's camera: its own values before the file's shared ones.

    Raises:
        DataError: missing or impossible values, or a camera model that is not known here.
    """
    value = {**meta, **entry}
    height, width = value.get("h"), value.get("w")
    if height is None or width is None:
        height, width = image_size(image)
    missing = [name for name in ("fl_x", "cx", "cy") if name not in value]
    if missing:
        raise DataError(f"{source}: {image}: no intrinsics {missing}")
    model = value.get("camera_model", "OPENCV")
    names = {"OPENCV_FISHEYE": FISHEYE, "PINHOLE": ()}.get(model, RADIAL_TANGENTIAL)
    if model not in MODELS or (names is RADIAL_TANGENTIAL and value.get("k4")):
        model = f"{model} with k4" if model in MODELS else model
        raise DataError(f"{source}: {image}: camera_model {model} is not supported: undistort the images first")
    try:
        distortion = tuple(float(value.get(name, 0.0)) for name in names)
        focal = float(value["fl_x"]), float(value.get("fl_y", value["fl_x"]))
        center, size = (float(value["cx"]), float(value["cy"])), (int(height), int(width))
    except (TypeError, ValueError) as error:
        raise DataError(f"{source}: {image}: intrinsics must be numbers: {error}") from error
    kind: LensModel = "equidistant" if names is FISHEYE else "plumb_bob"
    return Lens(*focal, *center, size, kind, distortion, f"{source}: {image}")


def pose_of(entry: dict[str, Any], source: str) -> np.ndarray:
    """A frame's pose (4, 4) in the file's world with OpenCV camera axes; the file's have y up and z backward.

    Raises:
        DataError: no such matrix.
    """
    try:
        return np.array(entry["transform_matrix"], dtype=np.float64).reshape(4, 4) @ OPENGL_FROM_OPENCV
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{source}: transform_matrix must be a 4x4 matrix ({error!r})") from error


def _natural(name: str) -> list[int | str]:
    """Sorts frame 2 before frame 10."""
    return [int(part) if part.isdigit() else part for part in re.split(r"([0-9]+)", name)]


def _positive(meta: dict[str, Any], name: str, default: float, source: str) -> float:
    value = meta.get(name, default)
    if not isinstance(value, int | float) or not (value > 0 and np.isfinite(value)):
        raise DataError(f"{source}: {name} must be above 0, got {value!r}")
    return float(value)


def _original_from_file(meta: dict[str, Any], source: str) -> np.ndarray:
    """Inverse (4, 4) of ``applied_transform``, which nerfstudio's converters put before the poses."""
    applied = np.eye(4)
    if "applied_transform" in meta:
        try:
            applied[:3] = np.array(meta["applied_transform"], dtype=np.float64)[:3]
            return np.linalg.inv(applied)
        except (ValueError, IndexError, np.linalg.LinAlgError) as error:
            raise DataError(f"{source}: applied_transform must be an invertible 3x4 matrix: {error}") from error
    return applied
