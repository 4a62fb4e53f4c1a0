"""docs/node.md says what the node does."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not here; `make venv` brings it, `make test` runs this")

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "node.md").read_text()


def test_what_is_written_of_parameters_is_that_of_the_code():
    tool = runpy.run_path(str(ROOT / "tools" / "document_parameters.py"))
    for path, text in tool["texts"]().items():
        assert path.read_text() == text, f"{path}: run python tools/document_parameters.py"


@pytest.mark.parametrize("name", ["status.py", "outputs.py", "frame_outputs.py", "services.py"])
def test_every_status_key_topic_and_service_is_on_the_page(name):
    source = (ROOT / "dvlt_ros" / "ros" / name).read_text()
    patterns = {
        "status.py": r'^ +"(\w+)": |values\["(\w+)"\]',
        "outputs.py": r'_publisher\(\w+, "([\w/]+)"',
        "frame_outputs.py": r'_publisher\(\w+, f"\{topics\}([\w/]+)"',
        "services.py": r'create_service\(\w+, "(~/\w+)"',
    }
    found = [next(filter(None, match.groups())) for match in re.finditer(patterns[name], source, re.MULTILINE)]
    assert len(found) >= 3
    assert not [word for word in found if f"`{word}`" not in PAGE]
