"""Rerun recordings, opened again: entities, times, shapes, and the truth beside what was found."""

from __future__ import annotations

import socket
import threading

import numpy as np
import pytest
import torch

pytest.importorskip("rerun", reason="the extra `rerun` is not installed; pip install '.[rerun]'")

from rerun.chunk import RrdReader
from rerun.components import Colormap

from dvlt_ros import reconstruct_bag
from dvlt_ros.demo import DEMO_SEQUENCE
from dvlt_ros.errors import ConfigError, InputError
from dvlt_ros.export.colors import CONFIDENCE_LEGEND, DEPTH_LEGEND
from dvlt_ros.export.rerun import LoggedView, RerunRecording, check_target
from dvlt_ros.mapping.data.frames import Reconstruction
from dvlt_ros.model import PixelMapping
from dvlt_ros.viewing import StreamRecording

STAMP_NS = 1_700_000_000_123_456_789


def read(path):
    """{entity: {column: values in the order of time}}; times are columns, too."""
    entities: dict[str, dict[str, list]] = {}
    for chunk in RrdReader(path).stream():
        columns = entities.setdefault(chunk.entity_path, {})
        batch = chunk.to_record_batch()
        for name in batch.schema.names:
            columns.setdefault(name, []).extend(batch.column(name).to_numpy(zero_copy_only=False))
    return {entity: columns for entity, columns in entities.items() if not entity.startswith("/__")}


def view(seed: int = 0, size: tuple[int, int] = (12, 16)) -> LoggedView:
    generator = np.random.default_rng(seed)
    depth = generator.uniform(1, 2, size).astype(np.float32)
    depth[0, 0] = np.nan
    pose = np.eye(4)
    pose[:3, 3] = seed, 0, 1
    intrinsics = np.array([[20.0, 0, 8], [0, 21, 6], [0, 0, 1]])
    rgb = generator.integers(0, 255, (*size, 3), dtype=np.uint8)
    return LoggedView(rgb, depth, 1 + depth, intrinsics, pose)


def reconstruction(number: int, map_id: int = 0) -> Reconstruction:
    seen = view(number)
    mapping = PixelMapping((12, 16), (12, 16), (1.0, 1.0), (0.0, 0.0))
    from dvlt_ros.mapping.data.frames import Picture

    return Reconstruction(
        STAMP_NS + number * 10**8, "cam", 0, map_id, Picture(seen.rgb, None), seen.depth,
        np.nan_to_num(1 + seen.depth, nan=1), seen.intrinsics, seen.world_from_cam, mapping,
    )  # fmt: skip


def test_a_camera_comes_back_with_its_time_pose_lens_and_maps(tmp_path):
    logged = view(3)
    with RerunRecording(tmp_path / "a.rrd", "metres") as recording:
        recording.begin_space("world", "optical")
        recording.set_stamp(STAMP_NS)
        recording.log_camera("world/camera", logged)
    found = read(tmp_path / "a.rrd")
    camera, depth = found["/world/camera"], found["/world/camera/depth"]
    assert camera["stamp"][0] == np.datetime64(STAMP_NS, "ns")
    np.testing.assert_allclose(camera["Transform3D:translation"][0][0], [3, 0, 1])
    matrix = np.asarray(camera["Pinhole:image_from_camera"][0][0]).reshape(3, 3).T  # columns first
    np.testing.assert_allclose(matrix, logged.intrinsics)
    np.testing.assert_allclose(camera["Pinhole:resolution"][0][0], [16, 12])
    shape = depth["DepthImage:format"][0][0]
    assert (shape["width"], shape["height"]) == (16, 12)
    values = np.asarray(depth["DepthImage:buffer"][0][0]).view(np.float32).reshape(12, 16)
    np.testing.assert_array_equal(values, np.nan_to_num(logged.depth))
    assert bytes(found["/world/camera/rgb"]["EncodedImage:blob"][0][0])[:2] == b"\xff\xd8"
    about = found["/about"]["TextDocument:text"][0][0]
    assert about.startswith("metres\n")
    assert f"depth: {DEPTH_LEGEND}" in about
    assert f"confidence: {CONFIDENCE_LEGEND}" in about
    assert depth["DepthImage:colormap"][0][0] == Colormap.Turbo.value
    near, far = depth["DepthImage:depth_range"][0][0]
    assert np.nanmin(logged.depth) < near < np.nanmedian(logged.depth) < far < np.nanmax(logged.depth)
    assert found["/world/camera/confidence"]["DepthImage:colormap"][0][0] == Colormap.Viridis.value


