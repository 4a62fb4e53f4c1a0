"""The offline door maps like the node: metres from the recording's odometry, loops, and files that say which."""

from __future__ import annotations

import re
from collections import Counter, defaultdict

import cv2
import numpy as np
import pytest

pytest.importorskip("rosbags", reason="bags are read and written with rosbags; `make venv` brings it")

from driven_bag import (
    BASE_FROM_CAM,
    LAP,
    ReturningPredictor,
    images,
    laps,
    mount,
    odom_from_cam,
    odometry,
    odometry_in_tf,
    transform,
    write_bag,
)
from room import FRAME_NS, room_depth
from rosbags.highlevel import AnyReader

from dvlt_ros import reconstruct_bag
from dvlt_ros.export import write_tum
from dvlt_ros.sources.poses import pose_from_quaternion

COUNT = 45
EXACT = ["--device", "cpu", "--model-image-size", "28", "--confidence-cut-share", "0", "--keyframes-min-change", "0"]
EXACT += ["--full-resolution", "--recording"]
PLACES = ["--window-size", "4", "--window-overlap", "2", "--loops-min-age-s", "1", "--loops-check-every", "1"]
PLACES += ["--loops-place-distance", "0.05", "--loops-mode", "always"]


@pytest.fixture
def reconstruct(monkeypatch, capsys, tmp_path):
    """Runs the command with a network that knows the poses; gives the output folder and what was said."""

    def run(source, *options, poses, output="out", bend=0.0):
        monkeypatch.setattr(reconstruct_bag, "load_predictor", lambda *_: ReturningPredictor(poses, bend=bend))
        monkeypatch.setattr("dvlt_ros.offline.results.write_page", lambda *_: None)  # it takes longer than the rest
        reconstruct_bag.main([str(source), "--output", str(tmp_path / output), *EXACT, *options])
        return tmp_path / output, capsys.readouterr().out

    return run


def trajectory(path):
    """Poses (4, 4) by stamp in ns."""
    rows = [line.split() for line in path.read_text().splitlines() if not line.startswith("#")]
    found = {}
    for stamp, *values in rows:
        seconds, nanoseconds = stamp.split(".")
        x = list(map(float, values))
        found[int(seconds) * 10**9 + int(nanoseconds)] = pose_from_quaternion(x[:3], x[3:])
    return found


def depth_of(folder, stamp_ns):
    path = folder / f"{stamp_ns // 10**9}.{stamp_ns % 10**9:09d}.tiff"
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


def messages(folder):
    """Those of a recording by topic, in the order of time."""
    found = defaultdict(list)
    with AnyReader([folder / "recording"]) as reader:
        for connection, _, data in reader.messages():
            found[connection.topic].append(reader.deserialize(data, connection.msgtype))
    return found


def stamp_of(header):
    return header.stamp.sec * 10**9 + header.stamp.nanosec


def assert_true(output, poses):
    """Every frame, those before the scale was known too, within 2 %."""
    found = trajectory(output / "trajectory_0.txt")
    assert found.keys() == poses.keys()
    for stamp_ns, world_from_cam in poses.items():
        np.testing.assert_allclose(found[stamp_ns], odom_from_cam(world_from_cam), atol=0.02)
        np.testing.assert_allclose(depth_of(output / "depth", stamp_ns), room_depth(world_from_cam), rtol=0.02)


