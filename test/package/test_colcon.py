"""The package as ROS 2 users build it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COLCON = Path(sys.executable).with_name("colcon")

# The files themselves, in one process: a process of its own would import PyTorch anew for each.
HELP_OF_EACH = """
import contextlib, io, json, runpy, sys

helps = {}
for path in sys.argv[1:]:
    sys.argv = [path, "--help"]
    with contextlib.redirect_stdout(io.StringIO()) as written, contextlib.suppress(SystemExit):
        runpy.run_path(path, run_name="__main__")
    helps[path] = written.getvalue()
print(json.dumps(helps))
"""


@pytest.mark.skipif(not COLCON.exists(), reason="colcon is not in this environment; `make test` brings it")
@pytest.mark.parametrize("options", [[], ["--symlink-install"]], ids=["copied", "linked"])
def test_colcon_builds_and_the_installed_executables_start(tmp_path, options):
    bases = ["--base-paths", ROOT, "--build-base", tmp_path / "build", "--install-base", tmp_path / "install"]
    environment = os.environ | {"COLCON_LOG_PATH": str(tmp_path / "log"), "COLCON_HOME": str(tmp_path)}
    build = [COLCON, "build", "--packages-select", "dvlt_ros", *bases, *options]
    subprocess.run(build, check=True, env=environment, cwd=tmp_path, capture_output=True)

    installed = tmp_path / "install" / "dvlt_ros"
    executables = sorted(installed.glob("lib/dvlt_ros/*"))
    assert {executable.name for executable in executables} >= {"dvlt_train", "dvlt_evaluate", "dvlt_web", "train"}
    assert (installed / "share/ament_index/resource_index/packages/dvlt_ros").exists()
    assert (installed / "share/dvlt_ros/config/fastdds.xml").exists()
    code = "import dvlt_ros, dvlt_ros.demo; print(dvlt_ros.__file__)"
    imported = run_installed(tmp_path, [sys.executable, "-c", code])
    assert imported.startswith(str(tmp_path))
    of_old_name = run_installed(tmp_path, [installed / "lib/dvlt_ros/reconstruct_bag", "--help"])
    assert "usage: dvlt_reconstruct_bag" in of_old_name
    helps = json.loads(run_installed(tmp_path, [sys.executable, "-c", HELP_OF_EACH, *executables]))
    for executable in executables:
        assert executable.name in helps[str(executable)]


def run_installed(workspace: Path, command: list) -> str:
    """Output of a command after `source install/setup.bash`."""
    bash = shutil.which("bash")
    script = f'source {workspace / "install/setup.bash"} && exec "$@"'
    arguments = [bash, "-c", script, "bash", *map(str, command)]
    return subprocess.run(arguments, check=True, cwd=workspace, capture_output=True, text=True).stdout
