"""nuScenes' keyframes of the front camera with the lidar's points as sparse depth, one scene.h5 per scene.

Reads the published tables themselves: v1.0-trainval/*.json, samples/ and lidarseg/. Of the tables only the rows
that are needed stay in memory.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from dvlt_ros.errors import DataError
from dvlt_ros.sources.poses import pose_from_quaternion

from ..data.readers.nuscenes import SCENES, scene_file
from ..data.readers.optional import optional_package
from .jobs import HalfPixel, Job
from .projection import sparse_depth

VERSION = "v1.0-trainval"
CAMERA, LIDAR = "/CAM_FRONT/", "/LIDAR_TOP/"
DROPPED_CLASSES = (0, 31)  # lidarseg: noise, and the car that carries the lidar
MIN_DEPTH_M = 0.1

Row = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Tables:
    """Of the published tables what the benchmark's keyframes need; rows by token unless said."""

    first_samples: dict[str, str]  # by the scene's name
    next_samples: dict[str, str]
    camera_data: dict[str, Row]  # by the sample's token
    lidar_data: dict[str, Row]  # by the sample's token
    mounts: dict[str, Row]
    ego_poses: dict[str, Row]
    label_files: dict[str, str]  # by the token of the sweep


def names(source: Path) -> list[str]:
    return list(SCENES)


def plan(source: Path, folder: Path, name: str, half_pixel: HalfPixel) -> list[Job]:
    """One scene's file. Points fall into the pixel that contains them, under either convention.

    Raises:
        DataError: missing tables.
        ConfigError: h5py is not installed.
    """
    optional_package("h5py", "writing nuScenes scenes")
    job = Job(scene_file(folder, name), functools.partial(_write_scene, source, name))
    if not job.is_done and name not in read_tables(source).first_samples:
        raise DataError(f"{source / VERSION / 'scene.json'}: no scene {name!r}")
    return [job]


@functools.lru_cache(maxsize=1)
def read_tables(source: Path) -> Tables:
    """
    Raises:
        DataError: a missing or unreadable table, or lidarseg's categories replaced by those without an index.
    """
    folder = source / VERSION
    if not all("index" in row for row in _rows(folder / "category.json")):
        raise DataError(f"{folder / 'category.json'}: no index: extract lidarseg last, its own file must stay")
    data = _rows(folder / "sample_data.json", _is_needed)
    ego_tokens = {row["ego_pose_token"] for row in data}
    return Tables(
        first_samples={row["name"]: row["first_sample_token"] for row in _rows(folder / "scene.json")},
        next_samples={row["token"]: row["next"] for row in _rows(folder / "sample.json")},
        camera_data={row["sample_token"]: row for row in data if CAMERA in row["filename"]},
        lidar_data={row["sample_token"]: row for row in data if LIDAR in row["filename"]},
        mounts={row["token"]: row for row in _rows(folder / "calibrated_sensor.json")},
        ego_poses={r["token"]: r for r in _rows(folder / "ego_pose.json", lambda row: row["token"] in ego_tokens)},
        label_files={row["sample_data_token"]: row["filename"] for row in _rows(folder / "lidarseg.json")},
    )


def _is_needed(row: Row) -> bool:
    return row["is_key_frame"] and (CAMERA in row["filename"] or LIDAR in row["filename"])


def _rows(path: Path, needed: Callable[[Row], bool] | None = None) -> list[Row]:
    """A table's rows; those that are not needed are dropped while it is read, for it may have millions."""
    try:
        text = path.read_text(encoding="utf-8")
        if needed is None:
            return json.loads(text)
        return [row for row in json.loads(text, object_hook=lambda row: row if needed(row) else None) if row]
    except FileNotFoundError as error:
        raise DataError(f"{path}: missing table") from error
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(f"{path}: unreadable table: {error!r}") from error


