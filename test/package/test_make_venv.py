"""An environment is never taken for a distribution, and never lost before its successor stands."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parents[2] / "tools"
spec = importlib.util.spec_from_file_location("make_venv", TOOLS / "make_venv.py")
assert spec is not None
assert spec.loader is not None
make_venv = importlib.util.module_from_spec(spec)
spec.loader.exec_module(make_venv)


def environment_with_rclpy(folder: Path) -> Path:
    """Its Python; a package of that name is all it takes."""
    subprocess.run([make_venv.base_python(), "-m", "venv", "--without-pip", folder], check=True)
    package = next(folder.glob("lib/python3*/site-packages")) / "rclpy"
    package.mkdir()
    (package / "__init__.py").touch()
    return folder / "bin" / "python"


def asked(python: Path | str, **variables: str) -> str:
    code = f"import sys; sys.path.insert(0, {str(TOOLS)!r}); import make_venv; print(make_venv.sourced_ros())"
    environment = {"PATH": "/usr/bin:/bin", **variables}
    return subprocess.run([python, "-c", code], check=True, capture_output=True, text=True, env=environment).stdout


def test_an_activated_environment_is_no_distribution(tmp_path):
    python = environment_with_rclpy(tmp_path / "venv")
    subprocess.run([python, "-c", "import rclpy"], check=True)
    assert asked(python).strip() == "False"


def test_an_environment_in_the_search_path_is_no_distribution(tmp_path):
    site_packages = next((tmp_path / "venv").glob("lib/*/*")) if environment_with_rclpy(tmp_path / "venv") else None
    assert asked(make_venv.base_python(), PYTHONPATH=str(site_packages)).strip() == "False"


def test_a_sourced_distribution_is_one(tmp_path):
    package = tmp_path / "opt/ros/lib/python3/site-packages/rclpy"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    assert asked(make_venv.base_python(), PYTHONPATH=str(package.parent)).strip() == "True"
    python = environment_with_rclpy(tmp_path / "venv")
    assert asked(python, PYTHONPATH=str(package.parent)).strip() == "True"  # also from within an environment


def filled(folder: Path) -> Path:
    (folder / "bin").mkdir(parents=True)
    (folder / "pyvenv.cfg").write_text("include-system-site-packages = false\n")
    (folder / "bin" / "mine").write_text("precious")
    return folder


@pytest.mark.parametrize("failure", [RuntimeError("no network"), KeyboardInterrupt(), SystemExit(1)])
def test_what_cannot_be_replaced_comes_back(tmp_path, failure):
    prefix = filled(tmp_path / ".venv")

    def fail():
        with make_venv.kept_until_replaced(prefix, is_to_stay=False):
            prefix.mkdir()
            (prefix / "half").touch()
            raise failure

    with pytest.raises(type(failure)):
        fail()
    assert (prefix / "bin" / "mine").read_text() == "precious"
    assert not (prefix / "half").exists()
    assert [path.name for path in tmp_path.iterdir()] == [".venv"]


def test_what_was_replaced_goes(tmp_path):
    prefix = filled(tmp_path / ".venv")
    with make_venv.kept_until_replaced(prefix, is_to_stay=False):
        assert not prefix.exists()
        prefix.mkdir()
        (prefix / "new").touch()
    assert [path.name for path in tmp_path.rglob("*")] == [".venv", "new"]


def test_what_is_no_environment_is_left_alone(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "1.jpg").touch()
    with (
        pytest.raises(make_venv.SetupError, match="photos: is there, and is no virtual environment"),
        make_venv.kept_until_replaced(tmp_path / "photos", is_to_stay=False),
    ):
        raise AssertionError("never entered")
    assert (tmp_path / "photos" / "1.jpg").exists()


def test_one_of_the_right_kind_stays(tmp_path):
    prefix = filled(tmp_path / ".venv")
    with make_venv.kept_until_replaced(prefix, is_to_stay=True):
        assert (prefix / "bin" / "mine").exists()
    (prefix / "bin" / "python").symlink_to(sys.executable)
    environment = make_venv.Environment(prefix)
    assert environment.has(with_system_packages=False)
    assert not environment.has(with_system_packages=True)


@pytest.mark.parametrize(
    ("sourced", "found"),
    [
        ([], ["overlay", "venv"]),
        (["install", "opt"], ["install", "opt", "overlay", "venv"]),
        (["install", "other", "other/overlay"], ["install", "overlay", "venv", "other", "other/overlay"]),
        (["venv", "install"], ["overlay", "venv", "install"]),
    ],
    ids=["nothing", "workspace and distribution", "another environment", "from within"],
)
def test_what_is_sourced_wins_over_the_environments_own_copy(tmp_path, sourced, found):
    python = environment_with_rclpy(tmp_path / "venv")
    site_packages = next((tmp_path / "venv").glob("lib/python3*/site-packages"))
    (site_packages / "ros_wheels_bootstrapper").mkdir()
    (tmp_path / "venv/overlay/share").mkdir(parents=True)
    filled(tmp_path / "other")
    shutil.copy(TOOLS / "venv_environment.py", site_packages / "_environment.py")
    (site_packages / "environment.pth").write_text("import _environment\n")
    path = os.pathsep.join(str(tmp_path / name) for name in sourced)
    done = subprocess.run(
        [python, "-c", "import os; print(os.environ['AMENT_PREFIX_PATH'])"],
        env={"AMENT_PREFIX_PATH": path}, check=True, capture_output=True, text=True,
    )  # fmt: skip
    names = [str(Path(part).relative_to(tmp_path)) for part in done.stdout.strip().split(os.pathsep)]
    assert [name.removeprefix("venv/") for name in names] == found


def test_the_demo_gets_what_it_imports_and_no_more():
    """Beside the files for the tests; with a distribution nothing of ROS."""
    everything, demo, web = (make_venv.required(purpose, has_ros=False) for purpose in ("everything", "demo", "web"))
    packages = {line.split("==")[0] for line in demo if line and not line.startswith("#")}
    assert {"torch", "numpy", "opencv-python-headless", "ros-kilted-rclpy", "setuptools"} <= packages
    assert not packages & {"pytest", "mypy", "playwright", "rerun-sdk", "scipy", "tensorboard", "pycolmap"}
    assert set(demo) < set(everything)
    assert [line.split("==")[0] for line in web if line not in demo] == ["nicegui"]
    assert not [line for line in make_venv.required("demo", has_ros=True) if line.startswith("ros-")]
    assert "pytest" in "".join(make_venv.required("everything", has_ros=True))
