"""Dockerfiles and compose file: every file, argument, service and command that they name exists.

Docker runs on other machines only; here nothing but what they say can be checked.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILES = sorted((ROOT / "docker").glob("*Dockerfile"))
SCRIPTS = sorted((ROOT / "docker").glob("*.sh"))
COMPOSE = ROOT / "docker" / "compose.yaml"
INSTRUCTIONS = {"ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "RUN", "SHELL", "WORKDIR"}
DISTRIBUTIONS = {"jazzy", "kilted", "lyrical", "rolling"}


def instructions(path):
    """(name, rest) of each, continued lines joined."""
    text = re.sub(r"^#.*\n", "", path.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [tuple(line.split(maxsplit=1)) for line in text.splitlines() if line.strip()]


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_dockerfiles_are_whole(path):
    found = instructions(path)
    assert {name for name, _ in found} <= INSTRUCTIONS
    assert found[0][0] == "ARG"
    declared = {re.match(r"\w+", rest).group() for name, rest in found if name == "ARG"}
    (base,) = (rest for name, rest in found if name == "FROM")
    assert set(re.findall(r"\$\{(\w+)", base)) <= declared
    after = found[[name for name, _ in found].index("FROM") :]
    known = {re.match(r"\w+", rest).group() for name, rest in after if name == "ARG"} | {"ROS_DISTRO", "kept", "name"}
    for name, rest in after:
        if name == "RUN":
            assert set(re.findall(r"\$\{(\w+)\}", rest)) <= known, rest
            checked = subprocess.run([shutil.which("bash"), "-n"], input=rest, capture_output=True, text=True)
            assert checked.returncode == 0, checked.stderr
        if name == "COPY":
            *sources, _ = rest.split()
            assert all((ROOT / source).exists() for source in sources), rest


def test_the_package_is_built_of_versions_that_the_tests_run_with():
    """Of the requirements, all but what the distribution, or the base image, owns."""
    (run,) = (rest for name, rest in instructions(ROOT / "docker" / "Dockerfile") if "wanted.txt" in rest)
    pattern = re.search(r'grep -vE "(\S+)" /requirements/runtime.txt', run).group(1)
    for of_base, left_out in (("", {"numpy", "opencv-python-headless"}), ("torch", {"torch"})):
        kept = "|".join(["numpy", "opencv-python-headless", *of_base.split()])
        expression = re.compile(pattern.replace("${kept}", kept))
        lines = (ROOT / "requirements" / "runtime.txt").read_text().splitlines()
        wanted = {line.split("==")[0] for line in lines if line and not expression.search(line)}
        assert not wanted & left_out
        assert {"safetensors", "rosbags", "huggingface_hub"} <= wanted
        assert ("torch" in wanted) == (not of_base)
    assert any(line.startswith("gtsam==") for line in (ROOT / "requirements" / "extras.txt").read_text().splitlines())
    packages = (ROOT / "package.xml").read_text()
    skipped = re.search(r'--skip-keys "(.+?)"', (ROOT / "docker" / "Dockerfile").read_text()).group(1).split()
    assert all(f">{key}<" in packages for key in skipped)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_bash_and_can_be_started(path):
    assert path.stat().st_mode & 0o111
    checked = subprocess.run([shutil.which("bash"), "-n", path], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr


def test_compose_has_the_services_that_its_head_and_the_docs_name():
    services = yaml.safe_load(COMPOSE.read_text())["services"]
    for text in (COMPOSE.read_text(), (ROOT / "docs" / "how-to" / "install.md").read_text()):
        for line in re.findall(r"docker/compose.yaml up ([a-z -]+?)(?:  | #|\n)", text):
            assert set(line.split()) <= services.keys(), line
    for service in services.values():
        assert (COMPOSE.parent / service["build"]["context"]).resolve() == ROOT
        assert (ROOT / service["build"]["dockerfile"]).is_file()
        declared = re.findall(r"^ARG (\w+)", (ROOT / service["build"]["dockerfile"]).read_text(), re.MULTILINE)
        assert service["build"]["args"].keys() <= set(declared)
        launched = re.search(r"ros2 launch dvlt_ros (\S+)", service.get("command", ""))
        assert launched is None or (ROOT / "launch" / launched.group(1)).is_file()
    devices = services["node-gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert devices[0]["capabilities"] == ["gpu"]


def test_every_supported_distribution_is_named_where_people_look():
    """Metadata, README, the page about installing and the workflow; and one that is not, with its reason."""
    install = (ROOT / "docs" / "how-to" / "install.md").read_text()
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ros.yml").read_text())
    assert set(workflow["jobs"]["test"]["strategy"]["matrix"]["distribution"]) == DISTRIBUTIONS
    for name in DISTRIBUTIONS:
        for text in (install, (ROOT / "README.md").read_text(), (ROOT / "setup.py").read_text()):
            assert name.capitalize() in text
    assert re.search(r"\| Humble .*not supported.*Python 3\.11", install)
    assert 'python_requires=">=3.11"' in (ROOT / "setup.py").read_text()
