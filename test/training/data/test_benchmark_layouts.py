"""Each benchmark is written as it is published, read back, and shows the scene; what is wrong is named."""

from __future__ import annotations

import logging
import pickle
from dataclasses import dataclass, replace
from pathlib import Path

import benchmark_files as files
import numpy as np
import pytest
from benchmark_writers import CHESS, WRITERS, write_sevenscenes

from dvlt_ros.errors import DataError
from dvlt_ros.training.data.benchmark_sequence import evenly
from dvlt_ros.training.data.benchmarks import BENCHMARKS
from dvlt_ros.training.data.readers.dtu import middle_first

pytest.importorskip("OpenEXR", reason="ETH3D's depth needs OpenEXR: pip install '.[benchmarks]'")


h5py = pytest.importorskip("h5py", reason="nuScenes needs h5py: pip install '.[benchmarks]'")


@dataclass(frozen=True, eq=False)
class InMetres:
    """A sequence in another unit, for the scene's own check."""

    sequence: object
    metres_per_unit: float

    def __len__(self) -> int:
        return len(self.sequence)

    @property
    def world_from_cam(self) -> np.ndarray:
        return np.stack([self._pose(pose) for pose in self.sequence.world_from_cam])

    def frame(self, index: int):
        frame = self.sequence.frame(index)
        depth = frame.depth * np.float32(self.metres_per_unit)
        return replace(frame, depth=depth, world_from_cam=self._pose(frame.world_from_cam))

    def _pose(self, pose: np.ndarray) -> np.ndarray:
        pose = pose.copy()
        pose[:3, 3] *= self.metres_per_unit
        return pose


@pytest.mark.parametrize("dataset", WRITERS)
def test_the_views_show_the_scene(tmp_path, box_scene, dataset):
    write, name = WRITERS[dataset]
    poses = box_scene.poses(2 if dataset == "sevenscenes" else 3)
    write(tmp_path, box_scene, poses)
    benchmark = BENCHMARKS[dataset]
    assert name in benchmark.sequences(tmp_path)
    sequence = pickle.loads(pickle.dumps(benchmark.open(tmp_path, name)))  # as loader workers get it
    assert sequence.name == name
    ordered = poses[[1, 0, 2]] if dataset == "dtu" else poses
    box_scene.check(InMetres(sequence, sequence.metres_per_unit), ordered)


def test_only_dtu_is_in_millimetres(tmp_path, box_scene):
    poses = box_scene.poses(2)
    for write, _ in WRITERS.values():
        write(tmp_path, box_scene, poses)
    opened = {dataset: BENCHMARKS[dataset].open(tmp_path, name) for dataset, (_, name) in WRITERS.items()}
    medians = {dataset: np.median(sequence.frame(0).depth) for dataset, sequence in opened.items()}
    assert medians.pop("dtu") > 1000
    assert all(0.5 < median < 5 for median in medians.values())


@pytest.mark.parametrize("dataset", ["dtu", "eth3d", "sevenscenes", "scannetpp"])
def test_the_world_is_the_files_own(tmp_path, box_scene, dataset):
    write, name = WRITERS[dataset]
    poses = box_scene.poses(2 if dataset == "sevenscenes" else 3)
    write(tmp_path, box_scene, poses)
    sequence = BENCHMARKS[dataset].open(tmp_path, name)
    found = InMetres(sequence, sequence.metres_per_unit).world_from_cam
    np.testing.assert_allclose(found, poses[[1, 0, 2]] if dataset == "dtu" else poses, atol=1e-6)


def test_nuscenes_starts_at_its_first_camera(tmp_path, box_scene):
    files.write_nuscenes(tmp_path, box_scene, box_scene.poses(3))
    sequence = BENCHMARKS["nuscenes"].open(tmp_path, "scene-0103")
    np.testing.assert_allclose(sequence.world_from_cam[0], np.eye(4), atol=1e-9)
    assert sequence.frame(0).depth[0, 0] == 0  # beyond 100 m


def test_seven_scenes_believes_a_tenth_of_a_metre_to_ten(tmp_path, box_scene):
    write_sevenscenes(tmp_path, box_scene, box_scene.poses(2))
    sequence = BENCHMARKS["sevenscenes"].open(tmp_path, CHESS)
    frame = sequence.frame(1)
    assert len(sequence) == 2  # of 14: every 11th
    assert (frame.depth[0, :4] == 0).all()
    assert frame.depth[0, 4] > 0
    np.testing.assert_array_equal(frame.intrinsics, [[525, 0, 320], [0, 525, 240], [0, 0, 1]])


