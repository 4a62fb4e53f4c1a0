"""`make demo` from end to end, with a few images: camera, DDS and node in processes of their own."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not here; `make venv` brings it, `make test` runs this")

from dvlt_ros.demo import DEMO_SEQUENCE

COUNT = 8


def test_the_demo_receives_every_frame_and_draws_its_page(tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for path in sorted(DEMO_SEQUENCE.glob("*.jpg"))[:COUNT]:
        shutil.copy(path, photos)
    small = ("model.image_size:=56", "budget.k_max:=2", "model.device:=cpu")
    options = [word for parameter in small for word in ("--parameter", parameter)]
    command = [sys.executable, "-m", "dvlt_ros.ros.tools.demo", "--source", photos, "--output", tmp_path / "out"]
    run = subprocess.run([*command, *options], capture_output=True, text=True, timeout=240)
    assert run.returncode == 0, run.stderr
    assert f"frames received complete and checked  {COUNT}" in run.stdout
    assert (tmp_path / "out" / "page.png").stat().st_size > 10_000
