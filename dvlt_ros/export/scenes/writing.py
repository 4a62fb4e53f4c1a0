"""Scenes as folders in which each program finds what it opens."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..atomic import replacing
from .colmap import SeenPoints, seen_points, write_colmap
from .nerfstudio import write_nerfstudio
from .scene import MODEL_FORMATS, SceneFormat, SceneImage, ScenePoints, check_scene
from .splats import SplatMap, splats_of, write_splats

MOST_POINTS = 100_000  # of a model, which programs begin their training with
FINER = 4.0  # splats begin with voxels that are so much smaller than those of the map's cloud
OF_SIGHTS: tuple[SceneFormat, ...] = ("colmap", "splats")  # which look at depth
ENTRIES = {"images", "sparse", "transforms.json", "sparse_pc.ply", "splats.ply"}  # of a scene's folder


def export_scene(
    folder: Path,
    images: Sequence[SceneImage],
    points: ScenePoints,
    voxel_size: float,
    formats: Sequence[SceneFormat],
) -> None:
    """A folder that COLMAP, nerfstudio and splat viewers open; it is there whole or not at all.

    ``images/`` and ``sparse/0/`` (colmap), ``transforms.json`` and ``sparse_pc.ply`` (nerfstudio), ``splats.ply``.

    Args:
        voxel_size: of the points, in the world's unit.

    Raises:
        InputError: nothing to write, or it cannot be written.
    """
    check_scene(folder, images, points)
    points = points.at_most(MOST_POINTS)
    splats = SplatMap(voxel_size / FINER) if "splats" in formats else None
    seen: list[SeenPoints] = []
    with replacing(folder) as unfinished:
        unfinished.mkdir()
        if set(formats) & set(MODEL_FORMATS):
            _write_images(unfinished / "images", images)
        for image in images if set(formats) & set(OF_SIGHTS) else ():
            sight = image.sight()
            if "colmap" in formats:
                seen.append(seen_points(points.points, image, sight))
            if splats is not None:
                splats.add(splats_of(sight, image.world_from_cam))
        if "colmap" in formats:
            write_colmap(unfinished, images, points, seen)
        if "nerfstudio" in formats:
            write_nerfstudio(unfinished, images, points)
        if splats is not None:
            write_splats(unfinished / "splats.ply", splats.splats())


def _write_images(folder: Path, images: Sequence[SceneImage]) -> None:
    folder.mkdir()
    for image in images:
        image.write(folder / image.name)
