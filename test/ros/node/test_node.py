"""The whole node over real DDS: its life, its outputs, its parameters and its services."""

from __future__ import annotations

import re
import threading
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch

pytest.importorskip("rclpy", reason="ROS 2 is not here; `make venv` brings it, `make test` runs this")

from geometry_msgs.msg import TransformStamped
from lifecycle_msgs.msg import Transition
from robot import HEIGHT, LATCHED, SETS, WIDTH, as_image
from sensor_msgs.msg import PointCloud2
from sensor_msgs_py import point_cloud2
from std_srvs.srv import SetBool, Trigger
from tf2_ros import StaticTransformBroadcaster

from dvlt_ros.model import Dvlt
from dvlt_ros.ros.lifecycle import stream
from dvlt_ros.ros.messages import transform_message


def test_images_in_and_every_output_out(make_robot):
    robot = make_robot()
    robot.start()
    robot.show_and_wait(6)
    for topic in SETS:
        robot.until(lambda t=topic: len(robot.messages[t]) == 6, topic)
        assert robot.stamps(topic) == sorted(robot.stamps(topic)) == robot.stamps("points"), topic
        frame = "map" if topic == "pose" else "cam"
        assert {m.header.frame_id for m in robot.messages[topic]} == {frame}, topic
    depth, info, rgb, confidence, points, pose = (robot.messages[topic][-1] for topic in SETS)
    assert (depth.encoding, confidence.encoding, rgb.encoding) == ("32FC1", "32FC1", "rgb8")
    assert {(m.height, m.width) for m in (depth, info, rgb, confidence)} == {(HEIGHT, WIDTH)}
    map_ = as_image(depth)
    assert np.isnan(map_).mean() < 0.1  # the embedded checkpoint says that nothing is better left out
    assert (map_[~np.isnan(map_)] > 0).all()
    assert np.isfinite(as_image(confidence)).all()
    cloud = point_cloud2.read_points(points, ["x", "y", "z", "confidence"])
    assert len(cloud) == np.isfinite(map_).sum()
    assert np.isfinite(cloud["z"]).all()
    columns, rows = cloud["x"] / cloud["z"] * info.k[0] + info.k[2], cloud["y"] / cloud["z"] * info.k[4] + info.k[5]
    seen = map_[np.round(rows).astype(int), np.round(columns).astype(int)]
    np.testing.assert_allclose(cloud["z"], seen, rtol=1e-5)
    robot.until(lambda: len(robot.messages["/tf"]) == 6, "the transforms")
    (transform,) = [t for t in robot.messages["/tf"] if t.header.stamp == pose.header.stamp]
    assert (transform.header.frame_id, transform.child_frame_id) == ("map", "cam")
    where = pose.pose.pose.position
    assert np.allclose([where.x, where.y, where.z], [getattr(transform.transform.translation, a) for a in "xyz"])
    robot.until(lambda: robot.messages["map_points"] and len(robot.messages["path"][-1].poses) == 6, "map and path")
    assert robot.messages["map_points"][-1].header.frame_id == "map"
    status = robot.status()
    assert (status["accepted"], status["published"], status["dropped"], status["in_flight"]) == ("6", "6", "0", "0")
    assert status["state"] == "active"


def test_the_life_of_the_node_can_be_lived_twice(make_robot):
    robot = make_robot()
    for life in range(2):
        robot.start()
        robot.show_and_wait(4)
        assert robot.change(Transition.TRANSITION_DEACTIVATE)
        robot.until(lambda: robot.camera.get_subscription_count() == 0, "unsubscription")
        published = len(robot.messages["points"])
        robot.show()
        assert robot.change(Transition.TRANSITION_CLEANUP)
        assert len(robot.messages["points"]) == published == 4 * (life + 1)
    assert not [t for t in threading.enumerate() if t.name.startswith("dvlt")]


def test_a_node_that_is_cleaned_up_lets_go_of_the_network_and_its_troubles(make_robot):
    robot = make_robot()
    robot.start()
    robot.show_and_wait(3)
    robot.node._complaints("something is wrong")
    predictor = weakref.ref(robot.parts.mapper.predictor)
    robot.until(lambda: robot.status().get("last_problem") == "something is wrong", "the problem")
    assert robot.change(Transition.TRANSITION_DEACTIVATE)
    assert robot.change(Transition.TRANSITION_CLEANUP)
    assert predictor() is None
    robot.until(lambda: "last_problem" not in robot.status(), "a status without it")


