"""What tests of the offline tool share."""

from __future__ import annotations

import pytest

from dvlt_ros.export.atomic import write_atomically


@pytest.fixture
def quick_page(monkeypatch):
    """A page of a few bytes: drawing one takes longer than a small map."""
    monkeypatch.setattr("dvlt_ros.offline.results.write_page", lambda path, *_: write_atomically(path, b"a page"))
