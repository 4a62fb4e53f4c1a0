"""Each benchmark is written as it is downloaded; `prepare` makes of it what the loader reads, once and for all."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import benchmark_files as files
import numpy as np
import pytest

from dvlt_ros.errors import ConfigError, DataError
from dvlt_ros.training.data.benchmarks import BENCHMARKS
from dvlt_ros.training.data.readers.colmap import ColmapCamera
from dvlt_ros.training.prepare.check import check_sequence
from dvlt_ros.training.prepare.command import main, prepare
from dvlt_ros.training.prepare.eth3d import thin_prism_fisheye, undistort_depth
from dvlt_ros.training.prepare.jobs import Job
from dvlt_ros.training.prepare.projection import sparse_depth
from dvlt_ros.training.prepare.seven_scenes import COLOUR_FROM_DEPTH

for package in ("OpenEXR", "h5py", "trimesh", "embreex"):
    pytest.importorskip(package, reason=f"prepare needs {package}: pip install 'dvlt_ros[benchmarks]'")

FACTOR = 3  # of the scene's 80 x 60, so that depth of the nearest raw pixel is within 1 %
FISHEYE = np.array([0.06, -0.03, 0.01, -0.004])
RELIEF, CHESS, BOSTON = "relief", "chess/seq-03", "scene-0103"


def thin_prism(scene) -> tuple[tuple[float, ...], np.ndarray]:
    """Parameters of a raw camera that sees a little more than the pinhole one, and its rays (H, W, 3), z = 1."""
    intrinsics = files.scaled(scene.intrinsics, FACTOR)
    focal = (0.85 * intrinsics[0, 0], 0.85 * intrinsics[1, 1])
    parameters = (*focal, intrinsics[0, 2] + 3, intrinsics[1, 2] - 2)
    parameters += (-0.03, 0.01, 0.0005, -0.0004, 0.002, 0.0, 0.001, -0.0008)
    v, u = np.mgrid[: FACTOR * scene.size[0], : FACTOR * scene.size[1]] + 0.5
    pixels = np.stack([u, v], axis=-1)
    rays = (pixels - parameters[2:4]) / focal
    for _ in range(60):  # the inverse of the distortion, by the secant of a camera without one
        rays = rays - 0.7 * (thin_prism_fisheye(rays, parameters) - pixels) / focal
    assert np.abs(thin_prism_fisheye(rays, parameters) - pixels).max() < 1e-6
    return parameters, np.dstack([rays, np.ones(u.shape)])


def write_eth3d(source: Path, scene, poses: np.ndarray) -> Path:
    return files.write_raw_eth3d(source, scene, poses, FACTOR, *thin_prism(scene))


def write_sevenscenes(source: Path, scene, poses: np.ndarray) -> Path:
    return files.write_seven_scenes(source / CHESS, scene, poses, projected=False, depth_from=COLOUR_FROM_DEPTH)


def write_scannetpp(source: Path, scene, poses: np.ndarray) -> Path:
    return files.write_raw_scannetpp(source, scene, poses, FACTOR, FISHEYE)


RAW = {
    "eth3d": (write_eth3d, RELIEF),
    "sevenscenes": (write_sevenscenes, CHESS),
    "scannetpp": (write_scannetpp, files.SCANNETPP_ID),
    "nuscenes": (files.write_raw_nuscenes, BOSTON),
}


def check_views(scene, sequence, poses: np.ndarray) -> None:
    """Ground truth, lifted from each view and projected into each other one, is where the scene puts it."""
    frames = [sequence.frame(index) for index in range(len(sequence))]
    assert len(frames) == len(poses)
    for i, frame in enumerate(frames):
        rows, columns = (indices[::7] for indices in np.nonzero(frame.depth > 0))
        rays = scene.pixel_rays(frame.intrinsics, frame.depth.shape)[rows, columns]
        _, true_depth = scene.render(poses[i], rays[None])
        found, true = rays * frame.depth[rows, columns, None], rays * true_depth[0][:, None]
        for j, other in enumerate(frames):
            found_from = np.linalg.inv(other.world_from_cam) @ frame.world_from_cam
            true_from = np.linalg.inv(poses[j]) @ poses[i]
            distances = np.linalg.norm(
                _project(found, found_from, other.intrinsics) - _project(true, true_from, other.intrinsics), axis=-1
            )
            assert (distances < 0.5).mean() > 0.98, (i, j, np.percentile(distances, [50, 90, 98]))


def depth_shift(scene, frame, pose: np.ndarray) -> np.ndarray:
    """By how many pixels (2,) the depth lies right of and below where the scene puts it, by its gradients."""
    rows, columns = (indices[::5] for indices in np.nonzero(frame.depth > 0))
    rays = scene.pixel_rays(frame.intrinsics, frame.depth.shape)[rows, columns]
    steps = np.diag([1 / frame.intrinsics[0, 0], 1 / frame.intrinsics[1, 1], 0.0])[:2]
    _, true = scene.render(pose, rays[None].astype(np.float64))
    gradients = [scene.render(pose, (rays + step)[None])[1][0] - true[0] for step in steps]
    difference = frame.depth[rows, columns] - true[0]
    on_a_wall = np.abs(difference) < 0.03 * true[0]  # edges bend the gradient
    return -np.linalg.lstsq(np.stack(gradients, axis=-1)[on_a_wall], difference[on_a_wall], rcond=None)[0]


def _project(points: np.ndarray, other_from_cam: np.ndarray, intrinsics: np.ndarray) -> np.ndarray:
    seen = points @ other_from_cam[:3, :3].T + other_from_cam[:3, 3]
    return (seen / seen[:, 2:] @ intrinsics.T)[:, :2]


def run(dataset: str, tmp_path: Path, scene, poses: np.ndarray, **options):
    write, name = RAW[dataset]
    if not (tmp_path / "raw").exists():
        (tmp_path / "raw").mkdir()
        write(tmp_path / "raw", scene, poses)
    outcome = prepare(dataset, tmp_path / "data", tmp_path / "raw", names=[name], **options)[name]
    return outcome, name


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
    assert error.startswith("prepare: ")
    assert message in error
    assert "Traceback" not in error


def test_without_its_packages_prepare_names_the_command(tmp_path, box_scene, monkeypatch):
    files.write_raw_nuscenes(tmp_path / "raw", box_scene, box_scene.poses(1))
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ConfigError, match=r"h5py: pip install 'dvlt_ros\[benchmarks\]'"):
        run("nuscenes", tmp_path, box_scene, box_scene.poses(1))