def test_an_activation_that_fails_leaves_nothing_open_and_the_next_one_works(make_robot, monkeypatch):
    robot = make_robot(cameras_names=["left", "right"])
    assert robot.change(Transition.TRANSITION_CONFIGURE)
    intake = stream.Intake

    def fail_with_the_second(node, config, offer, camera):
        if camera == "right":
            raise RuntimeError("no such camera")
        return intake(node, config, offer, camera)

    with monkeypatch.context() as broken:
        broken.setattr(stream, "Intake", fail_with_the_second)
        assert not robot.change(Transition.TRANSITION_ACTIVATE)
    assert robot.me.count_subscribers("left/image") == 0
    assert not robot.parts.outputs._depth.is_activated
    assert robot.change(Transition.TRANSITION_ACTIVATE)
    assert robot.parts.outputs._depth.is_activated


def test_two_robots_in_namespaces_do_not_disturb_each_other(make_robot):
    first = make_robot(namespace="/one", frames_prefix="one/")
    second = make_robot(namespace="/two", frames_prefix="two/")
    for robot in (first, second):
        robot.start()
    second.stamp_ns = 500 * 10**9
    first.show_and_wait(3)
    second.show_and_wait(4)
    assert len(first.messages["points"]) == 3
    assert len(second.messages["points"]) == 4
    parents = {(t.header.frame_id, t.child_frame_id) for t in first.messages["/tf"]}
    assert parents == {("one/map", "one/cam"), ("two/map", "two/cam")}


def test_a_mount_that_comes_late_ends_what_was_taken_for_the_root(make_robot):
    robot = make_robot()
    robot.start()
    robot.show_and_wait(3)
    robot.until(lambda: len(robot.messages["/tf"]) == 3, "the transforms")
    mount = StaticTransformBroadcaster(robot.me)
    mount.sendTransform(transform_message(np.eye(4), "base_link", "cam", 1))
    robot.until(lambda: robot.sensors.tree.parent("cam") == "base_link", "the mount")
    robot.show_and_wait(3)
    robot.until(lambda: len(robot.messages["/tf"]) == 6, "the transforms")
    assert [t.child_frame_id for t in robot.messages["/tf"]] == ["cam"] * 3 + ["base_link"] * 3


def test_simulated_time_that_stands_still_does_not_stop_the_work(make_robot):
    robot = make_robot(use_sim_time=True)
    robot.start()
    robot.show_and_wait(3)
    assert robot.status()["published"] == "3"


def test_rviz_that_comes_late_gets_the_map(make_robot, ros):
    robot = make_robot()
    robot.start()
    robot.show_and_wait(4)
    robot.until(lambda: robot.messages["map_points"], "the map")
    late = []
    robot.me.create_subscription(PointCloud2, "map_points", late.append, LATCHED)
    robot.until(lambda: late, "the late listener's map")
    assert late[0].width > 0


