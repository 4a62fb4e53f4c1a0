"""Files for other tools: what was written is read back by readers of other people or of the format's own rules."""

from __future__ import annotations

import errno
import os
import stat

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dvlt_ros.errors import InputError
from dvlt_ros.export import Shown, atomic, write_depth, write_page, write_pcd, write_ply, write_tum
from dvlt_ros.geometry import matrix_from_quaternion

COUNT = 50
NUMPY_TYPES = {"float": "<f4", "uchar": "u1"}


@pytest.fixture
def cloud():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(COUNT, 3)).astype(np.float32)
    return points, rng.integers(0, 256, (COUNT, 3), dtype=np.uint8), rng.uniform(1, 9, COUNT).astype(np.float32)


def poses(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    world_from_cam = np.tile(np.eye(4), (count, 1, 1))
    quaternions = torch.randn(count, 4, generator=generator, dtype=torch.float64)
    world_from_cam[:, :3, :3] = matrix_from_quaternion(quaternions)
    world_from_cam[:, :3, 3] = np.random.default_rng(seed).normal(size=(count, 3))
    return world_from_cam


def read_ply(path):
    head, data = path.read_bytes().split(b"end_header\n", 1)
    first, kind, element, *properties = head.decode("ascii").splitlines()
    assert (first, kind) == ("ply", "format binary_little_endian 1.0")
    columns = [(name, NUMPY_TYPES[kind]) for _, kind, name in map(str.split, properties)]
    vertices = np.frombuffer(data, columns)
    assert element == f"element vertex {len(vertices)}"
    return vertices


def read_pcd(path):
    head, data = path.read_bytes().split(b"DATA binary\n", 1)
    fields = {name: values for name, *values in map(str.split, head.decode("ascii").splitlines()[1:])}
    assert fields["VERSION"] == ["0.7"]
    assert set(fields["TYPE"]) == {"F"}
    assert set(fields["SIZE"]) == {"4"}
    assert set(fields["COUNT"]) == {"1"}
    assert fields["VIEWPOINT"] == list("0001000")
    points = np.frombuffer(data, [(name, "<f4") for name in fields["FIELDS"]])
    assert fields["WIDTH"] == fields["POINTS"] == [str(len(points))]
    assert fields["HEIGHT"] == ["1"]
    return points


@pytest.mark.parametrize("with_confidence", [True, False])
def test_a_ply_has_every_point_with_its_colour(cloud, tmp_path, with_confidence):
    points, colors, confidence = cloud
    write_ply(tmp_path / "map.ply", points, colors, confidence if with_confidence else None)
    vertices = read_ply(tmp_path / "map.ply")
    np.testing.assert_array_equal(np.stack([vertices[name] for name in "xyz"], axis=-1), points)
    np.testing.assert_array_equal(np.stack([vertices[name] for name in ("red", "green", "blue")], axis=-1), colors)
    assert ("confidence" in vertices.dtype.names) == with_confidence
    if with_confidence:
        np.testing.assert_array_equal(vertices["confidence"], confidence)


def test_a_pcd_has_every_point_with_its_colour_packed_as_pcl_does(cloud, tmp_path):
    points, colors, confidence = cloud
    write_pcd(tmp_path / "map.pcd", points, colors, confidence)
    read = read_pcd(tmp_path / "map.pcd")
    np.testing.assert_array_equal(np.stack([read[name] for name in "xyz"], axis=-1), points)
    np.testing.assert_array_equal(read["confidence"], confidence)
    packed = read["rgb"].view("<u4")
    unpacked = np.stack([packed >> 16 & 255, packed >> 8 & 255, packed & 255], axis=-1)
    np.testing.assert_array_equal(unpacked, colors)


def test_an_empty_map_is_a_file_too(tmp_path):
    nothing = np.empty((0, 3), np.float32), np.empty((0, 3), np.uint8), np.empty(0, np.float32)
    write_ply(tmp_path / "map.ply", *nothing)
    write_pcd(tmp_path / "map.pcd", *nothing)
    write_tum(tmp_path / "path.txt", [], poses(0))
    assert len(read_ply(tmp_path / "map.ply")) == len(read_pcd(tmp_path / "map.pcd")) == 0
    assert (tmp_path / "path.txt").read_text().splitlines() == ["# timestamp tx ty tz qx qy qz qw"]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 2**31 * 10**9), max_size=5), st.integers(0, 1000))
def test_a_trajectory_reads_back_to_the_nanosecond(tmp_path_factory, stamps_ns, seed):
    path, written = tmp_path_factory.mktemp("tum") / "path.txt", poses(len(stamps_ns), seed)
    write_tum(path, stamps_ns, written)
    lines = path.read_text().splitlines()[1:]
    assert [int(line.split()[0].replace(".", "")) for line in lines] == stamps_ns
    assert all(len(line.split()[0].split(".")[1]) == 9 for line in lines)
    read = np.array([line.split()[1:] for line in lines], dtype=np.float64).reshape(-1, 7)
    np.testing.assert_allclose(read[:, :3], written[:, :3, 3], atol=1e-9)
    np.testing.assert_allclose(matrix_from_quaternion(torch.from_numpy(read[:, 3:])), written[:, :3, :3], atol=1e-8)


