"""package.xml, setup.py, the resource marker and what the code imports agree."""

from __future__ import annotations

import ast
import re
import runpy
import sys
import xml.etree.ElementTree as ElementTree
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import setuptools

from dvlt_ros import old_names, programs

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ElementTree.parse(ROOT / "package.xml").getroot()
# What package.xml calls a module; message packages and rclpy have their own names.
ROSDEP_KEYS = {
    "cv2": "python3-opencv",
    "huggingface_hub": "python3-huggingface-hub-pip",
    "matplotlib": "python3-matplotlib",
    "PIL": "python3-pil",
    "numpy": "python3-numpy",
    "tf2_ros": "tf2_ros_py",
    "torch": "python3-torch",
    "tqdm": "python3-tqdm",
    "transforms3d": "python3-transforms3d",
    "yaml": "python3-yaml",
}
WITHOUT_ROSDEP_KEY = {"safetensors"}
OPTIONAL = {"evo", "fastapi", "nicegui", "rerun", "rosbags", "scipy"}  # extras, imported when they are needed
TRAINING = {"accelerate", "dacite", "hydra", "omegaconf", "tensorboard"}


def python_files():
    return sorted(path for path in (ROOT / "dvlt_ros").rglob("*.py") if "training" not in path.parts)


def launch_files():
    return sorted((ROOT / "launch").glob("*.py"))


def top_level_imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module.split(".")[0]


@pytest.fixture
def setup_arguments(monkeypatch):
    """What setup.py hands to setuptools."""
    captured = {}
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(setuptools, "setup", captured.update)
    runpy.run_path(str(ROOT / "setup.py"))
    return captured


def test_names_versions_and_licences_agree(setup_arguments):
    assert PACKAGE.get("format") == "3"
    for tag in ("name", "version", "license"):
        assert PACKAGE.findtext(tag) == setup_arguments[tag]
    assert PACKAGE.findtext("export/build_type") == "ament_python"
    marker = ROOT / "resource" / PACKAGE.findtext("name")
    assert marker.is_file()
    assert ("share/ament_index/resource_index/packages", [f"resource/{marker.name}"]) in setup_arguments["data_files"]
    assert f"$base/lib/{marker.name}" in (ROOT / "setup.cfg").read_text()


def test_every_import_is_a_run_dependency():
    declared = {element.text for tag in ("depend", "exec_depend") for element in PACKAGE.findall(tag)}
    for path in [*python_files(), *launch_files()]:
        for module in (
            set(top_level_imports(path)) - sys.stdlib_module_names - {"dvlt_ros"} - OPTIONAL - WITHOUT_ROSDEP_KEY
        ):
            assert ROSDEP_KEYS.get(module, module) in declared, f"{path} imports {module}, which package.xml lacks"


def test_no_training_module_in_the_run_dependencies(setup_arguments):
    for path in [*python_files(), *launch_files()]:
        assert not TRAINING & set(top_level_imports(path)), path
    assert {"accelerate", "hydra-core"} <= set(setup_arguments["extras_require"]["training"])
    assert "pytest" in setup_arguments["extras_require"]["test"]  # else `colcon test` finds no test


def test_every_executable_has_our_name_and_those_with_an_older_one_say_so(setup_arguments, monkeypatch, capsys):
    entries = dict(entry.split(" = ") for entry in setup_arguments["entry_points"]["console_scripts"])
    assert {name for name in entries if not name.startswith("dvlt_")} <= {name[5:] for name in entries}
    assert {target for name, target in entries.items() if not name.startswith("dvlt_")} == {"dvlt_ros.old_names:main"}
    for name in entries.keys() - {old for old in entries if not old.startswith("dvlt_")}:
        assert entries[name] == f"dvlt_ros.programs:{name[5:]}"
        assert callable(getattr(programs, name[5:]))

    monkeypatch.setattr(programs.signal, "signal", lambda *_: None)  # Ctrl-C stays that of the tests
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    installed = [EntryPoint("dvlt_evaluate", entries["dvlt_evaluate"], "console_scripts")]
    monkeypatch.setattr(old_names, "entry_points", lambda group, name: [e for e in installed if e.name == name])
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/evaluate", "--help"])
    with pytest.raises(SystemExit) as ended:
        old_names.main()
    assert ended.value.code == 0
    written = capsys.readouterr()
    assert "usage: dvlt_evaluate" in written.out
    assert written.err == "evaluate: this command is called dvlt_evaluate now; the old name will be removed\n"


def test_what_messages_say_to_install_is_what_the_extras_ask_for(setup_arguments):
    asked = {requirement for extra in setup_arguments["extras_require"].values() for requirement in extra}
    for path in [*python_files(), *(ROOT / "training").rglob("*.py")]:
        for line in re.findall(r"pip install ([^(\n]*)", path.read_text()):
            quoted = re.findall(r"'([a-zA-Z][\w-]*[<>=][^']*)'", line)
            assert set(quoted) <= asked, f"{path}: {quoted}"


def test_launch_files_start_what_is_installed_and_find_what_is_configured(setup_arguments):
    executables = {entry.split(" = ")[0] for entry in setup_arguments["entry_points"]["console_scripts"]}
    installed = {Path(file).name for folder, files in setup_arguments["data_files"] for file in files}
    for path in launch_files():
        text = path.read_text()
        assert path.name in installed
        assert set(re.findall(r'executable="(\w+)"', text)) <= executables | {"rviz2", "rgbd_sync", "rtabmap"}, path
        assert set(re.findall(r'CONFIG / "([\w.]+)"', text)) <= installed, path


def test_training_installs_under_our_name_only(setup_arguments):
    packages = set(setup_arguments["packages"])
    assert all(name == "dvlt_ros" or name.startswith("dvlt_ros.") for name in packages)
    link = ROOT / "dvlt_ros" / "training"
    if not (ROOT / "training").is_dir():
        pytest.skip("this is an installed copy, without the top-level folder")
    assert link.is_symlink()
    assert link.readlink() == Path("../training")
    folders = {path.parent.relative_to(ROOT) for path in (ROOT / "training").rglob("__init__.py")}
    assert {"dvlt_ros." + ".".join(folder.parts) for folder in folders} <= packages


def test_every_package_folder_is_found(setup_arguments):
    """A folder with modules but without __init__.py would be left out of the installation without a word."""
    folders = {path.parent for name in ("dvlt_ros", "training") for path in (ROOT / name).rglob("*.py")}
    assert all((folder / "__init__.py").is_file() for folder in folders), sorted(map(str, folders))


def test_nothing_knows_of_the_overlay():
    for path in [*python_files(), *launch_files(), ROOT / "setup.py"]:
        assert "overlay" not in set(top_level_imports(path)), path
        assert not re.search(r"overlay[/\\.]", path.read_text()), path


def test_requirements_are_pinned_once():
    seen = {}
    for path in (ROOT / "requirements").glob("*.txt"):
        for line in path.read_text().splitlines():
            if line and not line.startswith("#"):
                assert re.fullmatch(r"[\w-]+==[\w.]+", line), f"{path}: {line}"
                name, version = line.split("==")
                assert seen.setdefault(name, version) == version, f"{path}: {line}, elsewhere {seen[name]}"
