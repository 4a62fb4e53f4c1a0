"""The same trouble is said once in a while, another one at once."""

from __future__ import annotations

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not here; `make venv` brings it, `make test` runs this")

from dvlt_ros.ros import complaints


def test_kinds_differ_in_words_not_in_numbers(monkeypatch):
    now_s = 100.0
    monkeypatch.setattr(complaints.time, "monotonic", lambda: now_s)
    said = []
    complain = complaints.Complaints(said.append)
    for stamp in range(5):
        complain(f"frame {stamp}.5 s refused: truncated")
    complain("frame 9.5 s refused: zero stamp")
    assert said == ["frame 0.5 s refused: truncated", "frame 9.5 s refused: zero stamp"]
    assert complain.latest == "frame 9.5 s refused: zero stamp"
    now_s += complaints.REPEAT_S
    complain("frame 77 s refused: truncated")
    assert said[-1] == "frame 77 s refused: truncated (4 more since the last message)"
