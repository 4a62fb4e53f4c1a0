"""The wheel, as pip installs it where there is no ROS: small, whole, and everything but the node works."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from dvlt_ros.checkpoints import SHIPPED
from dvlt_ros.demo import DEMO_SEQUENCE

ROOT = Path(__file__).resolve().parents[2]
MOST_MB = 80
CHECKPOINT_FILES = ("model.safetensors", "config.json", "README.md")
WITHOUT_ROS = """
import sys

for name in ("rclpy", "sensor_msgs", "tf2_ros", "cv_bridge", "ament_index_python"):
    sys.modules[name] = None  # importing it raises ImportError
import dvlt_ros
from dvlt_ros import reconstruct_bag
from dvlt_ros.training import train
from dvlt_ros.web import __main__ as web

assert dvlt_ros.__file__.startswith(sys.prefix), dvlt_ros.__file__
assert train.main and web.main
reconstruct_bag.main(sys.argv[1:])
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built beside the sources, which stay as they are."""
    if not (ROOT / "training").is_dir():
        pytest.skip("this is an installed copy; the wheel is built from the sources")
    folder = tmp_path_factory.mktemp("wheel")
    command = [
        sys.executable, "setup.py", "-q", "egg_info", "--egg-base", folder, "build", "--build-base", folder / "build",
        "bdist_wheel", "--bdist-dir", folder / "bdist", "--dist-dir", folder / "dist",
    ]  # fmt: skip
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    (path,) = (folder / "dist").glob("*.whl")
    return path


def test_the_wheel_is_small_and_has_what_is_needed_without_ros(wheel):
    assert wheel.name.endswith("-py3-none-any.whl")
    assert wheel.stat().st_size < MOST_MB * 2**20
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {
        *(f"dvlt_ros/checkpoints/{name}/{file}" for name in SHIPPED for file in CHECKPOINT_FILES),
        "dvlt_ros/checkpoints/dvlt-small/NOTICE", "dvlt_ros/demo/room/camera_info.yaml",
        "dvlt_ros/web/page.css", "dvlt_ros/web/viewer.js", "dvlt_ros/web/splats/index.js",
        "dvlt_ros/training/train.py",
        "dvlt_ros/export/scenes/colmap.py",
    } <= names  # fmt: skip
    assert not [name for name in names if name.split("/")[0] in ("test", "benchmarks", "training", "tools", "overlay")]


def test_installed_in_a_fresh_environment_it_maps_without_ros(wheel, tmp_path):
    """Libraries are those of this environment; of dvlt_ros there is the wheel alone."""
    fresh = tmp_path / "fresh"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", fresh], check=True)
    python = fresh / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", "--no-index", wheel]
    subprocess.run(install, check=True, capture_output=True)
    site_packages = next(fresh.glob("lib/python3*/site-packages"))
    libraries = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    (site_packages / "libraries.pth").write_text("\n".join(libraries))
    assert {"dvlt_reconstruct_bag", "dvlt_web", "dvlt_train"} <= {path.name for path in (fresh / "bin").iterdir()}

    photos = tmp_path / "photos"
    photos.mkdir()
    for path in sorted(DEMO_SEQUENCE.glob("*.jpg"))[:3]:
        shutil.copy(path, photos)
    options = ["--model-image-size", "56", "--budget-k-max", "2", "--keyframes-min-change", "0", "--device", "cpu"]
    command = [python, "-c", WITHOUT_ROS, photos, "--output", tmp_path / "out", *options]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    ran = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "out" / "map_0.ply").is_file()
