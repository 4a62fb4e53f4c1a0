"""`prepare` makes sequences that show the scene, once, whole or not at all."""

from __future__ import annotations

import json
import re
from pathlib import Path

import benchmark_files as files
import numpy as np
import pytest
from prepare_sources import BOSTON, RAW, check_views, depth_shift, run, write_sevenscenes

from dvlt_ros.errors import ConfigError, DataError
from dvlt_ros.training.data.benchmarks import BENCHMARKS
from dvlt_ros.training.prepare.command import main
from dvlt_ros.training.prepare.jobs import Job


@pytest.mark.parametrize("half_pixel", ["published", "consistent"])
@pytest.mark.parametrize("dataset", RAW)
def test_the_result_shows_the_scene(tmp_path, box_scene, dataset, half_pixel):
    poses = box_scene.poses(3)[1:]  # no wall is parallel to the image: every shift shows
    outcome, name = run(dataset, tmp_path, box_scene, poses, half_pixel=half_pixel, check=True)
    assert outcome.error is None
    assert outcome.made > 0
    assert outcome.check.views == 2
    assert outcome.check.disagreement < 0.02
    sequence = BENCHMARKS[dataset].open(tmp_path / "data", name)
    check_views(box_scene, sequence, poses)
    corners = half_pixel == "published" and dataset in ("eth3d", "sevenscenes")
    for index, pose in enumerate(poses):
        shift = depth_shift(box_scene, sequence.frame(index), pose)
        np.testing.assert_allclose(shift, 0.5 if corners else 0.0, atol=0.15)


@pytest.mark.parametrize("dataset", ["eth3d", "scannetpp"])
def test_consistent_pixel_centres_show_the_scene_image_and_all(tmp_path, box_scene, dataset):
    poses = box_scene.poses(2)
    _, name = run(dataset, tmp_path, box_scene, poses, half_pixel="consistent")
    box_scene.check(BENCHMARKS[dataset].open(tmp_path / "data", name), poses)


@pytest.mark.parametrize("dataset", RAW)
def test_done_work_is_not_repeated(tmp_path, box_scene, dataset):
    poses = box_scene.poses(1 if dataset == "sevenscenes" else 2)
    first, name = run(dataset, tmp_path, box_scene, poses)
    prepared = {path: path.stat().st_mtime_ns for path in (tmp_path / "data" / dataset / name.split("/")[0]).rglob("*")}
    again, _ = run(dataset, tmp_path, box_scene, poses)
    assert (again.made, again.kept) == (0, first.made)
    assert all(path.stat().st_mtime_ns == time for path, time in prepared.items())


def test_stopped_work_is_taken_up(tmp_path, box_scene, monkeypatch):
    poses = box_scene.poses(1)
    (tmp_path / "raw").mkdir()
    write_sevenscenes(tmp_path / "raw", box_scene, poses)
    run_job, count = Job.run, 0

    def stopped(job: Job) -> None:
        nonlocal count
        count += 1
        if count == 4:
            raise KeyboardInterrupt
        run_job(job)

    monkeypatch.setattr(Job, "run", stopped)
    with pytest.raises(KeyboardInterrupt):
        run("sevenscenes", tmp_path, box_scene, poses)
    monkeypatch.undo()
    outcome, _ = run("sevenscenes", tmp_path, box_scene, poses)
    assert outcome.kept == 2  # the first of the four was the note of settings
    assert outcome.made > 0
    assert not list((tmp_path / "data").rglob(".partial*"))


def test_an_output_is_whole_or_absent(tmp_path):
    def half(partial: Path) -> None:
        partial.write_text("half")
        raise DataError("the source is damaged")

    with pytest.raises(DataError):
        Job(tmp_path / "folder" / "depth.png", half).run()
    assert list((tmp_path / "folder").iterdir()) == []


def test_two_ways_are_not_mixed_in_one_folder(tmp_path, box_scene):
    run("sevenscenes", tmp_path, box_scene, box_scene.poses(1))
    with pytest.raises(ConfigError, match=r"prepared\.json: begun with .*published.*choose another data root"):
        run("sevenscenes", tmp_path, box_scene, box_scene.poses(1), half_pixel="consistent")


BROKEN = {
    "eth3d": ("ground_truth_depth/dslr_images/DSC_0001.JPG", r"DSC_0001\.JPG: 1 values are not 240 x 180"),
    "sevenscenes": ("frame-000011.depth.png", r"frame-000011\.depth\.png: unreadable depth"),
    "scannetpp": ("scans/mesh_aligned_0.05.ply", r"mesh_aligned_0\.05\.ply: unreadable mesh"),
    "nuscenes": ("lidarseg/v1.0-trainval/lidar1_lidarseg.bin", r"lidar1_lidarseg\.bin: 4 labels, but 1\.pcd\.bin has"),
}


@pytest.mark.parametrize("dataset", BROKEN)
def test_a_broken_source_fails_its_sequence_with_the_cause(tmp_path, box_scene, capsys, dataset):
    write, name = RAW[dataset]
    (tmp_path / "raw").mkdir()
    file, message = BROKEN[dataset]
    (write(tmp_path / "raw", box_scene, box_scene.poses(2)) / file).write_bytes(b"bad\n")
    arguments = [dataset, str(tmp_path / "data"), "--source", str(tmp_path / "raw"), "--sequences", name]
    assert main(arguments) == 1
    assert "0 of 1 sequences are ready" in capsys.readouterr().out
    report = json.loads((tmp_path / "data" / dataset / "prepare_report.json").read_text())
    assert re.search(message, report[name]["error"])
    with pytest.raises(DataError):  # and is not half there
        BENCHMARKS[dataset].open(tmp_path / "data", name)


def test_the_next_sequence_follows_a_failed_one(tmp_path, box_scene, capsys):
    files.write_raw_nuscenes(tmp_path / "raw", box_scene, box_scene.poses(2))
    arguments = ["nuscenes", str(tmp_path / "data"), "--source", str(tmp_path / "raw")]
    assert main([*arguments, "--sequences", "scene-0013", BOSTON, "--check"]) == 1
    out = capsys.readouterr().out
    assert "scene-0013: FAILED:" in out
    assert "scene.json: no scene 'scene-0013'" in out
    assert f"{BOSTON}: 1 files made, 0 kept; 2 views" in out
    assert "1 of 2 sequences are ready" in out
