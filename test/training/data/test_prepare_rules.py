"""What `prepare` leaves out, checks and refuses."""

from __future__ import annotations

import json
import sys

import benchmark_files as files
import numpy as np
import pytest
from prepare_sources import BOSTON, CHESS, run, write_sevenscenes

from dvlt_ros.errors import ConfigError, DataError
from dvlt_ros.training.data.benchmarks import BENCHMARKS
from dvlt_ros.training.data.readers.colmap import ColmapCamera
from dvlt_ros.training.prepare.check import check_sequence
from dvlt_ros.training.prepare.command import main, prepare
from dvlt_ros.training.prepare.eth3d import thin_prism_fisheye, undistort_depth
from dvlt_ros.training.prepare.projection import sparse_depth


def test_lidarseg_extracted_too_early_is_noticed(tmp_path, box_scene):
    source = files.write_raw_nuscenes(tmp_path / "raw", box_scene, box_scene.poses(1))
    (source / "v1.0-trainval" / "category.json").write_text('[{"name": "wall"}]')
    outcome, _ = run("nuscenes", tmp_path, box_scene, box_scene.poses(1))
    assert "category.json: no index: extract lidarseg last" in outcome.error


def test_points_of_noise_and_of_the_car_itself_are_dropped(tmp_path, box_scene):
    run("nuscenes", tmp_path, box_scene, box_scene.poses(2))
    depth = BENCHMARKS["nuscenes"].open(tmp_path / "data", BOSTON).frame(0).depth
    assert (depth > 0).mean() > 0.15
    assert depth[depth > 0].min() > 0.6  # they are half a metre away


def test_the_nearest_point_of_a_pixel_wins():
    camera = np.array([[10.0, 0, 5], [0, 10, 5], [0, 0, 1]])
    points = np.array([[0.0, 0, 4], [0, 0, 2], [0, 0, 0.05], [0, 0, -3], [9, 0, 1], [0.26, 0.26, 5]])
    depth = sparse_depth(points, camera, (10, 10), "truncate", min_depth=0.1)
    assert depth[5, 5] == 2
    assert (depth > 0).sum() == 1
    assert sparse_depth(np.array([[0.3, 0, 5]]), camera, (10, 10), "nearest")[5, 6] == 5
    assert sparse_depth(np.array([[0.3, 0, 5]]), camera, (10, 10), "truncate")[5, 5] == 5


def test_eth3d_smears_the_rim_only_in_the_published_way(box_scene):
    parameters = (70.0, 70.0, 40.0, 30.0, *(0.0,) * 8)
    raw = ColmapCamera("THIN_PRISM_FISHEYE", (60, 80), parameters)
    wide = ColmapCamera("PINHOLE", (60, 80), (30.0, 30.0, 40.0, 30.0))  # sees more than the raw camera
    depth = np.full((60, 80), 2.0, np.float32)
    assert (undistort_depth(depth, raw, wide, "published") > 0).all()
    inside = undistort_depth(depth, raw, wide, "consistent") > 0
    assert not inside[0].any()
    assert inside[25:35, 30:50].all()


def test_eth3d_rays_go_through_corners_or_centres():
    """A fisheye lens moves what is right of its middle a little to the left: from a corner, into the next pixel."""
    raw = ColmapCamera("THIN_PRISM_FISHEYE", (60, 80), (70.0, 70.0, 40.0, 30.0, *(0.0,) * 8))
    camera = ColmapCamera("PINHOLE", (60, 80), (70.0, 70.0, 40.0, 30.0))
    columns = np.tile(np.arange(1, 81, dtype=np.float32), (60, 1))
    assert undistort_depth(columns, raw, camera, "consistent")[30, 45] == columns[30, 45]
    assert undistort_depth(columns, raw, camera, "published")[30, 45] == columns[30, 44]


def test_prepare_works_in_place(tmp_path, box_scene):
    folder = write_sevenscenes(tmp_path / "sevenscenes", box_scene, box_scene.poses(1))
    raw = {path: path.read_bytes() for path in folder.iterdir()}
    assert prepare("sevenscenes", tmp_path, tmp_path / "sevenscenes", names=[CHESS])[CHESS].error is None
    assert all(path.read_bytes() == content for path, content in raw.items())
    assert len(BENCHMARKS["sevenscenes"].open(tmp_path, CHESS)) == 1


