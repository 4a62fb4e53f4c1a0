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
    "programs": set(),
    "types": {"errors"},
    "geometry": {"errors", "types"},
    "cameras": {"errors", "types", "geometry"},
    "alignment": {"errors", "types", "geometry"},
    "model": {"errors", "types", "geometry", "cameras", "alignment", "checkpoints"},
    "backends": {"errors", "types", "geometry", "cameras", "model", "checkpoints"},
    "fast": {"errors", "types", "geometry", "cameras", "alignment", "model"},
    "runtimes": {"errors", "programs", "model", "checkpoints", "demo"},
    "lens": {"errors"},
    "frame_names": set(),
    "imaging": {"errors", "lens"},
    "sources": {"errors", "types", "geometry", "lens", "frame_names", "imaging"},
    "parameters": {"errors"},
    "parameter_names": set(),
    "robust": {"errors", "geometry"},
    "health": set(),
    "refinement": {"errors"},
    "export": {"errors", "types", "geometry", "frame_names"},
    "mapping": {
        "errors",
        "types",
        "geometry",
        "cameras",
        "alignment",
        "robust",
        "health",
        "parameters",
        "checkpoints",
        "model",
        "backends",
        "fast",
        "runtimes",
        "export",
        "refinement",
    },
    "sensing": {"errors", "geometry", "lens", "frame_names", "imaging", "sources", "mapping"},
    "evaluation": {"errors", "sources", "export"},
    "evaluate_trajectory": {"errors", "programs", "evaluation", "export"},
    "checkpoints": {"errors"},
    "old_names": set(),
    "demo": {"alignment", "export"},
    "viewing": {"mapping", "export"},
    "offline": {
        "errors",
        "geometry",
        "alignment",
        "frame_names",
        "health",
        "imaging",
        "parameters",
        "parameter_names",
        "mapping",
        "sensing",
        "sources",
        "export",
        "viewing",
    },
    "photos": {"errors", "lens", "imaging", "sources", "mapping"},
    "web": {
        "errors",
        "programs",
        "geometry",
        "lens",
        "imaging",
        "backends",
        "mapping",
        "photos",
        "sources",
        "export",
        "demo",
    },
    "reconstruct_bag": {
        "errors",
        "programs",
        "lens",
        "imaging",
        "backends",
        "mapping",
        "photos",
        "sources",
        "offline",
        "checkpoints",
    },
    "merge_maps": {"errors", "programs", "mapping"},
    "api": {"errors", "offline", "reconstruct_bag"},
    "benchmark": {"errors", "programs", "types", "geometry", "cameras", "alignment", "checkpoints", "model", "mapping"},
    "ros": {
        "errors",
        "programs",
        "types",
        "geometry",
        "cameras",
        "alignment",
        "lens",
        "frame_names",
        "imaging",
        "health",
        "parameters",
        "parameter_names",
        "model",
        "backends",
        "mapping",
        "sensing",
        "sources",
        "export",
        "checkpoints",
        "demo",
        "viewing",
    },
    "training": {
        "errors",
        "programs",
        "types",
        "geometry",
        "cameras",
        "alignment",
        "lens",
        "imaging",
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
    "loops": {"data", "inference", "pose_graph", "sensors", "submaps"},
    "front_end": {"data", "inference", "budget", "sensors", "keyframes", "submaps", "pose_graph", "loops"},
    "maps": {"data", "scale", "sensors", "submaps", "pose_graph", "front_end"},
    "outputs": {"data"},
    "surfaces": {"data", "submaps", "maps"},
}
# What puts the rooms together may import them all.
MAPPING_TOP = {"config", "kept_maps", "mapper", "mapping_thread", "loop_closer", "map_files", "merging", "status"}
ROS_PACKAGES = {
    "ament_index_python", "builtin_interfaces", "cv_bridge", "diagnostic_msgs", "diagnostic_updater", "geometry_msgs",
    "launch", "launch_ros", "lifecycle_msgs", "nav_msgs", "rcl_interfaces", "rclpy", "sensor_msgs", "sensor_msgs_py",
    "std_msgs", "std_srvs", "tf2_msgs", "tf2_ros", "visualization_msgs",
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


@pytest.mark.parametrize("arrows", [ARROWS, MAPPING_ARROWS], ids=["package", "mapping"])
def test_the_arrows_have_no_way_back(arrows):
    def reachable(room):
        return set().union(*({known} | reachable(known) for known in arrows[room]))

    for room in arrows:
        assert room not in reachable(room), room


@pytest.mark.parametrize(
    "path", [pytest.param(p, id=str(p.relative_to(MAPPING))) for p in sorted(MAPPING.rglob("*.py"))]
)
def test_mapping_is_built_in_stages(path):
    parts = path.relative_to(MAPPING).with_suffix("").parts
    if parts[0] in {"__init__", *MAPPING_TOP}:
        return
    for name in imported(path, ("dvlt_ros", "mapping", *parts)):
        _, *rest = name.split(".")
        if rest[:1] == ["mapping"]:
            assert rest[1] in {parts[0], *MAPPING_ARROWS[parts[0]]}, f"mapping/{parts[0]} must not import {name}"


def test_core_and_model_start_without_ros_training_extras_or_hub():
    blocked = sorted(ROS_PACKAGES | TRAINING_PACKAGES | {"huggingface_hub", "cv2", "matplotlib"})
    code = (
        "import sys\n"
        f"for name in {blocked!r}: sys.modules[name] = None\n"
        "import dvlt_ros, dvlt_ros.cameras, dvlt_ros.model, dvlt_ros.benchmark\n"
        "dvlt_ros.model.DvltConfig()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


@pytest.mark.parametrize("room", ["dvlt_ros", "training", "test", "tools", "benchmarks", "overlay", "launch"])
def test_files_are_short_and_folders_have_rooms(room):
    package_link = ROOT / "dvlt_ros" / "training"  # to training, a room of its own
    files = [path for path in (ROOT / room).rglob("*.py") if package_link not in path.parents]
    too_long = {str(path): count for path in files if (count := len(path.read_text().splitlines())) > 300}
    assert not too_long
    for folder in {path.parent for path in files}:
        has_rooms = any(child.is_dir() and any(child.glob("*.py")) for child in folder.iterdir())
        assert has_rooms or len(list(folder.glob("*.py"))) <= 15, folder
