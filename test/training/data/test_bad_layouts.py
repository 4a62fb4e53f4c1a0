"""Recordings that cannot be used say which file and why."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
from layout_writers import CX, CY, FX, FY, write_depth, write_nerfstudio, write_tum

from dvlt_ros.errors import DataError
from dvlt_ros.training.data.readers.layouts import open_dataset


def test_a_folder_of_unknown_layout_says_what_was_looked_for(tmp_path):
    with pytest.raises(DataError, match=r"no known layout.*rgb.txt, depth.txt and groundtruth.txt.*transforms.json"):
        open_dataset(tmp_path)
    with pytest.raises(DataError, match="no such folder"):
        open_dataset(tmp_path / "absent")
    with pytest.raises(DataError, match="format must be one of"):
        open_dataset(tmp_path, format="kitti")


def test_unknown_options_and_splits_are_refused(tmp_path, box_scene):
    write_nerfstudio(tmp_path, box_scene, box_scene.poses(2))
    with pytest.raises(DataError, match=r"nerfstudio layout has no option \['focal'\], only"):
        open_dataset(tmp_path, focal=3)
    with pytest.raises(DataError, match="nerfstudio layout has no splits"):
        open_dataset(tmp_path, split="train")
    with pytest.raises(DataError, match=r"frames \[5, end\) are none of its 2"):
        open_dataset(tmp_path, frames=(5, None))


@pytest.mark.parametrize("content", [b"{", b"[" * 100_000, b"\xff\xfe", b""])
def test_a_bad_sequence_among_good_ones_is_left_out(tmp_path, box_scene, caplog, content):
    write_nerfstudio(tmp_path / "good", box_scene, box_scene.poses(2))
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "transforms.json").write_bytes(content)
    with caplog.at_level(logging.WARNING):
        sequences = open_dataset(tmp_path)
    assert [sequence.name for sequence in sequences] == ["good"]
    assert "bad/transforms.json: unreadable" in caplog.text


def change_frame(root: Path, index: int, **changes) -> None:
    meta = json.loads((root / "transforms.json").read_text())
    meta["frames"][index] |= changes
    (root / "transforms.json").write_text(json.dumps(meta))


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.full((4, 4), np.nan), "NaN or infinite"),
        (np.diag([1.0, 1.1, 1.0, 1.0]), "not a rotation and a translation"),
        (np.diag([1.0, 1.0, -1.0, 1.0]), "mirrors"),
        (np.eye(3), "transform_matrix must be a 4x4 matrix"),
    ],
)
def test_bad_poses_are_left_out_with_their_cause(tmp_path, box_scene, caplog, matrix, message):
    poses = box_scene.poses(4)
    write_nerfstudio(tmp_path, box_scene, poses)
    change_frame(tmp_path, 1, transform_matrix=matrix.tolist())
    with caplog.at_level(logging.WARNING):
        (sequence,) = open_dataset(tmp_path)
    assert "1 of 4 frames left out" in caplog.text
    assert "frame_1.png" in caplog.text
    assert message in caplog.text
    box_scene.check(sequence, poses[[0, 2, 3]])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fl_x": -1.0}, "intrinsics must be finite and above 0, got {'fx': -1.0}"),
        ({"fl_x": float("nan")}, "intrinsics must be finite"),
        ({"camera_model": "EQUIRECTANGULAR"}, "camera_model EQUIRECTANGULAR is not supported"),
        ({"k4": 0.1}, "camera_model OPENCV with k4 is not supported"),
        ({"applied_scale": 0.0}, "applied_scale must be above 0"),
        ({"applied_transform": [[1.0]]}, "applied_transform must be"),
        ({"applied_scale": "one"}, "applied_scale must be above 0, got 'one'"),
        ({"depth_unit_scale_factor": None}, "depth_unit_scale_factor must be above 0, got None"),
        ({"cx": "middle"}, "intrinsics must be numbers"),
        ({"frames": []}, "no list of frames"),
        ({"frames": [1]}, "no list of frames"),
        ({"frames": [{"file_path": "a.png"}]}, "missing depth: the frame has no depth_file_path"),
    ],
)
def test_bad_transforms_files(tmp_path, box_scene, changes, message):
    write_nerfstudio(tmp_path, box_scene, box_scene.poses(2), **changes)
    with pytest.raises(DataError) as error:
        open_dataset(tmp_path)
    assert message in str(error.value)
    assert str(tmp_path) in str(error.value)


def test_bad_files_name_themselves_and_the_cause(tmp_path, box_scene):
    write_nerfstudio(tmp_path, box_scene, box_scene.poses(8))
    (sequence,) = open_dataset(tmp_path)
    images, depths = tmp_path / "images", tmp_path / "depth"
    (images / "frame_0.png").unlink()
    (images / "frame_1.png").write_bytes(b"not an image")
    (depths / "frame_2.png").unlink()
    (depths / "frame_3.png").write_bytes(b"")
    write_depth(depths / "frame_4.png", np.full((30, 40), 1000, np.uint16))
    write_depth(depths / "frame_5.png", np.zeros((60, 80), np.uint16))
    write_depth(depths / "frame_6.png", np.full((60, 80), 10, np.uint8))
    causes = {
        0: "frame_0.png: missing image",
        1: "frame_1.png: unreadable image",
        2: "frame_2.png: missing depth",
        3: "frame_3.png: unreadable depth",
        4: "frame_4.png: size 40 x 30, the camera has 80 x 60",
        5: "frame_5.png: missing depth: no pixel has a valid value",
        6: "frame_6.png: depth must be a 16-bit image of one channel",
    }
    for index, cause in causes.items():
        with pytest.raises(DataError) as error:
            sequence.frame(index)
        assert cause in str(error.value)
    sequence.frame(7)


@pytest.mark.parametrize(
    ("unit", "message"),
    [(1.0, "looks like millimetres read as metres"), (1e-6, "looks like metres read as millimetres")],
)
def test_depth_in_the_wrong_unit_says_so(tmp_path, box_scene, unit, message):
    write_nerfstudio(tmp_path, box_scene, box_scene.poses(2), depth_unit_scale_factor=unit)
    (sequence,) = open_dataset(tmp_path)
    with pytest.raises(DataError, match=message):
        sequence.frame(0)


def test_poses_in_millimetres_are_noticed(tmp_path, box_scene):
    write_nerfstudio(tmp_path, box_scene, box_scene.poses(3), applied_scale=1e-3)
    (sequence,) = open_dataset(tmp_path)
    with pytest.raises(DataError, match="the poses look like millimetres"):
        sequence.frame(0)


def test_tum_frames_without_depth_or_pose_are_left_out(tmp_path, box_scene, caplog):
    poses = box_scene.poses(4)
    write_tum(tmp_path, box_scene, poses)
    truth = (tmp_path / "groundtruth.txt").read_text().splitlines()
    nan = truth[3].split()
    nan[1] = "nan"
    (tmp_path / "groundtruth.txt").write_text("\n".join([*truth[:3], " ".join(nan), *truth[4:]]))
    depths = (tmp_path / "depth.txt").read_text().splitlines()
    (tmp_path / "depth.txt").write_text("\n".join(depths[:-1]))
    with caplog.at_level(logging.WARNING):
        (sequence,) = open_dataset(tmp_path, intrinsics=(FX, FY, CX - 0.5, CY - 0.5))
    assert "1 of 8 poses left out" in caplog.text
    assert "2 of 4 frames left out" in caplog.text
    box_scene.check(sequence, poses[[0, 2]])


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("groundtruth.txt", "1 2 3\n", "a row has 8 values"),
        ("groundtruth.txt", "1 0 0 0 0 0 zero 1\n", "could not convert"),
        ("groundtruth.txt", "", "no poses"),
        ("groundtruth.txt", "1 0 0 0 0 0 0 0\n", "all 1 poses are NaN or not rotations"),
        ("rgb.txt", "# nothing\n", "rows are a time and a file name"),
        ("depth.txt", "soon depth/1.png\n", "'soon' is not a time"),
    ],
)
def test_bad_tum_lists(tmp_path, box_scene, file, text, message):
    write_tum(tmp_path, box_scene, box_scene.poses(2))
    (tmp_path / file).write_text(text)
    with pytest.raises(DataError) as error:
        open_dataset(tmp_path, camera="freiburg3")
    assert message in str(error.value)
    assert file in str(error.value)


def test_tum_asks_for_the_camera(tmp_path, box_scene):
    write_tum(tmp_path / "office", box_scene, box_scene.poses(2))
    with pytest.raises(DataError, match="does not tell the camera"):
        open_dataset(tmp_path / "office")
    with pytest.raises(DataError, match="got 'freiburg9'"):
        open_dataset(tmp_path / "office", camera="freiburg9")
