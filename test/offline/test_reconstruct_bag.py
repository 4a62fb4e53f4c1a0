"""The offline door: every frame comes out, the same each time, in files that others read."""

from __future__ import annotations

import shutil

import cv2
import numpy as np
import pytest

pytest.importorskip("rosbags", reason="bags are read and written with rosbags; `make venv` brings it")

import bags
from rosbags.highlevel import AnyReader

from dvlt_ros import reconstruct_bag
from dvlt_ros.demo import DEMO_SEQUENCE

QUICK = [
    "--model-image-size",
    "56",
    "--budget-k-max",
    "2",
    "--device",
    "cpu",
    "--keyframes-min-change",
    "0",
    "--registration-max-residual",
    "0.9",
]
COUNT = 12


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for path in sorted(DEMO_SEQUENCE.glob("*.jpg"))[:COUNT]:
        shutil.copy(path, folder)
    shutil.copy(DEMO_SEQUENCE / "camera_info.yaml", folder)
    return folder


@pytest.fixture(scope="module")
def output(photos, tmp_path_factory):
    folder = tmp_path_factory.mktemp("out")
    reconstruct_bag.main([str(photos), "--output", str(folder), *QUICK, "--recording"])
    return folder


def test_every_frame_is_there(output):
    assert len(np.loadtxt(output / "trajectory_0.txt")) == COUNT
    depths = sorted((output / "depth").iterdir())
    assert len(depths) == COUNT
    depth = cv2.imread(str(depths[-1]), cv2.IMREAD_UNCHANGED)
    assert depth.shape == (42, 56)  # as the network sees it
    assert depth.dtype == np.float32
    assert np.isnan(depth).mean() < 0.1  # the embedded checkpoint says that nothing is better left out
    assert (output / "page_0.png").stat().st_size > 50_000
    assert (output / "map_0.ply").read_bytes().startswith(b"ply\n")


def test_the_recording_has_the_nodes_topics_with_the_frames_stamps(output):
    with AnyReader([output / "recording"]) as reader:
        counts = {connection.topic: connection.msgcount for connection in reader.connections}
        per_frame = dict.fromkeys(reconstruct_bag_topics(), COUNT)
        assert counts == per_frame | {"/map_points": 1, "/path": 1}
        clouds = [reader.deserialize(data, c.msgtype) for c, _, data in reader.messages() if c.topic == "/points"]
    stamps = [cloud.header.stamp.sec * 10**9 + cloud.header.stamp.nanosec for cloud in clouds]
    trajectory = np.loadtxt(output / "trajectory_0.txt")
    assert trajectory[0, 0] == 0
    assert stamps[0] == 1  # a message's 0 is a stamp that was never set
    np.testing.assert_allclose(np.array(stamps[1:]) * 1e-9, trajectory[1:, 0])
    xyz = np.frombuffer(clouds[0].data, np.float32).reshape(-1, 5)[:, :3]
    assert np.isfinite(xyz).all()


def reconstruct_bag_topics():
    names = "depth/image depth/camera_info rgb/image_rect confidence/image points pose tf"
    return [f"/{name}" for name in names.split()]


@pytest.mark.usefixtures("quick_page")
def test_it_comes_out_the_same_each_time(photos, output, tmp_path):
    reconstruct_bag.main([str(photos), "--output", str(tmp_path), *QUICK])
    for name in ("map_0.ply", "trajectory_0.txt"):
        assert (tmp_path / name).read_bytes() == (output / name).read_bytes()
    assert not (tmp_path / "recording").exists()


@pytest.mark.usefixtures("quick_page")
def test_what_an_earlier_run_has_left_is_removed_and_nothing_else(photos, tmp_path):
    folder = tmp_path / "unscaled_depth"  # an unlucky name
    own = ["depth/77.000000000.tiff", "unscaled_depth/2.000000000.tiff", "map_7.ply", "unscaled_page_7.png"]
    own += ["recording/recording.mcap", "recording/metadata.yaml", ".recording.unfinished/recording.mcap"]
    others = ["3.000000000.tiff", "notes.txt", "depth/near.tiff", "unscaled_depth/notes.txt", "my_map_7.ply"]
    for name in (*own, *others):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("mine")
    reconstruct_bag.main([str(photos), "--output", str(folder), *QUICK])
    assert not [name for name in own if (folder / name).exists()]
    assert not list(folder.glob("*recording*"))
    assert [(folder / name).read_text() for name in others] == ["mine"] * len(others)
    assert len(list((folder / "depth").iterdir())) == COUNT + 1


def test_a_recording_of_somebody_else_is_not_replaced(photos, tmp_path):
    (tmp_path / "recording").mkdir()
    for name in ("recording_0.mcap", "metadata.yaml"):
        (tmp_path / "recording" / name).write_text("mine")
    with pytest.raises(SystemExit, match="recording: cannot be written"):
        reconstruct_bag.main([str(photos), "--output", str(tmp_path), *QUICK, "--recording"])
    assert (tmp_path / "recording" / "metadata.yaml").read_text() == "mine"