def test_a_picture_of_another_size_than_its_depth_is_refused(tmp_path):
    wide, small = view(size=(12, 20)), view()
    mixed = LoggedView(wide.rgb, small.depth, None, small.intrinsics, np.eye(4))
    with RerunRecording(tmp_path / "a.rrd", "") as recording, pytest.raises(InputError, match="camera: a picture"):
        recording.log_camera("world/camera", mixed)


def test_a_stream_has_every_frame_at_its_stamp_and_a_space_per_map(tmp_path):
    with StreamRecording(tmp_path / "stream.rrd", is_metric=False) as recording:
        for number in range(5):
            recording.add(reconstruction(number, map_id=number // 3))
    found = read(tmp_path / "stream.rrd")
    stamps = found["/map_0/camera"]["stamp"] + found["/map_1/camera"]["stamp"]
    assert stamps == [np.datetime64(STAMP_NS + n * 10**8, "ns") for n in range(5)]
    assert [len(found[f"/map_{i}/points"]["Points3D:positions"]) for i in range(2)] == [3, 2]
    assert [len(found[f"/map_{i}/path"]["LineStrips3D:strips"]) for i in range(2)] == [2, 1]
    step = np.stack(found["/map_0/path"]["LineStrips3D:strips"][0][0])
    np.testing.assert_allclose(step, [[0, 0, 1], [1, 0, 1]])
    assert "one unknown factor" in found["/about"]["TextDocument:text"][0][0]


def test_the_offline_tool_writes_one(tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for path in sorted(DEMO_SEQUENCE.glob("*.jpg"))[:5]:
        (photos / path.name).symlink_to(path)
    quick = ["--model-image-size", "56", "--budget-k-max", "2", "--keyframes-min-change", "0"]
    quick += ["--registration-max-residual", "0.9"]
    reconstruct_bag.main(
        [str(photos), "--output", str(tmp_path / "out"), "--device", "cpu", *quick, "--rrd",
         str(tmp_path / "room.rrd")]
    )  # fmt: skip
    found = read(tmp_path / "room.rrd")
    assert len(found["/map_0/camera"]["stamp"]) == 5
    shape = found["/map_0/camera/depth"]["DepthImage:format"][0][0]
    assert (shape["height"], shape["width"]) == (192, 256)
    merged = np.stack(found["/map_0/merged"]["Points3D:positions"][0])
    written = len((tmp_path / "out" / "map_0.ply").read_bytes().split(b"end_header\n", 1)[1]) // 19
    assert merged.shape == (written, 3)


def test_windows_lie_beside_their_truth(tmp_path):
    """A network that is right up to a similarity lies on the truth."""
    from dvlt_ros.alignment import Sim3
    from dvlt_ros.geometry import transform_points, unproject
    from dvlt_ros.training.evaluation.recorded import record_window
    from dvlt_ros.training.losses.normalize import to_first_camera
    from dvlt_ros.training.synthetic import load_benchmark

    views = next(iter(load_benchmark().batches(batch=1, device=torch.device("cpu"), count=1)))
    poses = to_first_camera(views.world_from_cam)
    points = transform_points(poses, unproject(views.depth, views.intrinsics))
    angle = torch.tensor(0.7)
    turn = torch.tensor([[angle.cos(), -angle.sin(), 0], [angle.sin(), angle.cos(), 0], [0, 0, 1]])
    other_from_truth = Sim3(torch.tensor(0.3), turn, torch.tensor([1.0, 2.0, 3.0]))

    class Found:
        depth, depth_confidence = 0.3 * views.depth, torch.ones_like(views.depth)

        def cameras(self):
            from dvlt_ros.types import Cameras

            return Cameras(other_from_truth.apply_to_poses(poses), views.intrinsics)

    Found.points = other_from_truth.apply(points)
    with RerunRecording(tmp_path / "w.rrd", "") as recording:
        record_window(recording, "window_0", views, Found())
    entities = read(tmp_path / "w.rrd")
    count = views.images.shape[1]
    assert entities["/window_0/found/0"]["view"] == [0]
    for index in range(count):
        found, truth = (entities[f"/window_0/{side}/{index}"] for side in ("found", "truth"))
        for column in ("Transform3D:translation", "Transform3D:mat3x3"):
            np.testing.assert_allclose(found[column][0][0], truth[column][0][0], atol=2e-4)
        assert f"/window_0/truth/{index}/confidence" not in entities
        assert f"/window_0/found/{index}/confidence" in entities


@pytest.mark.parametrize(
    "target", ["spawn", "map.rrd", "~/map.rrd", "localhost:9876", "rerun+http://10.0.0.2:9876/proxy"]
)
def test_targets(target):
    check_target(target)


@pytest.mark.parametrize("target", ["viewer", "map.rd", "host", "10.0.0.2:"])
def test_what_is_no_target_is_refused(target):
    with pytest.raises(ConfigError, match=r"'spawn', host:port of a viewer or a file\.rrd"):
        check_target(target)


def test_a_file_that_cannot_be_written_is_refused_by_name(tmp_path):
    with pytest.raises(InputError, match=r"no_folder/a\.rrd"):
        RerunRecording(tmp_path / "no_folder" / "a.rrd", "")


def test_without_rerun_the_command_that_installs_it_is_said(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "rerun", None)
    with pytest.raises(ConfigError, match=r"pip install 'rerun-sdk>=0\.41,<0\.42'"):
        RerunRecording(tmp_path / "a.rrd", "")


# Live, as the node does it


@pytest.fixture
def make_live_view():
    pytest.importorskip("rclpy", reason="ROS 2 is not here; `make venv` brings it, `make test` runs this")
    from dvlt_ros.ros.outputs.live_view import LiveView

    return LiveView


def test_what_is_shown_live_is_in_the_file(tmp_path, make_live_view):
    warnings: list[str] = []
    live = make_live_view(str(tmp_path / "live.rrd"), warnings.append)
    for number in range(4):
        live.show(reconstruction(number), is_metric=True)
    live.stop()
    found = read(tmp_path / "live.rrd")
    assert len(found["/map_0/camera"]["stamp"]) == 4
    assert found["/about"]["TextDocument:text"][0][0].startswith("Lengths are in metres.\n")
    assert not warnings


def test_a_disk_that_takes_its_time_ends_no_recording(tmp_path, make_live_view, monkeypatch):
    """A viewer that takes 5 s has gone away; a file that does has every frame all the same."""

    def flush(recording: StreamRecording, timeout_s: float) -> None:
        if timeout_s < 5:
            raise InputError("took 5 s")

    monkeypatch.setattr(StreamRecording, "flush", flush)
    warnings: list[str] = []
    live = make_live_view(str(tmp_path / "live.rrd"), warnings.append)
    for number in range(3):
        live.show(reconstruction(number), is_metric=True)
    live.stop()
    assert len(read(tmp_path / "live.rrd")["/map_0/camera"]["stamp"]) == 3
    assert not warnings


def test_a_viewer_that_is_not_there_is_one_warning_and_blocks_nobody(make_live_view, monkeypatch):
    for patience in ("FLUSH_TIMEOUT_S", "STOP_TIMEOUT_S"):
        monkeypatch.setattr(f"dvlt_ros.ros.outputs.live_view.{patience}", 0.2)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"  # bound, but nobody listens
        warned = threading.Event()
        warnings: list[str] = []

        def warn(text: str) -> None:
            warnings.append(text)
            warned.set()

        live = make_live_view(address, warn)
        for number in range(40):  # many more than are queued: the oldest are lost, the caller goes on
            live.show(reconstruction(number), is_metric=True)
        assert warned.wait(60)
        live.show(reconstruction(41), is_metric=True)
        live.stop()
    assert len(warnings) == 1
    assert address in warnings[0]
    assert "tried again" in warnings[0]
