"""Workflows, forms and notes for contributors: they parse, and every command, file and version that they name exists.

They run on other machines only; here nothing but what they say can be checked.
"""

import re
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
FORMS = sorted(path for path in (ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml") if path.name != "config.yml")
DISTRIBUTIONS = ["jazzy", "kilted", "lyrical", "rolling"]
FOLDERS = ("benchmarks", "config", "docs", "dvlt_ros", "launch", "overlay", "requirements", "test", "tools", "training")


def jobs(path):
    return yaml.safe_load(path.read_text())["jobs"].items()


def scripts(path):
    return [step["run"] for _, job in jobs(path) for step in job["steps"] if "run" in step]


def make_targets():
    phony = re.search(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    return set(phony.group(1).split())


def assert_exists(text, where):
    """Every `make` target and every path below one of our folders that a text names."""
    for target in re.findall(r"\bmake ([a-z]+)\b", text):
        assert target in make_targets(), f"{where}: make {target}"
    for token in re.findall(r"(?<![\w/.-])[\w.*-]+/[\w./*-]*[\w*]", text):
        if token.split("/")[0] in FOLDERS:
            assert list(ROOT.glob(token)), f"{where}: {token}"


def test_all_workflows_are_there():
    assert [path.stem for path in WORKFLOWS] == ["docs", "lint", "ros", "wheels"]
    commands = {path.stem: "\n".join(scripts(path)) for path in WORKFLOWS}
    for name, command in (("docs", "make docs"), ("lint", "make lint"), ("ros", "make test"), ("wheels", "make test")):
        assert command in commands[name]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_are_whole(path):
    workflow = yaml.safe_load(path.read_text())
    assert workflow["name"] == path.stem
    assert {"push", "pull_request"} <= set(workflow[True])  # YAML 1.1 reads `on` as a truth value
    assert workflow["permissions"] == {"contents": "read"}
    for name, job in jobs(path):
        assert job["runs-on"].startswith("ubuntu-"), name
        assert job["timeout-minutes"] <= 60, name
        for step in job["steps"]:
            assert ("uses" in step) != ("run" in step), step
            assert re.fullmatch(r"actions/[a-z-]+@v\d+", step.get("uses", "actions/none@v0")), step


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_commands_of_workflows_are_bash_and_name_what_exists(path):
    for script in scripts(path):
        plain = re.sub(r"\$\{\{ .*? \}\}", "jazzy", script)
        checked = subprocess.run([shutil.which("bash"), "-n"], input=plain, capture_output=True, text=True)
        assert checked.returncode == 0, checked.stderr
        assert_exists(plain, path.name)
    for cached in re.findall(r"cache-dependency-path: (\S+)", path.read_text()):
        assert list(ROOT.glob(cached)), f"{path.name}: {cached}"


def test_the_ros_workflow_takes_the_distributions_own_packages():
    ((_, job),) = jobs(ROOT / ".github/workflows/ros.yml")
    assert job["strategy"]["matrix"]["distribution"] == DISTRIBUTIONS
    assert job["container"]["image"] == "ros:${{ matrix.distribution }}-ros-base"
    folders = {step.get("working-directory") for step in job["steps"]} - {None}
    assert folders == {step["with"]["path"] for step in job["steps"] if "uses" in step}

    package = ElementTree.parse(ROOT / "package.xml").getroot()
    declared = {element.text for element in package.iter() if element.tag.endswith("depend")}
    script = "\n".join(scripts(ROOT / ".github/workflows/ros.yml"))
    assert set(re.search(r'--skip-keys "(.+?)"', script).group(1).split()) <= declared
    assert f"--packages-select {package.findtext('name')}\n" in script
    (launched,) = re.findall(r"ros2 launch (\S+) (\S+)", script)
    assert launched[0] == package.findtext("name")
    assert (ROOT / "launch" / launched[1]).is_file()
    for module in re.search(r"import (cv_bridge, .+)", script).group(1).split(", "):
        assert {module, f"{module}_py"} & declared, module


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_issue_forms(path):
    form = yaml.safe_load(path.read_text())
    assert {"name", "description", "body"} <= set(form)
    ids = [field["id"] for field in form["body"]]
    assert len(ids) == len(set(ids))
    assert all(field["type"] == "textarea" and field["attributes"]["label"] for field in form["body"])
    assert any(field.get("validations", {}).get("required") for field in form["body"])


def test_a_bug_report_asks_for_what_a_cause_is_found_by():
    text = (ROOT / ".github/ISSUE_TEMPLATE/bug_report.yml").read_text()
    for asked in ("ros2 topic echo --once /status", "ros2 doctor --report", "$RMW_IMPLEMENTATION", "PyTorch"):
        assert asked in text
    assert [path.stem for path in FORMS] == ["bug_report", "feature_request", "question"]


def test_the_hooks_are_what_lint_runs():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    local = {hook["entry"] for repository in hooks if repository["repo"] == "local" for hook in repository["hooks"]}
    lint = re.search(r"^lint:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE).group(1)
    for command in re.findall(r"-m (ruff check|ruff format|mypy)", lint):
        assert any(f".venv/bin/python -m {command}" in entry for entry in local), command
    assert all(re.fullmatch(r"v\d+\.\d+\.\d+", repo["rev"]) for repo in hooks if repo["repo"] != "local")


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", ".github/PULL_REQUEST_TEMPLATE.md", "test/data/parity/README.md"])
def test_notes_name_what_exists(name):
    text = (ROOT / name).read_text()
    assert_exists(text, name)
    for link in re.findall(r"\]\((?!https?:)([^)#]+)", text):
        assert (ROOT / name).parent.joinpath(link).exists(), f"{name}: {link}"


def test_one_version_everywhere():
    version = ElementTree.parse(ROOT / "package.xml").getroot().findtext("version")
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == version
    assert citation["license"] == "Apache-2.0"
    assert citation["references"][0]["identifiers"][0]["value"] == "arXiv:2605.30215"
    assert version in (ROOT / "CHANGELOG.md").read_text()
