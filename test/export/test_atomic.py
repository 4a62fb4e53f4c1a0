"""Files and folders that are there whole or not at all; outputs that stand for themselves."""

from __future__ import annotations

import errno
import os

import pytest

from dvlt_ros.errors import InputError
from dvlt_ros.export import atomic
from dvlt_ros.export.atomic import Outputs, clear_unfinished, replacing, writable_folder, write_atomically


def broken(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("before", [None, b"the old one"])
@pytest.mark.parametrize("failure", [None, "fsync", "rename"])
def test_a_file_is_the_old_one_or_the_new_one(tmp_path, monkeypatch, before, failure):
    path = tmp_path / "map.ply"
    if before is not None:
        path.write_bytes(before)
    if failure == "fsync":
        monkeypatch.setattr(atomic.os, "fsync", broken)
    if failure == "rename":
        monkeypatch.setattr(type(path), "replace", broken)
    if failure is None:
        write_atomically(path, b"the new one")
        assert path.read_bytes() == b"the new one"
    else:
        with pytest.raises(InputError, match=rf"{path}: cannot be written: No space left on device"):
            write_atomically(path, b"the new one")
        assert (path.read_bytes() if path.exists() else None) == before
    assert [entry.name for entry in tmp_path.iterdir()] == ([path.name] if path.exists() else [])


def test_a_folder_is_made_or_refused_before_the_work(tmp_path, monkeypatch):
    made = writable_folder(tmp_path / "new" / "folder")
    assert list(made.iterdir()) == []
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputError, match=f"^{path}: cannot be written: "):
            writable_folder(path)
    monkeypatch.setattr(atomic.tempfile, "TemporaryFile", lambda **_: broken())
    with pytest.raises(InputError, match="No space left on device"):
        writable_folder(made)


@pytest.mark.parametrize("before", [[], ["old.mcap"], ["old.mcap", "metadata.yaml"]])
@pytest.mark.parametrize("failure", [None, OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_folder_is_the_old_one_or_the_new_one(tmp_path, before, failure):
    path = tmp_path / "recording"
    for name in before:
        path.mkdir(exist_ok=True)
        (path / name).touch()

    def write():
        with replacing(path) as unfinished:
            unfinished.mkdir()
            (unfinished / "new.mcap").touch()
            if failure is not None:
                raise failure

    if failure is None:
        write()
    else:
        with pytest.raises(InputError if isinstance(failure, OSError) else KeyboardInterrupt):
            write()
    found = sorted(entry.name for entry in path.iterdir()) if path.is_dir() else []
    assert found == (["new.mcap"] if failure is None else sorted(before))
    assert all(entry == path for entry in tmp_path.iterdir())


@pytest.mark.parametrize("place", ["file/out.txt", "nowhere/out.txt", "folder"])
def test_places_that_cannot_be_written_are_named(tmp_path, place):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "content").touch()
    with pytest.raises(InputError, match=f"{place}: cannot be written: "):
        write_atomically(tmp_path / place, b"x")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "folder"]


def test_what_a_killed_process_left_is_cleared(tmp_path):
    (tmp_path / ".0123.unfinished").touch()
    (tmp_path / ".4567.unfinished").mkdir()
    (tmp_path / ".hidden").touch()
    (tmp_path / "mine.unfinished").touch()
    clear_unfinished(tmp_path)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [".hidden", "mine.unfinished"]


@pytest.mark.parametrize("failing", [set(), {"map"}, {"recording"}, {"map", "recording"}])
def test_one_output_that_fails_does_not_take_the_others_with_it(failing):
    outputs, done = Outputs(), []

    def write(name):
        if name in failing:
            raise OSError(errno.ENOSPC, "No space left on device")
        done.append(name)

    for name in ("map", "trajectory", "recording"):
        assert outputs.attempt(name, lambda name=name: write(name)) == (name not in failing)
    assert set(done) == {"map", "trajectory", "recording"} - failing
    if not failing:
        outputs.check()
        return
    with pytest.raises(InputError, match="not everything could be written: ") as error:
        outputs.check()
    assert all(f"{name}: No space left on device" in str(error.value) for name in failing)


def test_a_bug_is_no_output_that_failed():
    with pytest.raises(ZeroDivisionError):
        Outputs().attempt("map", lambda: 1 / 0)
