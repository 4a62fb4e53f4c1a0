"""A scene as files for viewers, and as archives for programs that go on with it."""

from __future__ import annotations

import secrets
import shutil
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from ..errors import InputError
from ..export import write_ply
from ..export.glb import FrustumCameras, write_glb
from ..export.rerun import LoggedView, RerunRecording
from ..export.scenes import SceneFormat, SceneImage, ScenePoints, Sight, export_scene
from .choices import title_of
from .scene import Scene, ShowOptions

Kind = Literal["glb", "ply", "rrd", "splats.ply", "colmap.zip", "nerfstudio.zip"]  # what follows the name's first dot
VIEWED: tuple[Kind, ...] = ("glb", "ply", "rrd")  # a scene as the page shows it
VOXELS = 500  # along a scene's extent, about as many as a map of `Mapper` has
JPEG_QUALITY = 95


def write_scene(path: Path, scene: Scene, options: ShowOptions) -> None:
    """By the path's kind; the file is there whole or not at all.

    Raises:
        ConfigError: an .rrd without Rerun.
        InputError: another kind, or the file cannot be written.
    """
    kind = path.name.partition(".")[2]
    if kind not in WRITERS:
        raise InputError(f"{path}: must end in {', '.join(f'.{name}' for name in WRITERS)}")
    WRITERS[kind](path, scene, options)


def _glb(path: Path, scene: Scene, options: ShowOptions) -> None:
    chosen = scene.select(options)
    cameras = FrustumCameras(scene.world_from_cam, scene.intrinsics, scene.size)
    write_glb(path, chosen.points, chosen.colors, cameras, scene.frustum_size(options))


def _ply(path: Path, scene: Scene, options: ShowOptions) -> None:
    chosen = scene.select(options)
    write_ply(path, chosen.points, chosen.colors, chosen.confidence)


def _rrd(path: Path, scene: Scene, options: ShowOptions) -> None:
    unfinished = path.with_name(f".{secrets.token_hex(8)}.rrd")
    unit = "metres" if scene.is_metric else "up to one unknown factor"
    about = f"{title_of(scene.model)}, K = {scene.num_steps}, {len(scene.titles)} views; lengths are {unit}."
    try:
        with RerunRecording(unfinished, about) as recording:
            others = [index for index in range(len(scene.titles)) if index != scene.reference]
            recording.show(["scene"], [f"scene/cameras/{index}" for index in (scene.reference, *others)])
            recording.begin_space("scene", "optical")
            for index in range(len(scene.titles)):
                recording.set_view(index)
                view = LoggedView(
                    scene.images[index], scene.depth[index], scene.confidence[index], scene.intrinsics[index],
                    scene.world_from_cam[index],
                )  # fmt: skip
                recording.log_camera(f"scene/cameras/{index}", view)
                recording.log_line("scene/path", scene.world_from_cam[: index + 1, :3, 3])
            recording.set_view(0)
            chosen = scene.select(options)
            recording.log_points("scene/points", chosen.points, chosen.colors)
        unfinished.replace(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from error
    finally:
        unfinished.unlink(missing_ok=True)


def _splats(path: Path, scene: Scene, options: ShowOptions) -> None:
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".") as folder:
        exported = Path(folder, "scene")
        _export(exported, scene, options, "splats")
        (exported / "splats.ply").replace(path)


def _archive(kind: SceneFormat, path: Path, scene: Scene, options: ShowOptions) -> None:
    """A folder of that name, as a zip."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".") as folder:
        _export(Path(folder, "scene"), scene, options, kind)
        packed = shutil.make_archive(str(Path(folder, "packed")), "zip", root_dir=folder, base_dir="scene")
        Path(packed).replace(path)


def _export(folder: Path, scene: Scene, options: ShowOptions, kind: SceneFormat) -> None:
    """Images as the network saw them; depth only where the sliders show points."""
    chosen = scene.select(options)
    certain = scene.certain(options)

    def image(index: int) -> SceneImage:
        depth = np.where(certain[index], scene.depth[index], np.float32(np.nan))
        sight = Sight(depth, scene.images[index], scene.intrinsics[index])
        encoded = cv2.imencode(".jpg", scene.images[index][..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
        return SceneImage(
            f"{index:03d}.jpg", scene.size, scene.intrinsics[index], scene.world_from_cam[index],
            write=lambda path: path.write_bytes(encoded.tobytes()), sight=lambda: sight,
        )  # fmt: skip

    images = [image(index) for index in range(len(scene.titles))]
    export_scene(folder, images, ScenePoints(chosen.points, chosen.colors), scene.extent / VOXELS, [kind])


WRITERS: dict[Kind, Callable[[Path, Scene, ShowOptions], None]] = {
    "glb": _glb, "ply": _ply, "rrd": _rrd, "splats.ply": _splats,
    "colmap.zip": partial(_archive, "colmap"), "nerfstudio.zip": partial(_archive, "nerfstudio"),
}  # fmt: skip
