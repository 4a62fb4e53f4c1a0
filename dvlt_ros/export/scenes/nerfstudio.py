"""nerfstudio's transforms.json: camera to world with OpenGL axes, and intrinsics of every image.

Format: nerfstudio documentation, "Data conventions". The world is ours, z up, which is what nerfstudio expects.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..files import write_ply
from .scene import SceneImage, ScenePoints

OPENCV_FROM_OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])  # of a camera: its y is up there, and it looks along -z
POINTS = "sparse_pc.ply"  # which splatfacto begins with


def write_nerfstudio(folder: Path, images: Sequence[SceneImage], points: ScenePoints) -> None:
    """``transforms.json`` and the points beside it; the images are expected in ``images/``."""
    frames = [
        {
            "file_path": f"images/{image.name}",
            "transform_matrix": (image.world_from_cam @ OPENCV_FROM_OPENGL).tolist(),
            **_intrinsics(image),
        }
        for image in images
    ]
    content = {"camera_model": "PINHOLE", "ply_file_path": POINTS, "frames": frames}
    (folder / "transforms.json").write_text(json.dumps(content, indent=1) + "\n")
    write_ply(folder / POINTS, points.points, points.colors)


def _intrinsics(image: SceneImage) -> dict[str, Any]:
    (fx, _, cx), (_, fy, cy) = image.intrinsics[:2].tolist()
    height, width = image.size
    return {"fl_x": fx, "fl_y": fy, "cx": cx, "cy": cy, "w": width, "h": height}