def test_with_odometry_every_length_is_in_metres_and_the_frames_are_those_of_rep_105(reconstruct, tmp_path):
    poses = laps(COUNT)
    bag = write_bag(tmp_path / "bag", mount(), *odometry(poses), *images(poses))
    output, said = reconstruct(bag, "--loops-mode", "never", poses=poses)
    assert_true(output, poses)
    assert "lengths in metres by /odom, residual 0.0" in said
    assert f"{COUNT} frames in" in said
    assert "comment lengths in metres" in (output / "map_0.ply").read_bytes()[:100].decode()
    assert not list(output.glob("unscaled*"))
    recorded = messages(output)
    counts = {topic: len(found) for topic, found in recorded.items()}
    per_frame = ["depth/image", "depth/camera_info", "rgb/image_rect", "confidence/image", "points", "pose", "tf"]
    assert counts == {f"/{topic}": COUNT for topic in per_frame} | {"/map_points": 1, "/path": 1}
    found = trajectory(output / "trajectory_0.txt")
    for message in recorded["/tf"]:
        edges = [(edge.header.frame_id, edge.child_frame_id) for edge in message.transforms]
        assert edges == [("map", "odom"), ("odom", "base_link"), ("base_link", "cam")]
        map_from_cam = np.eye(4)
        for edge in message.transforms:
            map_from_cam = map_from_cam @ matrix(edge.transform.translation, edge.transform.rotation)
        np.testing.assert_allclose(map_from_cam, found[stamp_of(message.transforms[0].header)], atol=1e-6)
        np.testing.assert_allclose(matrix_of(message.transforms[0]), np.eye(4), atol=0.02)
        np.testing.assert_allclose(matrix_of(message.transforms[2]), BASE_FROM_CAM, atol=1e-9)
    for message in recorded["/depth/image"]:
        depth = message.data.view(np.float32).reshape(message.height, message.width)
        np.testing.assert_array_equal(depth, depth_of(output / "depth", stamp_of(message.header)))


def matrix(position, orientation):
    return pose_from_quaternion([getattr(position, a) for a in "xyz"], [getattr(orientation, a) for a in "xyzw"])


def matrix_of(edge):
    return matrix(edge.transform.translation, edge.transform.rotation)


def test_odometry_in_tf_does_too_and_the_same_comes_out_twice(reconstruct, tmp_path):
    poses = laps(COUNT)
    bag = write_bag(tmp_path / "bag", mount(), *odometry_in_tf(poses), *images(poses))
    output, said = reconstruct(bag, "--loops-mode", "never", poses=poses)
    assert_true(output, poses)
    assert "lengths in metres by TF" in said
    again, _ = reconstruct(bag, "--loops-mode", "never", "--odom", "tf", poses=poses, output="again")
    files = [
        path.relative_to(output) for path in output.rglob("*") if path.suffix in (".ply", ".txt", ".tiff", ".mcap")
    ]
    assert len(files) == COUNT + 4  # map, mesh, trajectory and recording
    for path in files:
        assert (again / path).read_bytes() == (output / path).read_bytes(), path


def test_a_tum_file_beside_a_folder_is_odometry_of_the_camera_from_the_time_0_on(reconstruct, tmp_path):
    poses = {stamp_ns - FRAME_NS: pose for stamp_ns, pose in laps(COUNT).items()}
    (tmp_path / "photos").mkdir()
    for stamp_ns, (_, image) in zip(poses, images(poses), strict=True):
        pixels = image.data.reshape(image.height, image.width, 3)
        cv2.imwrite(str(tmp_path / "photos" / f"{stamp_ns // 10**9:06d}.{stamp_ns % 10**9:09d}.png"), pixels)
    write_tum(tmp_path / "poses.txt", [*poses], np.stack([*map(odom_from_cam, poses.values())]))
    output, said = reconstruct(
        tmp_path / "photos", "--odom", str(tmp_path / "poses.txt"), "--loops-mode", "never", poses=poses
    )
    assert_true(output, poses)
    assert f"lengths in metres by {tmp_path / 'poses.txt'}" in said
    assert "left out" not in said
    assert min(poses) == 0