@pytest.mark.usefixtures("quick_page")
def test_a_bag_goes_in_too(output, tmp_path, capsys):
    arguments = [str(output / "recording"), "--topic", "/rgb/image_rect", "--output", str(tmp_path)]
    reconstruct_bag.main([*arguments, *QUICK])
    assert len(np.loadtxt(tmp_path / "trajectory_0.txt")) == COUNT
    assert f"{COUNT} frames in" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="recording: it would be replaced; choose another --output"):
        reconstruct_bag.main([str(output / "recording"), "--output", str(output)])


@pytest.mark.usefixtures("quick_page")
def test_a_camera_info_that_cannot_be_used_is_said(tmp_path, capsys):
    records = [("/camera/camera_info", bags.camera_info(1, size=(7, 7)))]
    for number, path in enumerate(sorted(DEMO_SEQUENCE.glob("*.jpg"))[:2], start=1):
        pixels = cv2.resize(cv2.imread(str(path)), (64, 48))
        records.append(("/camera/image_raw", bags.image(number * 10**8, pixels, "bgr8")))
    bag = bags.write(tmp_path / "bag", records)
    reconstruct_bag.main([str(bag), "--output", str(tmp_path / "out"), *QUICK])
    assert "without camera_info: /camera/camera_info: it is 64 x 48, the camera" in capsys.readouterr().out


def test_old_names_of_options_are_taken_with_a_warning(photos, capsys):
    words = [
        "--image-size=56",
        "--k-max",
        "2",
        "--loops",
        "never",
        "--model",
        "dvlt",
        "--window-size",
        "4",
        "--no-recording",
    ]
    args = reconstruct_bag.parse([str(photos), *words])
    assert (args.model_image_size, args.budget_k_max, args.loops_mode, args.window_size) == (56, 2, "never", 4)
    assert capsys.readouterr().err.splitlines() == [
        "reconstruct_bag: --image-size is now --model-image-size", "reconstruct_bag: --k-max is now --budget-k-max",
        "reconstruct_bag: --loops is now --loops-mode",
        "reconstruct_bag: --no-recording is the default now, --recording asks for it",
    ]  # fmt: skip
    with pytest.raises(SystemExit):
        reconstruct_bag.parse([str(photos), "--never-was", "1"])


@pytest.mark.usefixtures("quick_page")
@pytest.mark.parametrize("portraits", [{1, 3}, {0}, {0, 1, 2, 3, 4}])
def test_portraits_among_photos_stay_in_one_map_in_their_own_format(photos, tmp_path, portraits, capsys):
    (tmp_path / "mixed").mkdir()
    for i, path in enumerate(sorted(photos.glob("*.jpg"))[:5]):
        image = cv2.imread(str(path))
        cv2.imwrite(str(tmp_path / "mixed" / path.name), cv2.rotate(image, 0) if i in portraits else image)
    reconstruct_bag.main([str(tmp_path / "mixed"), "--output", str(tmp_path / "out"), *QUICK, "--recording"])
    assert "5 frames in" in (said := capsys.readouterr().out)
    assert "maps: 1" in said
    shapes = [cv2.imread(str(path), cv2.IMREAD_UNCHANGED).shape for path in sorted((tmp_path / "out/depth").iterdir())]
    assert shapes == [(56, 42) if i in portraits else (42, 56) for i in range(5)]
    with AnyReader([tmp_path / "out" / "recording"]) as reader:
        for connection, _, raw in reader.messages(c for c in reader.connections if c.topic == "/rgb/image_rect"):
            message = reader.deserialize(raw, connection.msgtype)
            assert (message.height, message.width) in shapes


def test_errors_name_what_is_wrong(photos, tmp_path):
    with pytest.raises(SystemExit, match=r"nowhere"):
        reconstruct_bag.main([str(tmp_path / "nowhere"), "--output", str(tmp_path)])
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit, match="file"):
        reconstruct_bag.main([str(photos), "--output", str(tmp_path / "file"), *QUICK])
    with pytest.raises(SystemExit, match=r"--odom typo\.txt: no such file"):
        reconstruct_bag.main([str(photos), "--output", str(tmp_path / "out"), "--odom", "typo.txt"])
    with pytest.raises(SystemExit, match="must be a TUM file, which --odom poses is not"):
        reconstruct_bag.main([str(photos), "--output", str(tmp_path / "out"), "--odom", "poses"])
    with pytest.raises(SystemExit, match=r"window\.overlap must be below"):
        reconstruct_bag.main([str(photos), "--output", str(tmp_path / "out"), "--window-overlap", "9"])
