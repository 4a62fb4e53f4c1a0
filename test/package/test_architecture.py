"""The import arrows of the package: what each room may know."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MAPPING = ROOT / "dvlt_ros" / "mapping"

# Room: the rooms of this package that it may import. Arrows point one way.
ARROWS = {
    "errors": set(),
    "types": {"errors"},
    "geometry": {"errors", "types"},
    "cameras": {"errors", "types", "geometry"},
    "alignment": {"errors", "types", "geometry"},
    "model": {"errors", "types", "geometry", "cameras", "alignment", "checkpoints"},
    "backends": {"errors", "types", "geometry", "cameras", "model", "checkpoints"},
    "fast": {"errors", "types", "geometry", "cameras", "alignment", "model"},
    "lens": {"errors"},
    "sources": {"errors", "types", "geometry", "lens"},
    "parameters": {"errors"},
    "robust": {"errors", "geometry"},
    "mapping": {
        "errors",
        "types",
        "geometry",
        "cameras",
        "alignment",
        "robust",
        "parameters",
        "checkpoints",
        "model",
        "backends",
        "fast",
    },
    "export": {"errors", "types", "geometry"},
    "evaluation": {"errors", "sources", "export"},
    "evaluate_trajectory": {"errors", "evaluation", "export"},
    "checkpoints": set(),
    "demo": set(),
    "viewing": {"mapping", "export"},
    "offline": {"errors", "alignment", "parameters", "mapping", "sources", "export", "viewing"},
    "web": {"errors", "types", "geometry", "lens", "model", "backends", "sources", "export", "checkpoints", "demo"},
    "reconstruct_bag": {"errors", "lens", "backends", "mapping", "sources", "offline", "checkpoints"},
    "benchmark": {"errors", "types", "geometry", "cameras", "alignment", "model", "mapping"},
    "ros": {
        "errors",
        "types",
        "geometry",
        "cameras",
        "alignment",
        "lens",
        "parameters",
        "model",
        "backends",
        "mapping",
        "sources",
        "export",
        "checkpoints",
        "demo",
        "viewing",
    },
    "training": {
        "errors",
        "types",
        "geometry",
        "cameras",
        "alignment",
        "lens",
        "model",
        "backends",
        "sources",
        "benchmark",
        "export",
    },
}
# The rooms inside `mapping`, in the order of the pipeline: a room imports only rooms that stand before it in its list.
MAPPING_ARROWS = {
    "data": set(),
    "inference": {"data"},
    "budget": {"inference"},
    "scale": set(),
    "sensors": {"data", "scale"},
    "keyframes": {"data", "sensors"},
    "submaps": {"data", "inference", "sensors"},
    "pose_graph": {"data", "scale", "sensors", "submaps"},
    "loops": {"data", "inference", "pose_graph", "submaps"},
    "front_end": {"data", "inference", "budget", "sensors", "keyframes", "submaps", "pose_graph", "loops"},
    "maps": {"data", "scale", "sensors", "submaps", "pose_graph", "front_end"},
    "outputs": {"data"},
}
# What puts the rooms together may import them all.
MAPPING_TOP = {"config", "mapper", "relocalization", "loop_closer", "worker"}