def test_parameters_change_while_it_runs_or_are_refused_with_a_reason(make_robot):
    robot = make_robot()
    robot.start()
    assert robot.set(budget_latency_ms=500)[0].successful  # an integer for a number is fine
    assert robot.set(output_points_stride=4)[0].successful
    robot.show_and_wait(3)
    assert len(point_cloud2.read_points(robot.messages["points"][-1])) <= (HEIGHT // 4) * (WIDTH // 4)
    for values, reason in [
        ({"window_size": 4}, "only change before"),
        ({"budget_k_min": 60}, "budget.k_min must be at most budget.k_max 2"),
        ({"registration_max_residual": "much"}, "must be float"),
        ({"tf_mode": "none"}, "tf.mode can only change before"),
    ]:
        (result,) = robot.set(**values)
        assert not result.successful
        assert reason in result.reason
    assert robot.change(Transition.TRANSITION_DEACTIVATE)
    assert robot.change(Transition.TRANSITION_CLEANUP)
    assert robot.set(window_size=4)[0].successful
    assert "tf.mode must be one of" in robot.set(tf_mode="nonsense")[0].reason


def test_nothing_unscaled_leaves_by_accident(make_robot):
    robot = make_robot(output_publish_unscaled=False)
    robot.start()
    for _ in range(4):
        robot.show()
    robot.until(lambda: len(robot.messages["rgb/image_rect"]) >= 4, "the pictures")
    robot.until(lambda: robot.messages["confidence/image"], "confidence")
    for topic in ("depth/image", "points", "pose", "path", "map_points", "/tf"):
        assert not robot.messages[topic], topic
    assert "withheld" in robot.status()["message"]
    assert robot.set(output_publish_unscaled=True)[0].successful
    robot.show_and_wait(1)


def test_the_transform_goes_to_the_root_of_the_cameras_tree(make_robot):
    robot = make_robot()
    static = TransformStamped()
    static.header.frame_id, static.child_frame_id = "base_link", "cam"
    static.transform.translation.x, static.transform.rotation.w = 0.5, 1.0
    StaticTransformBroadcaster(robot.me).sendTransform(static)
    robot.start()
    robot.until(lambda: robot.sensors.tree.parent("cam") == "base_link", "the camera's tree")
    robot.show_and_wait(3)
    robot.until(lambda: len(robot.messages["/tf"]) == 3, "the transforms")
    assert {(t.header.frame_id, t.child_frame_id) for t in robot.messages["/tf"]} == {("map", "base_link")}
    first = robot.messages["/tf"][0].transform.translation
    np.testing.assert_allclose([first.y, first.z], [0.5, 0], atol=1e-6)  # cam x is the map's -y


def test_a_second_parent_is_refused(make_robot):
    robot = make_robot()
    foreign = TransformStamped()
    foreign.header.frame_id, foreign.child_frame_id = "map", "cam"
    foreign.transform.rotation.w = 1.0
    StaticTransformBroadcaster(robot.me).sendTransform(foreign)
    robot.start()
    robot.until(lambda: robot.sensors.tree.parent("cam") == "map", "the foreign transform")
    robot.show_and_wait(3)
    assert not robot.messages["/tf"]
    assert "another publisher" in robot.status()["message"]


def test_services(make_robot, tmp_path):
    robot = make_robot(maps_directory=str(tmp_path / "maps"))
    name = robot.node.get_name()
    assert not robot.call(Trigger, f"{name}/save_map", Trigger.Request()).success
    robot.start()
    robot.show_and_wait(4)
    saved = robot.call(Trigger, f"{name}/save_map", Trigger.Request())
    assert saved.success, saved.message
    suffixes = {path.suffix for path in (tmp_path / "maps").iterdir()}
    assert suffixes - {".safetensors"} == {".ply", ".pcd", ".txt"}  # with loops its places, too
    assert robot.call(Trigger, f"{name}/reset", Trigger.Request()).success
    robot.show_and_wait(3)
    assert robot.status()["map_id"] == "1"
    assert robot.call(SetBool, f"{name}/pause", SetBool.Request(data=True)).success
    before = robot.parts.mapper.counters.read()
    robot.show()
    assert robot.status()["message"] == "paused"
    assert robot.call(SetBool, f"{name}/pause", SetBool.Request(data=False)).success
    robot.show_and_wait(1)
    assert robot.parts.mapper.counters.read().accepted == before.accepted + 1


def test_weights_that_do_not_exist_fail_the_configuration_with_the_reason(make_robot, tmp_path, capfd):
    robot = make_robot(weights=tmp_path / "nowhere")
    assert not robot.change(Transition.TRANSITION_CONFIGURE)
    assert "nowhere" in capfd.readouterr().err
    assert robot.set(model_weights=str(robot.node.get_parameter("model.weights").value))[0].successful  # it lives


def test_a_checkpoint_of_ones_own_maps_and_is_named(make_robot, tmp_path):
    """As fine-tuning leaves it: written by save_pretrained, with another share of points to leave out."""
    network = Dvlt.from_pretrained()
    network.config = replace(network.config, confidence_cut_share=0.25)
    network.save_pretrained(tmp_path / "nano_finetune" / "last")
    robot = make_robot(weights=tmp_path / "nano_finetune" / "last")
    robot.start()
    robot.show_and_wait(8)
    robot.until(lambda: len(robot.messages["depth/image"]) == 8, "depth")
    assert robot.status()["checkpoint"] == "Déjà View nano_finetune/last"
    assert robot.parts.mapper.predictor.cut_share == 0.25
    assert np.isnan(as_image(robot.messages["depth/image"][-1])).mean() >= 0.2


def test_the_precision_is_that_of_the_network(make_robot):
    robot = make_robot(model_precision="int8")
    robot.start()
    robot.show_and_wait(3)
    assert robot.parts.mapper.predictor.model.precision == "int8"
    assert not robot.set(model_precision="int4")[0].successful


def test_out_of_memory_on_the_device_shrinks_the_window_and_work_goes_on(make_robot, monkeypatch):
    robot = make_robot()
    robot.start()
    model = robot.parts.mapper.predictor.model
    begin = model.begin

    def begin_if_small(features):
        if features.tokens.shape[1] > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return begin(features)

    monkeypatch.setattr(model, "begin", begin_if_small)
    robot.show_and_wait(8)
    assert any("out of memory" in complaint for complaint in robot.complaints)
    assert re.search(", [23] frames at 56 pixels", robot.status()["quality_level"])
    status = robot.status()
    assert int(status["accepted"]) == int(status["published"]) + int(status["dropped"])