def test_dtu_masks_are_eroded(tmp_path, box_scene):
    folder = files.write_dtu(tmp_path, box_scene, box_scene.poses(1))
    mask = np.zeros((120, 160), np.uint8)  # twice the size of the depth
    mask[:, 80:] = 255
    files.write_grey(folder / "binary_masks" / "00000000.png", mask)
    valid = BENCHMARKS["dtu"].open(tmp_path, "scan1").frame(0).depth > 0
    first_column = np.flatnonzero(valid.all(axis=0))[0]
    assert first_column == 45  # half of a window of 10 beyond column 40
    assert not valid[:, :45].any()
    assert valid[:, 45:].all()  # the image's own rim is not eroded


def test_the_middle_view_comes_first():
    assert middle_first(["a", "b", "c", "d"]) == ["c", "a", "b", "d"]
    assert middle_first(["a"]) == ["a"]


@pytest.mark.parametrize(("count", "limit"), [(3, 100), (100, 100), (101, 100), (250, 100), (1, 50)])
def test_views_are_spread_evenly(count, limit):
    chosen = evenly(count, limit)
    assert chosen == [int(np.floor(i * count / len(chosen))) for i in range(len(chosen))]
    assert len(chosen) == min(count, limit)
    assert len(set(chosen)) == len(chosen)


def test_the_fixed_lists():
    listed = {name: BENCHMARKS[name].list_sequences(Path("nowhere")) for name in ("eth3d", "sevenscenes", "nuscenes")}
    assert {name: len(names) for name, names in listed.items()} == {"eth3d": 13, "sevenscenes": 18, "nuscenes": 50}
    assert all(len(set(names)) == len(names) for names in listed.values())
    assert listed["nuscenes"][0] == "scene-0013"
    assert "redkitchen/seq-14" in listed["sevenscenes"]


def test_a_frame_is_read_when_it_is_asked_for(tmp_path, box_scene):
    """Opening must not read images: a sequence of 40 large views has to fit."""
    folder = files.write_dtu(tmp_path, box_scene, box_scene.poses(3))
    sequence = BENCHMARKS["dtu"].open(tmp_path, "scan1")
    (folder / "depths" / "00000000.npy").write_bytes(b"broken since")
    assert (sequence.frame(0).depth > 0).any()
    with pytest.raises(DataError, match=r"00000000\.npy: unreadable depth"):
        sequence.frame(1)


HIDDEN = {
    "00000001.npy": ("dtu", "depths"),
    "frame-000005.color.png": ("sevenscenes", ""),
    "frame-000013.color.png": ("sevenscenes", ""),  # the last one: its other files tell
}


@pytest.mark.parametrize("hidden", HIDDEN)
def test_a_hidden_frame_is_an_error(tmp_path, box_scene, hidden):
    dataset, folder = HIDDEN[hidden]
    write, name = WRITERS[dataset]
    (write(tmp_path, box_scene, box_scene.poses(2)) / folder / hidden).unlink()
    with pytest.raises(DataError, match=f"{hidden}: missing"):
        BENCHMARKS[dataset].open(tmp_path, name)


def test_nuscenes_with_a_hidden_frame(tmp_path, box_scene):
    path = files.write_nuscenes(tmp_path, box_scene, box_scene.poses(3))
    with h5py.File(path, "a") as file:
        del file["images/1"]
    with pytest.raises(DataError, match=r"scene\.h5: 2 images but 3 depths"):
        BENCHMARKS["nuscenes"].open(tmp_path, "scene-0103")


@pytest.mark.parametrize(
    ("dataset", "hidden"),
    [
        ("eth3d", "ground_truth_depth/dslr_images_undistorted/DSC_0001.exr"),
        ("eth3d", "images/dslr_images_undistorted/DSC_0001.JPG"),
        ("scannetpp", "undistorted_depth/DSC00001.png"),
        ("scannetpp", "undistorted_images/DSC00001.JPG"),
    ],
)
def test_eth3d_and_scannetpp_skip_views_without_files(tmp_path, box_scene, caplog, dataset, hidden):
    write, name = WRITERS[dataset]
    poses = box_scene.poses(3)
    (write(tmp_path, box_scene, poses) / hidden).unlink()
    with caplog.at_level(logging.WARNING):
        sequence = BENCHMARKS[dataset].open(tmp_path, name)
    box_scene.check(sequence, poses[[0, 2]])
    assert sequence.left_out == 1
    assert "1 of 3" in caplog.text
