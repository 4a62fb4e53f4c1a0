"""A scene as .glb, .ply and .rrd."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from ..errors import InputError
from ..export import write_ply
from ..export.glb import FrustumCameras, write_glb
from ..export.rerun import LoggedView, RerunRecording
from .scene import Scene, ShowOptions

Kind = Literal["glb", "ply", "rrd"]


def write_scene(path: Path, scene: Scene, options: ShowOptions) -> None:
    """By the path's suffix; the file is there whole or not at all.

    Raises:
        ConfigError: an .rrd without Rerun.
        InputError: another suffix, or the file cannot be written.
    """
    kind = path.suffix.removeprefix(".")
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
    about = f"{scene.model}, K = {scene.num_steps}, {len(scene.titles)} views; lengths are {unit}."
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


WRITERS: dict[str, Callable[[Path, Scene, ShowOptions], None]] = {"glb": _glb, "ply": _ply, "rrd": _rrd}
