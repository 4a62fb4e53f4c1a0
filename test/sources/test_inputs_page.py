"""The page of inputs is the code's own, and its claims hold."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
tool = runpy.run_path(str(ROOT / "tools" / "document_inputs.py"))


def test_the_page_is_current():
    assert tool["PAGE"].read_text() == tool["page"](), "run python tools/document_inputs.py"


@pytest.mark.parametrize("word", ["nv21", "bayer_gbrg16", "HEIF", "equidistant", "MCAP", "AVI", "µs", "camera_info"])
def test_what_is_read_stands_in_it(word):
    assert word in tool["page"]()


def test_the_table_is_one():
    rows = [line for line in tool["page"]().splitlines() if line.startswith("|")]
    assert {row.count("|") for row in rows} == {4}
    assert len(rows) > 20
