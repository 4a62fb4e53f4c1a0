"""When something cannot be written, or nothing can be read: what is worth most is there, and the end says the rest."""

from __future__ import annotations

import errno
import os
import shutil
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

pytest.importorskip("rosbags", reason="bags are read and written with rosbags; `make venv` brings it")

from dvlt_ros import programs, reconstruct_bag
from dvlt_ros.demo import DEMO_SEQUENCE
from dvlt_ros.errors import InputError
from dvlt_ros.export import McapRecording, write_page
from dvlt_ros.offline import depth_files, disk, results

COUNT = 4
QUICK = [
    "--model-image-size", "56", "--budget-k-max", "2", "--device", "cpu", "--keyframes-min-change", "0",
    "--registration-max-residual", "0.9", "--window-size", "4", "--window-overlap", "1", "--recording",
]  # fmt: skip
MAP = {"map_0.ply", "trajectory_0.txt"}

pytestmark = pytest.mark.usefixtures("quick_page")


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for path in sorted(DEMO_SEQUENCE.glob("*.jpg"))[:COUNT]:
        shutil.copy(path, folder)
    return folder


def run(photos, output, *more) -> tuple[str, set[str]]:
    """The last word where the exit status is not 0, and what is there; half-written things have no place."""
    said = ""
    try:
        reconstruct_bag.main([str(photos), "--output", str(output), *QUICK, *more])
    except SystemExit as ended:
        said = str(ended.code)
        assert "\n" not in said
    there = {path.name for path in output.iterdir()} if output.is_dir() else set()
    assert not [name for name in there if "unfinished" in name]
    return said, there


def full(*_, **__):
    raise InputError("out: cannot be written: No space left on device") from OSError(errno.ENOSPC, "No space left")


@pytest.mark.parametrize("begins", [True, False])
def test_a_recording_that_finds_no_room_does_not_take_the_map_with_it(photos, tmp_path, monkeypatch, begins):
    """From the first message on, or only at its end."""

    def no_room(self):
        raise OSError(errno.ENOSPC, "No space left on device")

    if begins:
        monkeypatch.setattr(McapRecording, "write_image", full)
    else:
        monkeypatch.setattr(McapRecording, "close", no_room)
    said, there = run(photos, tmp_path / "out")
    assert "not everything could be written: " in said
    assert "recording: No space left on device" in said or "out: cannot be written" in said
    assert MAP | {"page_0.png", "depth"} <= there
    assert "recording" not in there