def keyframes(tables: Tables, name: str) -> list[str]:
    """Tokens of a scene's samples, in time.

    Raises:
        DataError: a sample that no table has.
    """
    tokens = [tables.first_samples[name]]
    while following := tables.next_samples.get(tokens[-1]):
        tokens.append(following)
    if tokens[-1] not in tables.next_samples:
        raise DataError(f"{name}: no sample {tokens[-1]} in the tables, after {len(tokens) - 1} keyframes")
    return tokens


def _write_scene(source: Path, name: str, partial: Path) -> None:
    h5py, tables = optional_package("h5py", "writing nuScenes scenes"), read_tables(source)
    tokens = keyframes(tables, name)
    poses, intrinsics = [], []
    with h5py.File(partial, "w") as file:
        images, depths = file.create_group("images"), None
        for index, token in enumerate(tokens):
            try:
                encoded, depth, pose, camera = read_keyframe(source, tables, token)
            except KeyError as error:
                raise DataError(f"{source / VERSION}: {name}: keyframe {index} has no entry {error}") from error
            images.create_dataset(str(index), data=np.frombuffer(encoded, np.uint8))
            if depths is None:
                shape = (len(tokens), *depth.shape)
                depths = file.create_dataset("depths", shape, "f4", chunks=(1, *depth.shape), compression="gzip")
            depths[index] = depth
            poses.append(pose)
            intrinsics.append(camera)
        file["extrinsics_c2w"], file["intrinsics"] = np.stack(poses), np.stack(intrinsics)


def read_keyframe(source: Path, tables: Tables, token: str) -> tuple[bytes, np.ndarray, np.ndarray, np.ndarray]:
    """JPEG, sparse depth (H, W) in metres, global_from_cam (4, 4) and intrinsics (3, 3) of one sample.

    Raises:
        DataError: a missing or unreadable file.
        KeyError: a missing row.
    """
    camera, lidar = tables.camera_data[token], tables.lidar_data[token]
    image_file = source / camera["filename"]
    try:
        encoded = image_file.read_bytes()
    except OSError as error:
        raise DataError(f"{image_file}: missing image: {error}") from error
    image = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION)
    if image is None:
        raise DataError(f"{image_file}: unreadable image")
    global_from_cam, global_from_lidar = (_global_from_sensor(tables, row) for row in (camera, lidar))
    cam_from_lidar = np.linalg.inv(global_from_cam) @ global_from_lidar  # each at its own time
    points = read_sweep(source / lidar["filename"], source / tables.label_files[lidar["token"]])
    points_cam = points @ cam_from_lidar[:3, :3].T + cam_from_lidar[:3, 3]
    intrinsics = np.array(tables.mounts[camera["calibrated_sensor_token"]]["camera_intrinsic"], dtype=np.float64)
    depth = sparse_depth(points_cam, intrinsics, image.shape[:2], "truncate", MIN_DEPTH_M)
    return encoded, depth, global_from_cam, intrinsics


def read_sweep(path: Path, label_file: Path) -> np.ndarray:
    """Points (N, 3) of a sweep in the lidar's frame, without noise and the car itself.

    Raises:
        DataError: a missing file, or labels of another number of points.
    """
    try:
        values, labels = np.fromfile(path, dtype="<f4"), np.fromfile(label_file, dtype=np.uint8)
    except OSError as error:
        raise DataError(f"{error.filename or path}: missing or unreadable sweep: {error}") from error
    if values.size != 5 * labels.size:  # x, y, z, intensity, ring
        raise DataError(f"{label_file}: {labels.size} labels, but {path.name} has {values.size / 5:g} points")
    return values.reshape(-1, 5)[~np.isin(labels, DROPPED_CLASSES), :3].astype(np.float64)


def _global_from_sensor(tables: Tables, data: Row) -> np.ndarray:
    mount, ego = tables.mounts[data["calibrated_sensor_token"]], tables.ego_poses[data["ego_pose_token"]]
    return _pose(ego, data["filename"]) @ _pose(mount, data["filename"])


def _pose(row: Row, source: str) -> np.ndarray:
    w, x, y, z = row["rotation"]
    return pose_from_quaternion(row["translation"], (x, y, z, w), source)