def test_a_quarter_turn_to_the_left_is_x_y_z_w(tmp_path):
    pose = np.array([[[0, -1, 0, 1], [1, 0, 0, 2], [0, 0, 1, 3], [0, 0, 0, 1]]], dtype=np.float64)
    write_tum(tmp_path / "path.txt", [1_500_000_000], pose)
    stamp, *numbers = (tmp_path / "path.txt").read_text().splitlines()[1].split()
    assert stamp == "1.500000000"
    np.testing.assert_allclose([float(n) for n in numbers], [1, 2, 3, 0, 0, 0.5**0.5, 0.5**0.5], atol=1e-8)


def test_a_depth_image_keeps_its_values_for_every_reader(tmp_path):
    depth = np.random.default_rng(0).uniform(0.1, 90, (24, 33)).astype(np.float32)
    depth[3:9] = np.nan
    write_depth(tmp_path / "1.tiff", depth)
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "1.tiff"), cv2.IMREAD_UNCHANGED), depth)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "1.tiff")), depth)


def test_a_page_shows_frames_without_any_depth_too(cloud, tmp_path):
    points, colors, _ = cloud
    frame = Shown("1.0", np.zeros((24, 32, 3), np.uint8), np.full((24, 32), np.nan), np.ones((24, 32)))
    write_page(tmp_path / "page.png", [frame], points, colors, np.zeros((1, 3)), "caption")
    assert Image.open(tmp_path / "page.png").size[0] > 100


def writers(cloud):
    points, colors, confidence = cloud
    frame = Shown("1.0", np.zeros((24, 32, 3), np.uint8), np.ones((24, 32)), np.ones((24, 32)))
    return {
        "ply": lambda path: write_ply(path, points, colors, confidence),
        "pcd": lambda path: write_pcd(path, points, colors, confidence),
        "tum": lambda path: write_tum(path, [1, 2], poses(2)),
        "tiff": lambda path: write_depth(path, np.ones((4, 4), np.float32)),
        "png": lambda path: write_page(path, [frame], points, colors, np.zeros((1, 3)), "caption"),
    }


@pytest.mark.parametrize("kind", ["ply", "pcd", "tum", "tiff", "png"])
def test_a_path_that_cannot_be_written_is_named_with_the_cause(cloud, tmp_path, kind):
    write, parent = writers(cloud)[kind], tmp_path / "file"
    parent.write_text("not a folder")
    (tmp_path / "folder").mkdir()
    for path, cause in (
        (tmp_path / "missing" / "map", "No such file or directory"),
        (parent / "map", "Not a directory"),
        (tmp_path / "folder", "Is a directory"),
    ):
        with pytest.raises(InputError) as error:
            write(path)
        assert str(error.value) == f"{path}: cannot be written: {cause}"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "folder"]


@pytest.mark.parametrize("kind", ["ply", "pcd", "tum", "tiff"])
def test_a_full_disk_leaves_the_old_file_and_nothing_else(cloud, tmp_path, monkeypatch, kind):
    path = tmp_path / "map"
    path.write_text("the old one")

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(atomic.os, "fsync", full)
    with pytest.raises(InputError, match="map: cannot be written: No space left on device"):
        writers(cloud)[kind](path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["map"]
    assert path.read_text() == "the old one"


def test_an_interrupt_leaves_nothing_unfinished(cloud, tmp_path, monkeypatch):
    def interrupted(descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr(atomic.os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        writers(cloud)["ply"](tmp_path / "map.ply")
    assert not list(tmp_path.iterdir())


def test_the_old_file_is_replaced_as_a_whole(cloud, tmp_path):
    path = tmp_path / "map.ply"
    path.write_text("the old one, which somebody still reads")
    with path.open() as reader:
        writers(cloud)["ply"](path)
        assert reader.read() == "the old one, which somebody still reads"
    assert len(read_ply(path)) == COUNT


def test_files_have_the_rights_that_the_user_gives_new_files(cloud, tmp_path):
    before = os.umask(0o027)
    try:
        writers(cloud)["ply"](tmp_path / "map.ply")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "map.ply").stat().st_mode) == 0o640


def test_what_does_not_fit_together_is_refused_before_anything_is_written(cloud, tmp_path):
    points, colors, confidence = cloud
    broken = poses(2)
    broken[1, 0, 3] = np.nan
    path = tmp_path / "file"
    for write, reason in (
        (lambda: write_ply(path, points, colors[:1]), "points (N, 3) with colours (N, 3) uint8"),
        (lambda: write_ply(path, points, colors / 255), "float64"),
        (lambda: write_ply(path, points[:, :2], colors), "(50, 2)"),
        (lambda: write_pcd(path, points, colors, confidence[:1]), "50 points need as many confidences, got (1,)"),
        (lambda: write_tum(path, [1], poses(2)), "1 stamps need as many poses (4, 4), got (2, 4, 4)"),
        (lambda: write_tum(path, [1, 2], broken), "a pose is not finite"),
        (lambda: write_depth(path, np.ones((4, 4))), "(H, W) float32, got (4, 4) float64"),
        (lambda: write_depth(path, np.ones((4, 4, 3), np.float32)), "(H, W) float32, got (4, 4, 3) float32"),
    ):
        with pytest.raises(InputError) as error:
            write()
        assert str(error.value).startswith(f"{path}: ")
        assert reason in str(error.value)
    assert not path.exists()


def test_comments_are_ascii_as_other_programs_insist(tmp_path):
    plyfile = pytest.importorskip("plyfile", reason="reads PLY files; pip install plyfile")
    write_ply(tmp_path / "a.ply", np.zeros((2, 3), np.float32), np.zeros((2, 3), np.uint8), comment="Déjà View 部屋")
    assert plyfile.PlyData.read(tmp_path / "a.ply").comments == ["Deja View ??"]
