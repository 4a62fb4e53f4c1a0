"""Each benchmark is written as it is published, read back, and shows the scene; what is wrong is named."""

from __future__ import annotations

import logging
import pickle
from dataclasses import dataclass, replace
from pathlib import Path

import benchmark_files as files
import cv2
import numpy as np
import pytest

from dvlt_ros.errors import DataError
from dvlt_ros.training.data.benchmark_sequence import evenly
from dvlt_ros.training.data.benchmarks import BENCHMARKS
from dvlt_ros.training.data.readers.dtu import middle_first

pytest.importorskip("OpenEXR", reason="ETH3D's depth needs OpenEXR: pip install 'dvlt_ros[benchmarks]'")
h5py = pytest.importorskip("h5py", reason="nuScenes needs h5py: pip install 'dvlt_ros[benchmarks]'")

CHESS = "chess/seq-03"


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


def write_sevenscenes(root: Path, scene, poses: np.ndarray, unit_m: float = 1e-3) -> Path:
    return files.write_seven_scenes(root / "sevenscenes" / CHESS, scene, poses, projected=True, unit_m=unit_m)


WRITERS = {
    "dtu": (files.write_dtu, "scan1"),
    "eth3d": (files.write_eth3d, "relief"),
    "sevenscenes": (write_sevenscenes, CHESS),
    "scannetpp": (files.write_scannetpp, files.SCANNETPP_ID),
    "nuscenes": (files.write_nuscenes, "scene-0103"),
}


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
