"""Trajectories and maps as files: TUM rows, recordings and PLY, read or refused by name."""

from __future__ import annotations

import struct

import numpy as np
import pytest
import torch

pytest.importorskip("evo", reason="evo is an extra; pip install '.[evaluation]' runs this")


from walks import COUNT, STAMPS_S, write_walk

from dvlt_ros.errors import DataError
from dvlt_ros.evaluation.ply import read_ply
from dvlt_ros.evaluation.reading import read_trajectory
from dvlt_ros.export import McapRecording, write_ply
from dvlt_ros.geometry import matrix_from_quaternion, rotation_angle


def test_a_tum_file_is_read_as_it_was_written(walk, tmp_path):
    poses = write_walk(tmp_path / "walk.txt", walk)
    read = read_trajectory(tmp_path / "walk.txt")
    np.testing.assert_allclose(read.stamps_s, STAMPS_S, rtol=0, atol=1e-6)
    np.testing.assert_allclose(read.positions, walk[0], atol=1e-8)
    between = matrix_from_quaternion(torch.from_numpy(read.quaternions)).mT @ torch.from_numpy(poses[:, :3, :3])
    assert rotation_angle(between).max() < 1e-7


GOOD = "1 0 0 0 0 0 0 1\n"
WRONG_ROWS = {
    "line 2: 7 columns; TUM rows have 8": GOOD + "2 0 0 0 0 0 1\n",
    "line 1: 9 columns": "1 0 0 0 0 0 0 1 5\n",
    "line 3: not numbers": "# head\n" + GOOD + "2,0,0,0,0,0,0,1\n",
    "line 2: not finite": GOOD + "2 0 nan 0 0 0 0 1\n",
    "line 1: not finite": "inf 0 0 0 0 0 0 1\n",
    "line 2: its quaternion": GOOD + "2 0 0 0 0 0 0 0\n",
    "line 4: its stamp is not after": GOOD + "2 0 0 0 0 0 0 1\n\n2 0 0 0 0 0 0 1\n",
    "no poses": "# timestamp tx ty tz qx qy qz qw\n",
}


@pytest.mark.parametrize("cause", WRONG_ROWS)
def test_a_wrong_row_is_named(cause, tmp_path):
    (tmp_path / "wrong.txt").write_text(WRONG_ROWS[cause])
    with pytest.raises(DataError, match=rf"wrong\.txt: {cause}"):
        read_trajectory(tmp_path / "wrong.txt")


@pytest.mark.parametrize(("scale", "unit"), [(1, ""), (10**3, "ms"), (10**6, "µs"), (10**9, "ns")])
def test_times_in_another_unit_are_read_and_said(scale, unit, tmp_path):
    rows = [f"{(1403636579 + i) * scale} {i} 0 0 0 0 0 1" for i in range(3)]
    (tmp_path / "walk.txt").write_text("\n".join(rows), encoding="utf-8-sig")  # as Windows writes it
    read = read_trajectory(tmp_path / "walk.txt")
    np.testing.assert_allclose(read.stamps_s, [1403636579, 1403636580, 1403636581], rtol=0, atol=1e-6)
    assert read.remark == (f"{tmp_path / 'walk.txt'}: times are read in {unit}" if unit else "")


def test_unreadable_files_are_named(tmp_path):
    with pytest.raises(DataError, match=r"nowhere\.txt: cannot be read: No such file"):
        read_trajectory(tmp_path / "nowhere.txt")
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"binary\.txt: not a text file"):
        read_trajectory(tmp_path / "binary.txt")
    (tmp_path / "good.txt").write_text(GOOD)
    with pytest.raises(DataError, match=r"good\.txt: a topic was asked for"):
        read_trajectory(tmp_path / "good.txt", "/pose")
    (tmp_path / "empty.mcap").touch()
    with pytest.raises(DataError, match=r"empty\.mcap: not a readable bag"):
        read_trajectory(tmp_path / "empty.mcap")


def record(folder, poses, maps):
    """A recording with poses, which are cut into as many maps."""
    recording = McapRecording(folder)
    stamps_ns = (1000 * STAMPS_S).round().astype(np.int64) * 10**6
    for part in np.array_split(np.arange(COUNT), maps):
        for i in part:
            recording.write_pose(poses[i], "map", int(stamps_ns[i]))
        recording.write_path(stamps_ns[part], poses[part], "map")
    recording.close()


