"""The benchmark of adjusted keyframes: its rows, and that they are adjusted at all."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("gtsam", reason="GTSAM is not here; `pip install '.[loops]'` runs this")

import adjusted_keyframes


def test_every_part_of_the_way_has_a_row(tmp_path):
    rows = adjusted_keyframes.main(["--windows", "48", "--json", str(tmp_path / "keyframes.json")])
    assert [row.windows for row in rows] == list(range(6, 49, 6))
    assert rows[-1].submaps == 48
    assert rows[-1].corrections >= 1
    assert len(json.loads((tmp_path / "keyframes.json").read_text())) == len(rows)
