"""Benchmarks as they are downloaded, written from a box."""

from __future__ import annotations

from pathlib import Path

import benchmark_files as files
import numpy as np

CHESS = "chess/seq-03"


def write_sevenscenes(root: Path, scene, poses: np.ndarray, unit_m: float = 1e-3) -> Path:
    return files.write_seven_scenes(root / "sevenscenes" / CHESS, scene, poses, projected=True, unit_m=unit_m)


WRITERS = {
    "dtu": (files.write_dtu, "scan1"),
    "eth3d": (files.write_eth3d, "relief"),
    "sevenscenes": (write_sevenscenes, CHESS),
    "scannetpp": (files.write_scannetpp, files.SCANNETPP_ID),
    "nuscenes": (files.write_nuscenes, "scene-0103"),
}