def test_a_sample_that_no_table_has(tmp_path, box_scene):
    source = files.write_raw_nuscenes(tmp_path / "raw", box_scene, box_scene.poses(2))
    samples = json.loads((source / "v1.0-trainval" / "sample.json").read_text())
    (source / "v1.0-trainval" / "sample.json").write_text(json.dumps(samples[:1]))
    outcome, _ = run("nuscenes", tmp_path, box_scene, box_scene.poses(2))
    assert "no sample sample1 in the tables, after 1 keyframes" in outcome.error


def test_a_check_goes_on_after_a_bad_sequence(tmp_path, box_scene, capsys):
    folder = files.write_dtu(tmp_path, box_scene, box_scene.poses(2))
    files.write_dtu(tmp_path, box_scene, box_scene.poses(2), "scan2")
    (folder / "depths" / "00000001.npy").write_bytes(b"bad")
    assert main(["dtu", str(tmp_path), "--check"]) == 1
    out = capsys.readouterr().out
    assert "scan1: FAILED:" in out
    assert "00000001.npy: unreadable depth" in out
    assert "scan2: 2 views" in out


def test_the_distortion_of_colmaps_camera():
    """Values of pycolmap 4.2.1, Camera.img_from_cam."""
    parameters = (3408.59, 3408.87, 3117.24, 2064.07, -0.0236, 0.0061, -0.00045, 0.00052, 0.0018, -0.0003)
    found = thin_prism_fisheye(np.array([[0.3, -0.2], [-0.8, 0.55]]), (*parameters, 0.0011, -0.0007))
    expected = [[4097.109949223403, 1410.7411314866513], [983.2762681700274, 3531.217202230028]]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_check_finds_wrong_poses(tmp_path, box_scene):
    poses = box_scene.poses(3)
    files.write_dtu(tmp_path, box_scene, np.linalg.inv(poses))  # images of one place, cameras of another
    for i, pose in enumerate(poses):
        _, depth = box_scene.render(pose)
        np.save(tmp_path / "dtu" / "scan1" / "depths" / f"{i:08d}.npy", 1000 * depth)
    with pytest.raises(DataError, match="contradict each other: their median differs by"):
        check_sequence(BENCHMARKS["dtu"].open(tmp_path, "scan1"))


def test_a_check_counts(tmp_path, box_scene):
    folder = files.write_dtu(tmp_path, box_scene, box_scene.poses(4))
    np.save(folder / "depths" / "00000003.npy", np.zeros((60, 80)))
    found = check_sequence(BENCHMARKS["dtu"].open(tmp_path, "scan1"))
    assert (found.views, found.empty_views) == (4, 1)
    assert found.valid_share == pytest.approx(0.75)
    assert found.depth_range[0] > 500
    assert found.disagreement < 0.01


def test_dtu_is_checked_as_it_is_downloaded(tmp_path, box_scene, capsys):
    files.write_dtu(tmp_path, box_scene, box_scene.poses(2))
    assert main(["dtu", str(tmp_path), "--check"]) == 0
    assert "scan1: 2 views, 100.0 % valid" in capsys.readouterr().out
    assert main(["dtu", str(tmp_path), "--source", str(tmp_path)]) == 2
    assert "DTU needs no preparation" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["eth3d", "{root}"], "nothing to do"),
        (["eth3d", "{root}", "--source", "{root}/absent"], "absent: no such folder"),
        (["eth3d", "{root}", "--check"], "eth3d: no such folder; ETH3D is looked for there"),
        (
            ["eth3d", "{root}", "--source", "{root}", "--sequences", "kitchen"],
            "no sequence kitchen; there are courtyard",
        ),
        (["scannetpp", "{root}", "--source", "{root}"], "nvs_sem_val.txt: unreadable list of scenes"),
        (["sevenscenes", "{root}/file", "--source", "{root}"], "file/sevenscenes/prepared.json: cannot be made"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(tmp_path, capsys, arguments, message):
    (tmp_path / "file").touch()  # where a folder would be
    assert main([argument.format(root=tmp_path) for argument in arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("dvlt_prepare: ")
    assert message in error
    assert "Traceback" not in error


def test_without_its_packages_prepare_names_the_command(tmp_path, box_scene, monkeypatch):
    files.write_raw_nuscenes(tmp_path / "raw", box_scene, box_scene.poses(1))
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ConfigError, match=r"h5py: pip install OpenEXR .* 'small-gicp>=1\.0\.1,<2'"):
        run("nuscenes", tmp_path, box_scene, box_scene.poses(1))
