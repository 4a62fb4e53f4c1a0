"""Benchmarks on disk with something missing, empty, or in another unit."""

from __future__ import annotations

import benchmark_files as files
import cv2
import numpy as np
import pytest
from benchmark_writers import CHESS, WRITERS, write_sevenscenes

from dvlt_ros.errors import DataError
from dvlt_ros.training.data.benchmarks import BENCHMARKS

MISSING = {
    "dtu": ("cams/00000000_cam.txt", "missing camera"),
    "eth3d": ("dslr_calibration_undistorted/cameras.txt", r"cameras\.txt: missing"),
    "sevenscenes": ("frame-000000.pose.txt", r"frame-000000\.pose\.txt"),
    "scannetpp": ("nerfstudio/transforms_undistorted.json", r"transforms_undistorted\.json: unreadable"),
    "nuscenes": ("", r"scene\.h5: missing scene: `prepare nuscenes` makes it"),
}


@pytest.mark.parametrize("dataset", MISSING)
def test_a_missing_file_is_named_and_the_next_sequence_opens(tmp_path, box_scene, dataset):
    write, name = WRITERS[dataset]
    path, message = MISSING[dataset]
    (write(tmp_path, box_scene, box_scene.poses(2)) / path).unlink()
    benchmark, other = BENCHMARKS[dataset], None
    if dataset == "dtu":
        other = files.write_dtu(tmp_path, box_scene, box_scene.poses(2), "scan2").name
    elif dataset == "eth3d":
        other = files.write_eth3d(tmp_path, box_scene, box_scene.poses(2), "terrace").name
    with pytest.raises(DataError, match=message):
        benchmark.open(tmp_path, name)
    assert name in benchmark.sequences(tmp_path)  # it fails when opened; it does not leave the list
    if other is not None:
        assert len(benchmark.open(tmp_path, other)) == 2


@pytest.mark.parametrize(
    ("dataset", "unit_m", "message"),
    [
        ("dtu", 1.0, r"00000001\.npy: median depth .* looks like metres read as millimetres"),
        ("eth3d", 1e-3, r"DSC_0000\.exr: median depth .* looks like millimetres read as metres"),
        ("nuscenes", 1e-3, r"scene\.h5: frame 0: median depth .* looks like millimetres read as metres"),
    ],
)
def test_a_wrong_unit_is_noticed(tmp_path, box_scene, dataset, unit_m, message):
    write, name = WRITERS[dataset]
    write(tmp_path, box_scene, box_scene.poses(2), unit_m=unit_m)
    sequence = BENCHMARKS[dataset].open(tmp_path, name)
    with pytest.raises(DataError, match=message):
        sequence.frame(0)


def test_seven_scenes_in_metres_are_noticed(tmp_path, box_scene):
    write_sevenscenes(tmp_path, box_scene, box_scene.poses(1), unit_m=1.0)
    folder = tmp_path / "sevenscenes" / CHESS
    depth = cv2.imread(str(folder / "frame-000000.depth.proj.png"), cv2.IMREAD_UNCHANGED)
    depth[0, :4] = 0
    files.write_grey(folder / "frame-000000.depth.proj.png", depth)
    with pytest.raises(DataError, match=r"depth\.proj\.png: median depth .* looks like metres read as millimetres"):
        BENCHMARKS["sevenscenes"].open(tmp_path, CHESS).frame(0)


def test_scannetpp_in_integer_millimetres_is_noticed(tmp_path, box_scene):
    poses = box_scene.poses(2)
    folder = files.write_scannetpp(tmp_path, box_scene, poses)
    _, depth = box_scene.render(poses[0])
    files.write_grey(folder / "undistorted_depth" / "DSC00000.png", np.round(depth * 1000).astype(np.uint16))
    with pytest.raises(DataError, match=r"DSC00000\.png: median depth"):
        BENCHMARKS["scannetpp"].open(tmp_path, files.SCANNETPP_ID).frame(0)


@pytest.mark.parametrize("dataset", WRITERS)
def test_an_empty_sequence_is_an_error(tmp_path, box_scene, dataset):
    name = WRITERS[dataset][1]
    folder = tmp_path / dataset
    if dataset == "dtu":
        for subfolder in ("images", "cams", "depths", "binary_masks"):
            (folder / name / subfolder).mkdir(parents=True)
    (folder / name).mkdir(parents=True, exist_ok=True)
    with pytest.raises(DataError) as error:
        BENCHMARKS[dataset].open(tmp_path, name)
    assert name.split("/")[-1] in str(error.value)


@pytest.mark.parametrize("dataset", WRITERS)
def test_a_missing_data_set_says_where_it_is_looked_for(tmp_path, dataset):
    with pytest.raises(DataError, match=rf"{dataset}: no such folder; .* is looked for there"):
        BENCHMARKS[dataset].sequences(tmp_path)


def test_a_sequence_that_the_protocol_does_not_have(tmp_path):
    for dataset in ("eth3d", "sevenscenes", "nuscenes"):
        (tmp_path / dataset).mkdir()
        with pytest.raises(DataError, match="no sequence 'mine' in the protocol, which has"):
            BENCHMARKS[dataset].open(tmp_path, "mine")


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("cameras.txt", "7 PINHOLE 80\n", "is not a camera"),
        ("cameras.txt", "# none\n", "no cameras"),
        ("cameras.txt", "7 OPENCV 80 60 70 72 41 29 0 0 0 0\n", "must be PINHOLE, got OPENCV"),
        ("cameras.txt", "8 PINHOLE 80 60 70 72 41 29\n", "no camera 7"),
        ("images.txt", "1 1 0 0 0 0 0 0 seven a.JPG\n\n", "is not an image"),
        ("images.txt", "1 0 0 0 0 0 0 0 7 a.JPG\n\n", r"a\.JPG: the pose is NaN or not a rotation"),
    ],
)
def test_bad_colmap_files(tmp_path, box_scene, file, text, message):
    folder = files.write_eth3d(tmp_path, box_scene, box_scene.poses(1))
    (folder / "dslr_calibration_undistorted" / file).write_text(text)
    with pytest.raises(DataError, match=message) as error:
        BENCHMARKS["eth3d"].open(tmp_path, "relief")
    assert "dslr_calibration_undistorted" in str(error.value)


def test_depth_of_another_size_than_its_image(tmp_path, box_scene):
    folder = files.write_dtu(tmp_path, box_scene, box_scene.poses(1))
    np.save(folder / "depths" / "00000000.npy", np.ones((30, 40)))
    with pytest.raises(DataError, match=r"00000000\.npy: the depth is 40 x 30, its image 80 x 60"):
        BENCHMARKS["dtu"].open(tmp_path, "scan1").frame(0)
