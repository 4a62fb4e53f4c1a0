"""ScanNet++, undistorted: scannetpp_undistort/<id>/{undistorted_images, undistorted_depth, nerfstudio}."""

from __future__ import annotations

import logging
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from dvlt_ros.errors import DataError

from ..benchmark_sequence import BenchmarkSequence, ImageView, evenly
from .folder import DepthCoding, FolderSequence, FrameFiles, build_sequence
from .nerfstudio import lens_of, load_json, pose_of

logger = logging.getLogger(__name__)

LOOKED_FOR = "nerfstudio/transforms_undistorted.json, undistorted_images and undistorted_depth"
CODING = DepthCoding(kind="float16")
UNDISTORTED = "scannetpp_undistort"
BENCHMARK_SPLIT = "nvs_sem_val"
BENCHMARK_FILES = f"{BENCHMARK_SPLIT}.txt and {UNDISTORTED}/<id>/{{undistorted_images, undistorted_depth, nerfstudio}}"
MAX_VIEWS = 100
# The published loader's world: x and y swapped, z negated. A rotation, so that only the world's axes change.
WORLD_FROM_FILE = np.array([[0.0, 1, 0, 0], [1, 0, 0, 0], [0, 0, -1, 0], [0, 0, 0, 1]])


def is_root(path: Path) -> bool:
    return _listing(path).is_file()


def _listing(path: Path) -> Path:
    return path / "nerfstudio" / "transforms_undistorted.json"


def _listed(source: Path) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """The camera of a scene, and its frames by the names of their images. Raises DataError: an unreadable list."""
    meta = load_json(source)
    frames = meta["frames"] + meta.get("test_frames", [])
    return meta, {PurePosixPath(str(entry.get("file_path"))).name: entry for entry in frames}


def read(path: Path) -> FolderSequence:
    """One scene folder; listed frames that preprocessing skipped (no image or depth on disk) are left out.

    Raises:
        DataError: an unreadable list, or no frame on disk.
    """
    source = _listing(path)
    meta, entries = _listed(source)
    with_depth = {file.stem for file in (path / "undistorted_depth").glob("*.png")}
    images = [
        file
        for file in sorted((path / "undistorted_images").glob("*"))
        if file.name in entries and file.stem in with_depth
    ]
    if not images:
        raise DataError(f"{path}: none of the {len(entries)} listed frames has an image and a depth image on disk")
    if len(images) < len(entries):
        missing = len(entries) - len(images)
        logger.warning("%s: %d of %d listed frames are not on disk with their depth", path, missing, len(entries))
    lens = lens_of(meta, {}, str(images[0]), str(source))

    def load(image: Path) -> tuple[FrameFiles, np.ndarray]:
        files = FrameFiles(str(image), str(path / "undistorted_depth" / f"{image.stem}.png"), lens)
        return files, WORLD_FROM_FILE @ pose_of(entries[image.name], str(image))

    return build_sequence(path.resolve().name, images, load, CODING)


def in_split(path: Path, split: str) -> bool:
    """Whether ``<split>.txt`` beside scannetpp_undistort names this scene.

    Raises:
        DataError: no such list.
    """
    return path.resolve().name in scenes_of(path.resolve().parent.parent / f"{split}.txt")


def scenes_of(listing: Path) -> list[str]:
    """Ids of a split's scenes.

    Raises:
        DataError: no such list.
    """
    try:
        return listing.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{listing}: unreadable list of scenes: {error}") from error


def sequences(folder: Path) -> list[str]:
    """The scenes of the benchmark's split.

    Raises:
        DataError: no such list.
    """
    return scenes_of(folder / f"{BENCHMARK_SPLIT}.txt")


def open_sequence(folder: Path, name: str) -> BenchmarkSequence:
    """At most 100 of the frames on disk, evenly spaced, sorted by name.

    Raises:
        DataError: a missing scene, an unreadable list, or no frame on disk.
    """
    path = folder / UNDISTORTED / name
    scene = read(path)
    chosen = evenly(len(scene), MAX_VIEWS)
    views = tuple(ImageView(scene.files[index], scene.coding) for index in chosen)
    left_out = len(_listed(_listing(path))[1]) - len(scene)
    return BenchmarkSequence(name, views, scene.world_from_cam[chosen], left_out=left_out)
