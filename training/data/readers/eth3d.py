"""ETH3D (Schöps et al., CVPR 2017), training scenes of the DSLR camera: undistorted images, laser depth, metres.

The undistorted depth is not published: ``prepare eth3d`` makes it of the raw one.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from dvlt_ros.errors import DataError
from dvlt_ros.lens import pinhole

from ..benchmark_sequence import BenchmarkSequence, evenly, require_one_of
from .colmap import ColmapCamera, ColmapImage, camera_of, read_cameras, read_images
from .folder import read_image
from .optional import optional_package

logger = logging.getLogger(__name__)

SCENES = (
    "courtyard", "delivery_area", "electro", "facade", "kicker", "meadow", "office", "pipes", "playground",
    "relief", "relief_2", "terrace", "terrains",
)  # fmt: skip
CALIBRATION = "dslr_calibration_undistorted"
DEPTH_FOLDER = "ground_truth_depth/dslr_images_undistorted"
LOOKED_FOR = (
    f"<scene>/{{{CALIBRATION}/{{cameras,images}}.txt, images/dslr_images_undistorted/*.JPG, {DEPTH_FOLDER}/*.exr}}"
)
MAX_VIEWS = 100


def sequences(folder: Path) -> list[str]:
    return list(SCENES)


def open_sequence(folder: Path, name: str) -> BenchmarkSequence:
    """Views sorted by name; those without an image or a depth image on disk are left out with a warning.

    Raises:
        DataError: a missing calibration, or no view on disk.
    """
    require_one_of(name, SCENES, str(folder))
    scene = folder / name
    cameras, images = read_cameras(scene / CALIBRATION / "cameras.txt"), read_images(scene / CALIBRATION / "images.txt")
    views = [
        Eth3dView(scene, image, camera_of(image, cameras, "PINHOLE", scene / CALIBRATION / "cameras.txt"))
        for image in images
    ]
    missing = [path for view in views for path in (view.image_file, view.depth_file) if not path.is_file()]
    kept = [view for view in views if view.image_file.is_file() and view.depth_file.is_file()]
    if not kept:
        raise DataError(f"{missing[0]}: missing, as all {len(missing)} files are: `prepare eth3d` makes the depth")
    if missing:
        logger.warning("%s: %d of %d views left out: missing %s", name, len(views) - len(kept), len(views), missing[0])
    chosen = [kept[index] for index in evenly(len(kept), MAX_VIEWS)]
    poses = np.stack([view.image.world_from_cam for view in chosen])
    return BenchmarkSequence(name, tuple(chosen), poses, left_out=len(views) - len(kept))


@dataclass(frozen=True, eq=False)
class Eth3dView:
    scene: Path
    image: ColmapImage
    camera: ColmapCamera

    @property
    def image_file(self) -> Path:
        return self.scene / "images" / self.image.name

    @property
    def depth_file(self) -> Path:
        return self.scene / DEPTH_FOLDER / f"{PurePosixPath(self.image.name).stem}.exr"

    @property
    def source(self) -> str:
        return str(self.depth_file)

    def read(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        image = read_image(str(self.image_file))
        if image.shape[:2] != self.camera.size:
            sizes = f"{image.shape[1]} x {image.shape[0]}, its camera {self.camera.size[1]} x {self.camera.size[0]}"
            raise DataError(f"{self.image_file}: the image is {sizes}")
        depth = read_exr(self.depth_file)
        known = np.isfinite(depth) & (depth > 0)
        return image, np.where(known, depth, np.float32(0)), pinhole_of(self.camera, str(self.image_file))


def pinhole_of(camera: ColmapCamera, source: str) -> np.ndarray:
    """Intrinsics (3, 3) of a PINHOLE camera.

    Raises:
        DataError: another number of parameters, or impossible ones.
    """
    if len(camera.parameters) != 4:
        raise DataError(f"{source}: a PINHOLE camera has 4 parameters, got {len(camera.parameters)}")
    return pinhole(*camera.parameters, source)


def read_exr(path: Path) -> np.ndarray:
    """The first channel of an OpenEXR image, (H, W) float32.

    Raises:
        DataError: a missing or unreadable file.
        ConfigError: OpenEXR is not installed.
    """
    openexr = optional_package("OpenEXR", "reading ETH3D's depth")
    if not path.is_file():
        raise DataError(f"{path}: missing depth")
    try:
        channels = openexr.File(str(path), separate_channels=True).channels()
    except (RuntimeError, ValueError) as error:
        raise DataError(f"{path}: unreadable depth: {error}") from error
    return next(iter(channels.values())).pixels.astype(np.float32)