def test_depth_images_that_find_no_room(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(depth_files, "write_depth", full)
    said, there = run(photos, tmp_path / "out")
    assert "cannot be written: No space left on device" in said
    assert MAP | {"recording"} <= there


@pytest.mark.parametrize(("failures", "left_out"), [(1, {"recording"}), (2, {"recording", "depth"})])
def test_the_map_gets_the_room_of_what_is_worth_less(photos, tmp_path, monkeypatch, failures, left_out):
    real, tries = results.write_ply, []

    def write(path, *values, **more):
        tries.append(path)
        if len(tries) <= failures:
            full()
        real(path, *values, **more)

    monkeypatch.setattr(results, "write_ply", write)
    said, there = run(photos, tmp_path / "out")
    assert there >= MAP
    assert "recording" not in there
    assert ("depth" in left_out) == ("depth" not in there)
    for name in left_out:
        assert f"{name}{' images' * (name == 'depth')} left out for the room of map_0.ply" in said


def test_a_map_that_cannot_be_written_at_all_is_named(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(results, "write_ply", full)
    said, there = run(photos, tmp_path / "out")
    assert "out: cannot be written: No space left on device" in said
    assert "trajectory_0.txt" in there


@pytest.mark.parametrize("name", ["map_0.ply", "trajectory_0.txt", "page_0.png"])
def test_what_stands_in_the_way_of_one_file_takes_no_other_away(photos, tmp_path, name):
    (tmp_path / "out" / name).mkdir(parents=True)
    (tmp_path / "out" / name / "mine.txt").write_text("mine")
    said, there = run(photos, tmp_path / "out")
    assert said.endswith(f"not everything could be written: {tmp_path}/out/{name}: cannot be written: Is a directory")
    assert MAP | {"page_0.png", "depth", "recording", "images.csv"} <= there
    assert (tmp_path / "out" / name / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize("place", ["file", "file/out"])
def test_places_that_cannot_be(photos, tmp_path, place):
    (tmp_path / "file").write_text("mine")
    said, _ = run(photos, tmp_path / place)
    assert "file" in said
    assert (tmp_path / "file").read_text() == "mine"


# What cannot be read


@pytest.mark.parametrize("shade", [0, 1, 255])
def test_nothing_reconstructed_is_an_error(tmp_path, shade):
    for index in range(3):
        cv2.imwrite(str(tmp_path / f"{index}.png"), np.full((48, 64, 3), shade, np.uint8))
    said, _ = run(tmp_path, tmp_path / "out")
    assert "nothing was reconstructed of 3 images; 3 refused, e.g. 0.png refused: " in said
    named = (tmp_path / "out" / "refused.txt").read_text().splitlines()
    assert [line.split(" refused: ")[0] for line in named] == ["0.png", "1.png", "2.png"]
    assert not (tmp_path / "out" / "depth").exists()  # nothing empty is left


def test_the_last_line_names_the_first_refusal_of_each_kind(photos, tmp_path, capsys):
    whole = sorted(photos.iterdir())[0].read_bytes()
    (photos / "zz1.jpg").write_bytes(whole[:-500])
    (photos / "zz2.jpg").write_bytes(b"")
    (photos / "zz3.jpg").write_bytes(b"")
    (photos / "notes.txt").write_text("words")
    said, there = run(photos, tmp_path / "out")
    assert said == ""
    assert there >= MAP
    out = capsys.readouterr()
    last = out.out.strip().splitlines()[-1]
    assert f"3 refused, e.g. {photos}/zz1.jpg: {len(whole) - 500} bytes that are only a part of a JPEG" in last
    assert f"{photos}/zz2.jpg: 0 bytes that are no image, or only a part of one (2)" in last
    assert "not images: 1 .txt" in out.out + out.err
    named = (tmp_path / "out" / "refused.txt").read_text().splitlines()
    assert [line.partition(": ")[0] for line in named] == [f"{photos}/zz{number}.jpg" for number in (1, 2, 3)]
    assert all(f"refused: {line}" in out.out + out.err for line in named)


def test_names_that_are_no_text_take_no_result_away(photos, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(results, "write_page", write_page)  # the real one: it has the names for titles
    names = ["zz\udcff.jpg", "zz\n.jpg", "zz\x1b[2J.jpg", "zz$\\frac$.jpg"]
    first, *_ = sorted(photos.iterdir())
    for name in names:
        shutil.copy(first, photos / name)
        (photos / f"empty_{name}").write_bytes(b"")
    programs.print_any_name()
    said, there = run(photos, tmp_path / "out_\udcff", "--export", "colmap")
    assert said == ""
    assert MAP | {"images.csv", "refused.txt", "scene_0", "page_0.png"} <= there
    listed = (tmp_path / "out_\udcff" / "images.csv").read_bytes()
    assert all(os.fsencode(name) in listed for name in names)
    assert "\x1b" not in "".join(capsys.readouterr())


def test_earlier_results_stay_if_a_run_cannot_begin(photos, tmp_path):
    pytest.importorskip("rerun", reason="Rerun is an extra; pip install '.[rerun]' runs this")
    _, before = run(photos, tmp_path / "out")
    said, there = run(photos, tmp_path / "out", "--rrd", str(tmp_path / "nowhere" / "\udcff.rrd"))
    assert "rrd" in said
    assert there == before >= MAP


def test_the_size_is_told_before_and_a_disk_that_cannot_hold_it_is_refused(photos, tmp_path, monkeypatch, capsys):
    said, there = run(photos, tmp_path / "out", "--full-resolution")
    needed = disk.expected_bytes(COUNT, (192, 256), disk.OutputOptions(recording=True, full_resolution=True))
    assert f"writes at most {disk.readable(needed + disk.MAPS)} to " in "".join(capsys.readouterr())
    written = sum(path.stat().st_size for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert (said, written < needed + disk.MAPS) == ("", True)
    table = (tmp_path / "out" / "images.csv").read_text().splitlines()
    assert [row.split(",")[1] for row in table[1:]] == sorted(path.name for path in photos.iterdir())
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda _: SimpleNamespace(free=10**6))
    said, there = run(photos, tmp_path / "other", "--full-resolution")
    assert "4 images of 256 x 192 with a recording may take " in said
    assert "1 MB are free; less is needed without --full-resolution or without --recording" in said
    assert not there
