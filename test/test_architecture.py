"""The import arrows of the package: what each room may know."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Room: the rooms of this package that it may import. Arrows point one way.
ARROWS = {
    "errors": set(),
    "types": {"errors"},
    "geometry": {"errors", "types"},
    "cameras": {"errors", "types", "geometry"},
    "alignment": {"errors", "types", "geometry"},
    "model": {"errors", "types", "geometry", "cameras", "alignment", "checkpoints"},
    "models": {"errors", "types", "geometry", "cameras", "model", "checkpoints"},
    "fast": {"errors", "types", "geometry", "cameras", "alignment", "model"},
    "lens": {"errors"},
    "refinement": {"errors"},
    "sources": {"errors", "types", "geometry", "lens"},
    "engine": {"errors", "types", "geometry", "cameras", "alignment", "checkpoints", "model", "models", "fast"},
    "export": {"errors", "types", "geometry"},
    "evaluation": {"errors", "sources", "export"},
    "evaluate_trajectory": {"errors", "evaluation", "export"},
    "checkpoints": set(),
    "demo": set(),
    "viewing": {"engine", "export"},
    "offline": {"errors", "alignment", "engine", "sources", "export", "viewing"},
    "web": {"errors", "types", "geometry", "lens", "model", "models", "sources", "export", "checkpoints", "demo"},
    "reconstruct_bag": {"errors", "lens", "models", "engine", "sources", "offline", "checkpoints"},
    "benchmark": {"errors", "types", "geometry", "cameras", "alignment", "model", "engine"},
    "ros": {
        "errors",
        "types",
        "geometry",
        "cameras",
        "alignment",
        "lens",
        "model",
        "models",
        "engine",
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
        "models",
        "sources",
        "benchmark",
        "export",
    },
}
ROS_PACKAGES = {
    "ament_index_python", "builtin_interfaces", "cv_bridge", "diagnostic_msgs", "diagnostic_updater", "geometry_msgs",
    "launch", "launch_ros", "lifecycle_msgs", "nav_msgs", "rcl_interfaces", "rclpy", "sensor_msgs", "sensor_msgs_py",
    "std_msgs", "std_srvs", "tf2_msgs", "tf2_ros",
}  # fmt: skip
TRAINING_PACKAGES = {"accelerate", "hydra", "omegaconf", "tensorboard", "wandb"}


def modules():
    for folder, room in (("dvlt_ros", None), ("training", "training")):
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            if folder == "dvlt_ros" and parts[0] in ("training", "__init__"):
                continue
            yield path, room or parts[0], ("dvlt_ros", *([room] if room else []), *parts)


def imported(path, module):
    """Absolute dotted names of everything that a file imports, wherever in the file."""
    package = module[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = list(package[: len(package) - node.level + 1]) if node.level else []
            prefix = [*base, *((node.module or "").split(".") if node.module else [])]
            yield from (".".join([*prefix, alias.name]) for alias in node.names)


@pytest.mark.parametrize(("path", "room", "module"), [pytest.param(*m, id=".".join(m[2])) for m in modules()])
def test_imports_follow_the_arrows(path, room, module):
    assert room in ARROWS, f"{path} is in a room that the arrows do not know"
    for name in imported(path, module):
        top, *rest = name.split(".")
        if top == "dvlt_ros" and rest:
            assert rest[0] == room or rest[0] in ARROWS[room], f"{room} must not import {name}"
        assert top not in ROS_PACKAGES or room == "ros", f"{room} must not import {name}"
        assert top not in TRAINING_PACKAGES or room == "training", f"{room} must not import {name}"
        assert top != "training", f"{path}: the folder is installed as dvlt_ros.training"


def test_the_arrows_have_no_way_back():
    for room, known in ARROWS.items():
        assert all(room not in ARROWS[other] for other in known), room


def test_core_and_model_start_without_ros_training_extras_or_hub():
    blocked = sorted(ROS_PACKAGES | TRAINING_PACKAGES | {"huggingface_hub", "cv2", "matplotlib"})
    code = (
        "import sys\n"
        f"for name in {blocked!r}: sys.modules[name] = None\n"
        "import dvlt_ros, dvlt_ros.cameras, dvlt_ros.model, dvlt_ros.benchmark\n"
        "dvlt_ros.model.DvltConfig()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
