"""pycolmap on the frames of a recording: incremental mapping with the true intrinsics and sequential matching.

pip install 'pycolmap==4.2.1'
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from dvlt_ros.errors import ConfigError
from dvlt_ros.mapping.sensors.odometry import inverse
from trajectories.sequences import Recording


def load() -> Any:
    """Raises ConfigError: it is not installed."""
    try:
        import pycolmap
    except ImportError as error:
        raise ConfigError(
            "pycolmap is not installed: pip install 'pycolmap==4.2.1', or leave out --classical"
        ) from error
    return pycolmap


@dataclass(frozen=True, eq=False)
class Model:
    """Lengths are up to one factor."""

    world_from_cam: dict[int, np.ndarray]  # (4, 4) by frame
    points: dict[int, np.ndarray]  # (P, 3) column, row and depth of what is seen in a frame


def reconstruct(recording: Recording, num_threads: int) -> list[Model]:
    """The one with most frames first."""
    pycolmap = load()
    pycolmap.logging.minloglevel = 2
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images, database = folder / "images", folder / "database.db"
        images.mkdir()
        for index, image in enumerate(recording.images):
            cv2.imwrite(str(images / f"{index:06d}.png"), image[..., ::-1])
        reader, extraction = pycolmap.ImageReaderOptions(), pycolmap.FeatureExtractionOptions()
        reader.camera_model = "PINHOLE"
        reader.camera_params = ",".join(str(recording.intrinsics[i]) for i in ((0, 0), (1, 1), (0, 2), (1, 2)))
        matching, mapping = pycolmap.FeatureMatchingOptions(), pycolmap.IncrementalPipelineOptions()
        extraction.num_threads = matching.num_threads = mapping.num_threads = num_threads
        mapping.ba_refine_focal_length = mapping.ba_refine_extra_params = False
        pycolmap.extract_features(
            database, images, camera_mode=pycolmap.CameraMode.SINGLE, reader_options=reader,
            extraction_options=extraction, device=pycolmap.Device.cpu,
        )  # fmt: skip
        pycolmap.match_sequential(database, matching_options=matching, device=pycolmap.Device.cpu)
        models = pycolmap.incremental_mapping(database, images, folder / "models", options=mapping)
    return sorted(map(_model, models.values()), key=lambda model: -len(model.world_from_cam))


def _model(found: Any) -> Model:
    poses, points = {}, {}
    for image in found.images.values():
        if not image.has_pose:
            continue
        index, cam_from_world = int(Path(image.name).stem), np.eye(4)
        cam_from_world[:3] = image.cam_from_world().matrix()
        poses[index] = inverse(cam_from_world)
        seen = [(point.xy, found.points3D[point.point3D_id].xyz) for point in image.points2D if point.has_point3D()]
        depths = [cam_from_world[2, :3] @ xyz + cam_from_world[2, 3] for _, xyz in seen]
        points[index] = np.array([(*xy, z) for (xy, _), z in zip(seen, depths, strict=True)]).reshape(-1, 3)
    return Model(poses, points)
