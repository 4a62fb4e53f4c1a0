"""The map directory: regular files in it only, the newest that can be used, and a word for those that cannot."""

from __future__ import annotations

import os

import numpy as np
import pytest

from dvlt_ros.errors import InputError
from dvlt_ros.mapping import map_files
from dvlt_ros.mapping.map_files import PLACES, open_map
from dvlt_ros.mapping.maps.saved_map import is_rigid


class Saved:
    """What `read_saved_map` would give."""

    def __init__(self, content: str) -> None:
        self.content = content

    def check(self, checkpoint: str, is_metric: bool) -> None:
        if self.content == "other checkpoint":
            raise InputError("another checkpoint")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    def read(path):
        content = path.read_text()
        if content == "damaged":
            raise InputError(f"{path}: not a whole map")
        return Saved(content)

    monkeypatch.setattr(map_files, "read_saved_map", read)
    return tmp_path / "maps"


def put(folder, name: str, content: str, age: int) -> None:
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}{PLACES}"
    path.write_text(content)
    os.utime(path, ns=(10**18 - age * 10**9,) * 2)


@pytest.mark.parametrize(
    "bad", ["damaged", "other checkpoint", "dangling link", "link out", "pipe", "folder", "circle"]
)
def test_the_next_good_one_is_taken_with_a_word(folder, bad, tmp_path):
    put(folder, "good", "the map", age=5)
    put(folder, "older", "an older map", age=9)
    path = folder / f"newest{PLACES}"
    if bad in ("damaged", "other checkpoint"):
        put(folder, "newest", bad, age=0)
    elif bad == "dangling link":
        path.symlink_to(tmp_path / "nowhere")
    elif bad == "link out":
        (tmp_path / "secret").write_text("of somebody else")
        path.symlink_to(tmp_path / "secret")
    elif bad == "circle":
        path.symlink_to(path)
    elif bad == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    said: list[str] = []
    found, saved = open_map(folder, "", "c", False, said.append)
    assert (found.name, saved.content) == (f"good{PLACES}", "the map")
    assert len(said) == 1
    assert "newest" in said[0]


@pytest.mark.parametrize("contents", [[], ["damaged"], ["damaged", "other checkpoint"]])
def test_without_a_good_one_the_newest_reason_is_given(folder, contents):
    folder.mkdir()
    for age, content in enumerate(contents):
        put(folder, f"map_{age}", content, age)
    reason = "not a whole map" if contents else "no map to load in the map directory"
    with pytest.raises(InputError, match=reason):
        open_map(folder, "", "c", False)


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "nowhere", "a\0b", "good/../../secret"])
def test_names_lead_nowhere_else(folder, name, tmp_path):
    put(folder, "good", "the map", age=0)
    (tmp_path / f"secret{PLACES}").write_text("of somebody else")
    with pytest.raises((InputError, OSError)):
        open_map(folder, name, "c", False)
    assert open_map(folder, "good", "c", False)[1].content == "the map"


@pytest.mark.parametrize("spoil", ["scaled", "mirrored", "sheared", "bottom row", "zero"])
def test_poses_that_are_not_rigid_are_told(spoil):
    poses = np.eye(4)[None].repeat(3, axis=0)
    assert is_rigid(poses).all()
    if spoil == "scaled":
        poses[1, :3, :3] *= 1.1
    elif spoil == "mirrored":
        poses[1, 0, 0] = -1
    elif spoil == "sheared":
        poses[1, 0, 1] = 0.2
    elif spoil == "bottom row":
        poses[1, 3] = 0, 0, 1, 1
    else:
        poses[1] = 0
    assert is_rigid(poses).tolist() == [True, False, True]
