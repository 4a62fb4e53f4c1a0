"""Ctrl-C ends every program at any moment: by the signal, without a traceback, with nothing lost that was done."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dvlt_ros import programs

ROOT = Path(__file__).resolve().parents[2]
NAMES = re.findall(r"^(\w+) = _program\(", Path(programs.__file__).read_text(), re.MULTILINE)
PATHS = [*(ROOT / "dvlt_ros").rglob("*.py")]
PATHS += [ROOT / "dvlt_ros" / path.relative_to(ROOT) for path in (ROOT / "training").rglob("*.py")]
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__main__")
    for path in {*PATHS}
    if path.read_text().endswith("programs.run(main)\n")
)
# In place of a library that every program needs: says that it is being imported, and takes for ever.
SLOW_LIBRARY = "import signal\nprint('importing', flush=True)\nwhile True:\n    signal.pause()\n"


def interrupted(arguments: list[str], said: str, **options) -> tuple[int, str]:
    """Exit status and stderr of a Python program to which Ctrl-C comes after it has ``said`` something."""
    process = subprocess.Popen(
        [sys.executable, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, **options
    )
    try:
        assert process.stdout is not None
        heard = next((line for line in process.stdout if said in line), "")
        assert heard, process.communicate()[1]
        process.send_signal(signal.SIGINT)
        _, complaints = process.communicate(timeout=60)
    finally:
        process.kill()
    return process.returncode, complaints


def test_all_programs_are_found():
    assert {"reconstruct", "reconstruct_bag", "train"} <= set(NAMES)
    assert {"dvlt_ros.ros.node", "dvlt_ros.web", "dvlt_ros.training.train", "dvlt_ros.training.prepare"} <= set(MODULES)
    without = {path.name for path in PATHS if re.search(r"^(    )?main\(\)$", path.read_text(), re.MULTILINE)}
    assert without <= {"reader.py"}, "programs.run(main) instead"  # the page's reader has no terminal of its own


@pytest.mark.parametrize("arguments", [["-m", module] for module in MODULES] + [["-c", name] for name in NAMES])
def test_ctrl_c_while_libraries_are_imported(arguments, tmp_path):
    if "-c" in arguments:
        arguments = ["-c", f"from dvlt_ros.programs import {arguments[1]}; {arguments[1]}()"]
    (tmp_path / "argparse.py").write_text(SLOW_LIBRARY)
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    assert interrupted(arguments, "importing", env=environment) == (-signal.SIGINT, "")


def program(body: str) -> list[str]:
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    return ["-c", f"import sys, time\nfrom dvlt_ros import programs\ndef main():\n{lines}programs.run(main)"]


@pytest.mark.parametrize("module", ["dvlt_ros.web.visitors.reader", "dvlt_ros.ros.tools.play_camera"])
def test_what_only_reads_images_starts_without_pytorch(module):
    if ".ros." in module:
        pytest.importorskip("rclpy", reason="ROS 2 is not there; `make test` brings its wheels")
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_ctrl_c_while_it_works_lets_it_tidy_up():
    body = """
try:
    print("working", flush=True)
    time.sleep(60)
finally:
    print("tidy", file=sys.stderr)
"""
    assert interrupted(program(body), "working") == (-signal.SIGINT, "tidy\n")


def test_ctrl_c_again_ends_what_does_not_end():
    body = """
try:
    print("working", flush=True)
    time.sleep(60)
finally:
    time.sleep(60)
"""
    process = subprocess.Popen([sys.executable, *program(body)], stdout=subprocess.PIPE, cwd=ROOT)
    assert process.stdout is not None
    process.stdout.readline()
    while process.poll() is None:
        process.send_signal(signal.SIGINT)
        time.sleep(0.01)
    assert process.returncode == -signal.SIGINT


def test_ctrl_c_from_a_terminal_and_a_launcher_at_once_is_one():
    body = """
try:
    print("working", flush=True)
    time.sleep(60)
finally:
    for signal in range(3):
        programs.signal.raise_signal(programs.signal.SIGINT)
    print("tidy", file=sys.stderr)
"""
    assert interrupted(program(body), "working") == (-signal.SIGINT, "tidy\n")


def test_a_step_is_not_cut_in_two_and_what_follows_is_done():
    body = """
with programs.interrupts_between_steps() as interrupted:
    for count in range(60_000):
        if interrupted():
            break
        print("step", count, flush=True)
        time.sleep(0.001)
    print("written" if 0 < count < 59_999 else "all", file=sys.stderr)
print("not reached", file=sys.stderr)
"""
    assert interrupted(program(body), "step") == (-signal.SIGINT, "written\n")


def test_without_a_signal_steps_go_on():
    before = signal.getsignal(signal.SIGINT)
    with programs.interrupts_between_steps() as interrupted:
        assert not interrupted()
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize(("returned", "status"), [("None", 0), ("0", 0), ("3", 3)])
def test_the_exit_status_is_what_main_returns(returned, status):
    done = subprocess.run([sys.executable, *program(f"return {returned}")], cwd=ROOT)
    assert done.returncode == status


def test_an_error_still_has_its_traceback():
    done = subprocess.run([sys.executable, *program("raise ValueError('a bug')")], cwd=ROOT, capture_output=True)
    assert done.returncode == 1
    assert b"Traceback" in done.stderr
    assert b"ValueError: a bug" in done.stderr


def test_where_ctrl_c_is_ignored_it_stays_ignored():
    ignored = program("import signal\nreturn 7 * (signal.getsignal(signal.SIGINT) == signal.SIG_IGN)")
    as_a_background_job = ["sh", "-c", 'trap "" INT; exec "$@"', "sh", sys.executable, *ignored]
    assert subprocess.run(as_a_background_job, cwd=ROOT).returncode == 7