def test_wheels_that_stand_still_give_no_metres_and_nothing_is_called_so(reconstruct, tmp_path):
    poses = laps(COUNT)
    still = odometry(poses, change=lambda *_: np.eye(4))
    bag = write_bag(tmp_path / "bag", mount(), *still, *images(poses))
    output, said = reconstruct(bag, poses=poses)
    assert "NOT IN METRES: with /odom the scale was never certain" in said
    assert not list(output.glob("map_*"))
    assert not list(output.glob("depth/*"))
    assert len(trajectory(output / "unscaled_trajectory_0.txt")) == COUNT
    assert len(list(output.glob("unscaled_depth/*.tiff"))) == COUNT
    assert "up to one unknown factor" in (output / "unscaled_map_0.ply").read_bytes()[:100].decode()
    assert not messages(output).keys() & {"/depth/image", "/points", "/pose", "/tf", "/map_points", "/path"}
    assert len(messages(output)["/rgb/image_rect"]) == COUNT
    true, _ = reconstruct(
        write_bag(tmp_path / "moving", mount(), *odometry(poses), *images(poses)), "--loops-mode", "never", poses=poses
    )
    assert_true(true, poses)  # in the same folder, of which nothing unscaled is left
    assert not list(true.glob("unscaled*"))


def test_wheels_that_jump_or_say_nonsense_leave_the_map_where_it_is(reconstruct, tmp_path):
    poses = laps(COUNT)

    def change(number, odom_from_base):
        if number == 10:
            return np.full((4, 4), np.nan)
        return odom_from_base + (number >= 35) * 5.0 * np.eye(4, k=3)  # along x

    bag = write_bag(tmp_path / "bag", mount(), *odometry(poses, change), *images(poses))
    output, said = reconstruct(bag, "--loops-mode", "never", poses=poses)
    assert_true(output, poses)
    assert f"/odom: 1 of {COUNT} poses are left out" in said
    assert "/odom starts anew at 3.500 s: odometry jumped by 4.86 m" in said


def test_a_map_that_ends_before_its_scale_is_known_is_kept_apart(reconstruct, tmp_path):
    poses = laps(150)
    seen = [stamp_ns for stamp_ns in poses if not 6 * FRAME_NS < stamp_ns <= 100 * FRAME_NS]
    bag = write_bag(tmp_path / "bag", mount(), *odometry(poses), *images(seen))
    output, said = reconstruct(bag, "--loops-mode", "never", poses=poses)
    assert_true(output, {stamp_ns: poses[stamp_ns] for stamp_ns in seen[6:]})
    assert "but for 6 frames in unscaled_*, lengths up to one unknown factor" in said
    assert list(trajectory(output / "unscaled_trajectory_0.txt")) == seen[:6]
    assert len(list(output.glob("unscaled_depth/*.tiff"))) == 6
    assert len(messages(output)["/depth/image"]) == len(seen) - 6


