"""ScanNet++, undistorted: scannetpp_undistort/<id>/{undistorted_images, undistorted_depth, nerfstudio}."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import numpy as np

from dvlt_ros.errors import DataError

from .folder import DepthCoding, FolderSequence, FrameFiles, build_sequence
from .nerfstudio import lens_of, load_json, pose_of

LOOKED_FOR = "nerfstudio/transforms_undistorted.json, undistorted_images and undistorted_depth"
CODING = DepthCoding(kind="float16")
# The published loader's world: x and y swapped, z negated. A rotation, so that only the world's axes change.
WORLD_FROM_FILE = np.array([[0.0, 1, 0, 0], [1, 0, 0, 0], [0, 0, -1, 0], [0, 0, 0, 1]])


def is_root(path: Path) -> bool:
    return (path / "nerfstudio" / "transforms_undistorted.json").is_file()


def read(path: Path) -> FolderSequence:
    """One scene folder; listed frames that preprocessing skipped (no image or depth on disk) are left out.

    Raises:
        DataError: an unreadable list, or no frame on disk.
    """
    source = path / "nerfstudio" / "transforms_undistorted.json"
    meta = load_json(source)
    listed = meta["frames"] + meta.get("test_frames", [])
    entries = {PurePosixPath(str(entry.get("file_path"))).name: entry for entry in listed}
    with_depth = {file.stem for file in (path / "undistorted_depth").glob("*.png")}
    images = [
        file
        for file in sorted((path / "undistorted_images").glob("*"))
        if file.name in entries and file.stem in with_depth
    ]
    if not images:
        raise DataError(f"{path}: none of the {len(entries)} listed frames has an image and a depth image on disk")
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
    listing = path.resolve().parent.parent / f"{split}.txt"
    try:
        return path.resolve().name in listing.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{listing}: unreadable list of scenes: {error}") from error
