"""The reference pages say what the node does."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not here; `make venv` brings it, `make test` runs this")

ROOT = Path(__file__).parents[3]
PAGES = ROOT / "docs" / "reference"
STATUS_KEY = r'(?:^ +|\{)"(\w+)": |values\["(\w+)"\]'
SOURCES = {  # file: where its names stand in it, and the page that explains them
    "ros/lifecycle/status.py": (STATUS_KEY, "status.md"),
    "mapping/status.py": (STATUS_KEY, "status.md"),
    "mapping/loop_closer.py": (STATUS_KEY, "status.md"),
    "ros/outputs/topics.py": (r'_publisher\(\w+, "([\w/]+)"', "topics.md"),
    "ros/outputs/frame_outputs.py": (r'_publisher\(\w+, f"\{topics\}([\w/]+)"', "topics.md"),
    "ros/lifecycle/services.py": (r'create_service\(\w+, "(~/\w+)"', "topics.md"),
}


def test_what_is_written_of_parameters_is_that_of_the_code():
    tool = runpy.run_path(str(ROOT / "tools" / "document_parameters.py"))
    for path, text in tool["texts"]().items():
        assert path.read_text() == text, f"{path}: run python tools/document_parameters.py"


@pytest.mark.parametrize("name", SOURCES)
def test_every_status_key_topic_and_service_is_on_its_page(name):
    pattern, page = SOURCES[name]
    source, text = (ROOT / "dvlt_ros" / name).read_text(), (PAGES / page).read_text()
    found = [next(filter(None, match.groups())) for match in re.finditer(pattern, source, re.MULTILINE)]
    assert len(found) >= 3
    assert not [word for word in found if f"`{word}`" not in text]


def test_every_component_of_the_diagnostics_is_on_its_page():
    from dvlt_ros.ros.lifecycle.status import COMPONENTS

    text = (PAGES / "status.md").read_text()
    assert not [component for component in COMPONENTS if f"`{component}`" not in text]