def test_every_map_is_written_though_the_builder_keeps_ten(reconstruct, tmp_path):
    poses = laps(100 * 13 - 1)
    seen = [stamp_ns for stamp_ns in poses if (stamp_ns // FRAME_NS) % 100 < 3]
    output, said = reconstruct(write_bag(tmp_path / "bag", *images(seen)), "--loops-mode", "never", poses=poses)
    assert "maps: 13, lengths up to one unknown factor each" in said
    assert sorted(seen) == sorted(stamp for path in output.glob("trajectory_*.txt") for stamp in trajectory(path))
    assert len(list(output.glob("map_*.ply"))) == 13
    assert len(messages(output)["/path"]) == 13


def test_what_auto_cannot_use_is_said_and_what_is_asked_for_must_be_there(reconstruct, tmp_path, capsys):
    poses = laps(10)
    two = [mount(), *odometry(poses), *odometry(poses, topic="/odometry/filtered"), *images(poses)]
    several, unmounted = (
        write_bag(tmp_path / "two", *two),
        write_bag(tmp_path / "bag", *odometry(poses), *images(poses)),
    )
    for bag, reason in ((several, "several topics could be odometry"), (unmounted, "'odom' is not above 'cam'")):
        output, said = reconstruct(bag, poses=poses)
        assert "no odometry, so no metres" in said
        assert reason in said
        assert "lengths up to one unknown factor each" in said
        assert len(trajectory(output / "trajectory_0.txt")) == 10
    _, said = reconstruct(several, "--odom", "/odom", poses=poses)
    assert "with /odom the scale was never certain" in said  # ten frames are too few
    for bag, asked, reason in (
        (unmounted, "/odom", "/odom does not lead to the camera"),
        (several, "/wheels", "no messages on /wheels"),
        (several, "tf", "TF does not lead to the camera: frame 'odom' is not above 'cam'"),
    ):
        with pytest.raises(SystemExit, match=re.escape(reason)):
            reconstruct(bag, "--odom", asked, poses=poses)


def test_odometry_that_stands_still_in_tf_is_none(reconstruct, tmp_path):
    poses = laps(10)
    fixed = transform("/tf_static", "odom", "base_link", FRAME_NS, np.eye(4))
    with pytest.raises(SystemExit, match="does not move: no odometry"):
        reconstruct(write_bag(tmp_path / "bag", mount(), fixed, *images(poses)), "--odom", "tf", poses=poses)


# Loops


def test_loops_move_everything_that_was_written_before(reconstruct, tmp_path):
    pytest.importorskip("gtsam", reason="GTSAM is not here; `pip install '.[loops]'` runs this")
    poses = laps(2 * LAP)
    bag = write_bag(tmp_path / "bag", *images(poses))
    options = {"poses": poses, "bend": np.radians(0.3)}
    straight, said = reconstruct(bag, *PLACES, "--loops-mode", "never", **options, output="never")
    assert "no loops closed (loops.mode: never)" in said
    closed, said = reconstruct(bag, *PLACES, **options, output="always")
    assert int(re.search(r"loops: (\d+) closed, residual", said)[1]) > 0
    assert apart(closed) < 0.3 * apart(straight)
    again, _ = reconstruct(bag, *PLACES, **options, output="again")
    for name in ("map_0.ply", "trajectory_0.txt"):
        assert (again / name).read_bytes() == (closed / name).read_bytes()
    recorded, found = messages(closed), trajectory(closed / "trajectory_0.txt")
    assert Counter(map(len, recorded.values()))[2 * LAP] == 7
    for message in recorded["/pose"]:
        pose = matrix(message.pose.pose.position, message.pose.pose.orientation)
        np.testing.assert_allclose(pose, found[stamp_of(message.header)], atol=1e-6)
    for message in (*recorded["/depth/image"][:5], *recorded["/depth/image"][-5:]):
        depth = message.data.view(np.float32).reshape(message.height, message.width)
        np.testing.assert_array_equal(depth, depth_of(closed / "depth", stamp_of(message.header)))


def apart(output):
    """How far the two submaps of the lap are from each other, on average."""
    found = trajectory(output / "trajectory_0.txt")
    pairs = [(found[n * FRAME_NS], found[(n + LAP) * FRAME_NS]) for n in range(1, LAP)]
    return np.mean([np.linalg.norm(first[:3, 3] - second[:3, 3]) for first, second in pairs])


def test_with_wheels_that_drift_a_loop_brings_the_lap_together_in_metres(reconstruct, tmp_path):
    pytest.importorskip("gtsam", reason="GTSAM is not here; `pip install '.[loops]'` runs this")
    poses = laps(2 * LAP)

    def drifting(number, odom_from_base):
        drifted = odom_from_base.copy()
        drifted[:3, 3] += number * np.array([0.004, 0.002, 0.0])
        return drifted

    bag = write_bag(tmp_path / "bag", mount(), *odometry(poses, drifting), *images(poses))
    apart_m = {}
    for loops in ("never", "always"):
        output, said = reconstruct(bag, *PLACES, "--loops-mode", loops, poses=poses, bend=np.radians(0.3), output=loops)
        apart_m[loops] = apart(output)
        assert "lengths in metres by /odom" in said
    assert "a loop is closed" in said
    assert apart_m["always"] < min(0.8 * apart_m["never"], 0.1)
    stamp_ns = 5 * FRAME_NS
    np.testing.assert_allclose(depth_of(output / "depth", stamp_ns), room_depth(poses[stamp_ns]), rtol=0.05)
