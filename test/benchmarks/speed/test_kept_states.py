"""The benchmark of kept states: its windows, and that it computes what the model does where nothing is kept."""

from __future__ import annotations

import json

import pytest
import torch
from kept_states import Anew, KeptStates, Window, main, windows

from dvlt_ros.model import Dvlt

STEPS = 2


def test_windows_have_all_frames_in_order_and_keep_their_first_view():
    found = windows(length=14, views=6, new=2, keep=3)
    assert [frame for window in found for frame in window.new] == list(range(14))
    assert [window.frames[0] for window in found] == [0, 0, 0, 6, 6]
    assert [window.begins for window in found] == [True, False, False, True, False]
    assert all(len(set(window.frames)) == 6 for window in found)


def test_windows_of_the_newest_frames_keep_no_first_view():
    assert [window.frames for window in windows(length=8, views=4, new=2, keep=1)] == [
        [0, 1, 2, 3], [2, 3, 4, 5], [4, 5, 6, 7],
    ]  # fmt: skip


@pytest.fixture(scope="module")
def model():
    return Dvlt.from_pretrained()


def test_where_a_window_begins_nothing_is_kept(model):
    features = model.encode(torch.rand(1, 3, 3, 28, 42, generator=torch.Generator().manual_seed(0)))
    window = Window([0, 1, 2], [0, 1, 2], True)
    found, expected = (run(window, features) for run in (KeptStates(model, STEPS), Anew(model, STEPS)))
    for name in ("depth", "ray_directions", "ray_origins"):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name), rtol=1e-4, atol=1e-5)


def test_a_new_view_sees_the_views_that_are_kept(model):
    features = model.encode(torch.rand(1, 4, 3, 28, 42, generator=torch.Generator().manual_seed(0)))
    answers = []
    for shared in (1, 2):
        kept = KeptStates(model, STEPS)
        kept(Window([0, 1, 2], [0, 1, 2], True), features)
        answers.append(kept(Window([0, shared, 3], [3], False), features).depth)
    assert answers[0].shape == (1, 1, 28, 42)
    assert (answers[0] / answers[1]).log().abs().max() > 1e-5


def test_it_tells_all_three_ways(tmp_path, capsys):
    main(["--length", "6", "--views", "4", "--new", "2", "--streams", "1", "--steps", "1",
          "--json", str(tmp_path / "kept.json")])  # fmt: skip
    rows = json.loads((tmp_path / "kept.json").read_text())
    assert len(rows) == 3 == capsys.readouterr().out.count("AbsRel")
    assert all(row["ms"] > 0 and 0 < row["abs_rel"] < 1 for row in rows)
