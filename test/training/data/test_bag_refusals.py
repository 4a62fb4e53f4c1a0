"""Bags and frames that cannot be used are refused with their reason."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from dvlt_ros.errors import ConfigError, DataError
from dvlt_ros.training.bag_to_dataset import convert, main
from dvlt_ros.training.data.bag_frames import BagOptions
from dvlt_ros.training.data.rig import Topics

rosbags = pytest.importorskip(
    "rosbags", reason="reading and writing bags needs rosbags: pip install 'rosbags>=0.11,<0.12'"
)
from bag_robot import (  # noqa: E402
    DEPTH,
    IMAGE,
    INFO,
    OPTICAL,
    START,
    Robot,
    camera_info,
    check,
    image,
    odometry,
    tf,
    transform,
    usual,
)


def test_every_refused_frame_is_counted_with_its_reason(tmp_path, box_scene):
    robot = Robot(box_scene, count=5)
    robot.add_tf(hole=(0.45, 0.65)).add_images().add_depth().add_info()
    stamps = robot.stamps  # 0.137, 0.337, 0.537 (in the hole), 0.737, 0.937 s
    depths = [record for record in robot.records if record[0] == DEPTH]
    robot.records.remove(depths[0])
    depths[3][2].data = depths[3][2].data[:100]
    again = stamps[1] + 1_000_000
    robot.add(IMAGE, again, image(again, box_scene.render(robot.poses()[1])[0], "rgb8"))
    report = convert(robot.write(tmp_path / "bag"), tmp_path / "out", BagOptions(max_gap_s=0.15))
    assert report.kept == 2
    assert report.refused == {
        "no depth within tolerance": 1,
        "no transform at stamp": 1,
        "too little motion": 1,
        "unreadable image or depth": 1,
    }
    assert report.images == report.kept + sum(report.refused.values())
    assert "a gap of 0.300 s" in report.examples["no transform at stamp"]
    assert "odom -> base_link" in report.examples["no transform at stamp"]
    assert "truncated: 100 bytes" in report.examples["unreadable image or depth"]
    check(robot, tmp_path / "out", [1, 4])
    written = json.loads((tmp_path / "out" / "report.json").read_text())
    assert written["refused"] == report.refused
    assert written["topics"]["depth"] == DEPTH
    assert "too little motion" in report.table()


def test_images_beyond_the_transforms_are_refused(tmp_path, box_scene):
    robot = Robot(box_scene, count=7)  # TF ends at 1.1 s
    report = convert(usual(robot).write(tmp_path / "bag"), tmp_path / "out")
    assert report.refused == {"no transform at stamp": 2}
    assert "the poses end 0.037 s from it" in report.examples["no transform at stamp"]
    check(robot, tmp_path / "out", slice(5))


def test_at_most_so_many_frames(tmp_path, robot):
    report = convert(usual(robot).write(tmp_path / "bag"), tmp_path / "out", BagOptions(max_frames=2))
    assert report.refused == {"beyond max_frames": 2}
    check(robot, tmp_path / "out", [0, 3])


@pytest.mark.parametrize(
    ("info", "reason", "message"),
    [
        ({"k": np.array([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]])}, "no camera_info", "the camera is not calibrated"),
        ({"model": "kannala"}, "no camera_info", "distortion model 'kannala' is not one of"),
        ({"size": (30, 40)}, "unreadable image or depth", "the image is 80 x 60 but its camera_info 40 x 30"),
    ],
)
def test_cameras_that_cannot_be_used(tmp_path, robot, info, reason, message):
    bag = robot.add_tf().add_images().add_depth().add_info(**info).write(tmp_path / "bag")
    with pytest.raises(DataError, match="none of 4 images can be kept") as error:
        convert(bag, tmp_path / "out")
    assert reason in str(error.value)
    assert message in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["bag"]


def test_depth_in_the_wrong_unit_is_refused(tmp_path, robot):
    robot.add_tf().add_images().add_info()
    for stamp, pose in zip(robot.stamps, robot.poses(), strict=True):
        robot.add(DEPTH, stamp, image(stamp, robot.scene.render(pose)[1] * 1000, "32FC1"))
    with pytest.raises(DataError, match="looks like millimetres read as metres"):
        convert(robot.write(tmp_path / "bag"), tmp_path / "out")


def test_an_unregistered_depth_camera_without_a_transform_is_refused(tmp_path, robot):
    robot.add_tf().add_images().add_info()
    for stamp, pose in zip(robot.stamps, robot.poses(), strict=True):
        robot.add(DEPTH, stamp, image(stamp, robot.scene.render(pose)[1], "32FC1", "depth_optical"))
    with pytest.raises(DataError, match="no transform connects 'optical' and 'depth_optical'"):
        convert(robot.write(tmp_path / "bag"), tmp_path / "out")


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ("add_tf add_depth add_info", "no topic with colour images; topics: "),
        ("add_tf add_images add_info", "no topic with depth images; topics: "),
        ("add_tf add_images add_depth", "no topic with camera_info; topics: "),
        (
            "add_images add_depth add_info",
            "no moving transform from 'optical' to the camera frame 'optical', and no odom",
        ),
    ],
)
def test_what_a_recording_lacks_is_said(tmp_path, robot, parts, message):
    for part in parts.split():
        getattr(robot, part)()
    with pytest.raises(DataError) as error:
        convert(robot.write(tmp_path / "bag"), tmp_path / "out")
    assert message in str(error.value)


def test_static_transforms_alone_are_not_a_trajectory(tmp_path, robot):
    robot.add_images().add_depth().add_info()
    robot.add("/tf_static", START, tf(transform(START, "base_link", "optical", OPTICAL)))
    with pytest.raises(DataError, match="no moving transform from 'base_link' to the camera frame"):
        convert(robot.write(tmp_path / "bag"), tmp_path / "out")


def test_ambiguous_topics_are_listed(tmp_path, robot):
    bag = usual(robot).add_images("/front/image_raw").write(tmp_path / "bag")
    with pytest.raises(
        DataError, match=r"several topics could be colour images: \['/camera/color.*', '/front/image_raw'\]"
    ):
        convert(bag, tmp_path / "out")
    convert(bag, tmp_path / "out", BagOptions(topics=Topics(image=IMAGE)))
    check(robot, tmp_path / "out")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"topics": Topics(image="/nowhere")}, "no messages on /nowhere; topics:"),
        ({"topics": Topics(image=INFO)}, "is sensor_msgs/msg/CameraInfo, colour images is one of"),
        ({"topics": Topics(odometry="/tf")}, "is tf2_msgs/msg/TFMessage, odometry is one of"),
        ({"world_frame": "mars"}, "no frame 'mars' in TF; frames known: ['base_link', 'odom', 'optical']"),
        ({"camera_frame": "gripper"}, "no moving transform from 'gripper' to the camera frame 'gripper'"),
    ],
)
def test_bad_choices_are_refused(tmp_path, robot, options, message):
    bag = usual(robot).write(tmp_path / "bag")
    with pytest.raises(DataError) as error:
        convert(bag, tmp_path / "out", BagOptions(**options))
    assert message in str(error.value)


def test_a_frame_with_two_parents_is_an_error(tmp_path, robot):
    usual(robot).add("/tf", START, tf(transform(START, "map", "base_link", np.eye(4))))
    with pytest.raises(DataError, match="frame 'base_link' has two parents"):
        convert(robot.write(tmp_path / "bag"), tmp_path / "out")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_gap_s": -1.0}, "max_gap_s must be at least 0"),
        ({"min_translation_m": float("nan")}, "min_translation_m must be at least 0"),
        ({"max_frames": 0}, "max_frames must be at least 1"),
        ({"image_format": "gif"}, "image_format must be png or jpg"),
    ],
)
def test_impossible_options(options, message):
    with pytest.raises(ConfigError, match=message):
        BagOptions(**options)


def test_the_command(tmp_path, robot, capsys):
    bag = usual(robot).write(tmp_path / "bag")
    out = tmp_path / "out"
    arguments = [str(bag), str(out), "--image-topic", IMAGE, "--min-translation", "0.2", "--min-rotation", "90"]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert "too little motion" in printed
    assert f"{IMAGE} with {DEPTH}; optical in odom from TF" in printed
    assert main(arguments) == 1
    assert "exists: choose another name, or pass --overwrite" in capsys.readouterr().err
    assert main([*arguments, "--overwrite", "--image-format", "jpg"]) == 0
    assert main([str(tmp_path / "absent"), str(tmp_path / "other")]) == 1
    assert "no such bag" in capsys.readouterr().err
    for name in ("broken.mcap", "broken.db3", "notes.txt"):
        (tmp_path / name).write_bytes(b"not a bag")
        assert main([str(tmp_path / name), str(tmp_path / "other")]) == 1
        assert f"{name}: not a readable bag" in capsys.readouterr().err


def test_help_and_missing_rosbags(tmp_path, robot, monkeypatch, capsys):
    def missing():
        raise ImportError("No module named 'rosbags'")

    command = [sys.executable, "-m", "dvlt_ros.training.bag_to_dataset", "--help"]
    assert "--odom-topic" in subprocess.run(command, capture_output=True, text=True, check=True).stdout
    bag = robot.add_images().add_depth().add_info().write(tmp_path / "bag")
    monkeypatch.setattr("dvlt_ros.sources.bags.message_types.usual_types", missing)
    assert main([str(bag), str(tmp_path / "out")]) == 1
    assert "reading bags needs rosbags: pip install 'rosbags>=0.11,<0.12'" in capsys.readouterr().err


def test_a_camera_that_changes_on_the_way(tmp_path, robot):
    robot.add_tf().add_images().add_depth()
    for i, stamp in enumerate(robot.stamps):
        size = robot.scene.size if i < 2 else (30, 40)
        robot.add(INFO, stamp - 1000, camera_info(stamp - 1000, robot.scene.intrinsics, size))
    report = convert(robot.write(tmp_path / "bag"), tmp_path / "out")
    assert report.refused == {"unreadable image or depth": 2}
    check(robot, tmp_path / "out", slice(2))


def test_a_camera_without_frame_id_must_be_named(tmp_path, robot):
    usual(robot)
    for topic, _, content in robot.records:
        if topic == IMAGE:
            content.header.frame_id = ""
    bag = robot.write(tmp_path / "bag")
    with pytest.raises(DataError, match="has no frame_id: pass --camera-frame"):
        convert(bag, tmp_path / "out")
    convert(bag, tmp_path / "out", BagOptions(camera_frame="optical"))
    check(robot, tmp_path / "out")


def test_odometry_that_does_not_say_what_moves(tmp_path, robot):
    robot.add_images().add_depth().add_info()
    robot.add("/odom", START, odometry(START, robot.base(START), child=""))
    with pytest.raises(DataError, match="/odom has no frame_id or no child_frame_id: 'odom', ''"):
        convert(robot.write(tmp_path / "bag"), tmp_path / "out")


@pytest.mark.parametrize(
    ("encoding", "pixels"), [("yuv422", np.zeros((60, 160), np.uint8)), ("rgb8", np.zeros((0, 0, 3), np.uint8))]
)
def test_images_that_cannot_be_read(tmp_path, robot, encoding, pixels):
    usual(robot)
    robot.records[:] = [
        (topic, stamp, image(stamp, pixels, encoding))
        if topic == IMAGE and stamp == robot.stamps[1]
        else (topic, stamp, content)
        for topic, stamp, content in robot.records
    ]
    report = convert(robot.write(tmp_path / "bag"), tmp_path / "out")
    assert report.refused == {"unreadable image or depth": 1}
    check(robot, tmp_path / "out", [0, 2, 3])