def test_a_recording_holds_the_same_poses(walk, tmp_path):
    poses = write_walk(tmp_path / "walk.txt", walk)
    record(tmp_path / "recording", poses, 1)
    read, written = read_trajectory(tmp_path / "recording"), read_trajectory(tmp_path / "walk.txt")
    np.testing.assert_allclose(read.stamps_s, written.stamps_s, rtol=0, atol=1e-6)
    np.testing.assert_allclose(read.positions, written.positions, atol=1e-8)
    np.testing.assert_allclose(read.quaternions, written.quaternions, atol=1e-8)
    with pytest.raises(DataError, match="no messages on /elsewhere"):
        read_trajectory(tmp_path / "recording", "/elsewhere")


def test_a_recording_of_two_maps_is_refused(walk, tmp_path):
    record(tmp_path / "recording", write_walk(tmp_path / "walk.txt", walk), 2)
    with pytest.raises(DataError, match="recording: 2 maps, each with its own origin and scale"):
        read_trajectory(tmp_path / "recording")


POINTS = np.array([[0.0, 1.5, -2.0], [3.25, 4.0, 5.0]])


def test_our_own_ply_is_read(tmp_path):
    for confidence in (None, np.ones(2, np.float32)):
        write_ply(tmp_path / "map.ply", POINTS, np.zeros((2, 3), np.uint8), confidence)
        np.testing.assert_array_equal(read_ply(tmp_path / "map.ply"), POINTS)


FACES = "element face 1\nproperty list uchar int vertex_indices\n"
XYZ = "property {0} x\nproperty {0} y\nproperty uchar tag\nproperty {0} z\n"


def head(layout, properties, count=2):
    return f"ply\nformat {layout}\ncomment by hand\nelement vertex {count}\n{properties}{FACES}end_header\n".encode()


def test_plys_of_others_are_read(tmp_path):
    path = tmp_path / "other.ply"
    rows = [(x, y, 7, z) for x, y, z in POINTS.tolist()]
    body = "".join(f"{x} {y} {tag} {z}\n" for x, y, tag, z in rows)
    path.write_bytes(head("ascii 1.0", XYZ.format("float")) + f"{body}3 0 1 1\n".encode())
    np.testing.assert_array_equal(read_ply(path), POINTS)
    face = b"\x03" + bytes(12)
    for order, name, newline in (("<", "little", b"\n"), (">", "big", b"\r\n")):
        begin = head(f"binary_{name}_endian 1.0", XYZ.format("double")).replace(b"\n", newline)
        path.write_bytes(begin + b"".join(struct.pack(f"{order}ddBd", *row) for row in rows) + face)
        np.testing.assert_array_equal(read_ply(path), POINTS)


ASCII = head("ascii 1.0", XYZ.format("float"))
WRONG_PLYS = {
    "not a PLY file": b"solid cube",
    "vertices without z": head("ascii 1.0", "property float x\nproperty float y\n"),
    "2 vertices announced, 1 found": head("binary_little_endian 1.0", XYZ.format("float")) + bytes(20),
    "vertex 1: not finite": ASCII + b"1 2 0 3\n1 nan 0 3\n",
    "2 vertices of 4 numbers announced": ASCII + b"1 2 3\n1 2 3\n",
    "could not convert": ASCII + b"1 2 0 3\n1 two 0 3\n",
    "header line 'property list uchar int bag'": head("ascii 1.0", "property list uchar int bag\n"),
    "the element face comes before": b"ply\nformat ascii 1.0\nelement face 1\nelement vertex 1\nend_header\n",
    "header line 'format binary_middle_endian 1.0'": head("binary_middle_endian 1.0", XYZ.format("float")),
    "no points": head("ascii 1.0", XYZ.format("float"), count=0),
}


@pytest.mark.parametrize("cause", WRONG_PLYS)
def test_a_wrong_ply_is_named(cause, tmp_path):
    (tmp_path / "wrong.ply").write_bytes(WRONG_PLYS[cause])
    with pytest.raises(DataError, match=rf"wrong\.ply: .*{cause}"):
        read_ply(tmp_path / "wrong.ply")
