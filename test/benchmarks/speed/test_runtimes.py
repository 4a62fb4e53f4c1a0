"""Graphs beside PyTorch: every way has both windows. Writing real graphs takes a minute: test/runtimes does it once."""

from types import SimpleNamespace

import pytest
import runtimes
import torch
from timing.paths import Eager


@pytest.fixture
def network(make_model, monkeypatch):
    """Graphs are stood in for by the network itself, at the size that their folder is named after."""
    network = make_model(num_steps=2, min_steps=2)

    def graphs(folder):
        path = Eager(network, torch.float32)
        path.manifest = SimpleNamespace(width=int(folder.name), height=28)
        return path

    monkeypatch.setattr(runtimes, "OnnxDvlt", graphs)
    return network


def test_every_way_has_both_windows_and_graphs_the_plain_models_answer(network, tmp_path):
    lines = runtimes.compare(network, [tmp_path / "42"], 3, 1, 1)
    rows = {tuple(line[:28].split()): float(line.split()[-1]) for line in lines[1:]}
    assert len(rows) == 7
    assert [error for name, error in rows.items() if name[0] == "42"] == [0.0, 0.0]


def test_graphs_of_different_image_sizes_are_refused(network, tmp_path):
    with pytest.raises(SystemExit, match="graphs of one image size are compared"):
        runtimes.compare(network, [tmp_path / "42", tmp_path / "56"], 2, 1, 1)
