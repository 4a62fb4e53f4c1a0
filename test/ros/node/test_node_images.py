"""Everything that a camera can do right and wrong, at the whole node over real DDS."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not here; `make venv` brings it, `make test` runs this")

from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.time import Time
from robot import HEIGHT, WIDTH, as_image
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from dvlt_ros.health import Level


def test_compressed_images(make_robot):
    robot = make_robot(transport="compressed")
    robot.start()
    robot.show_and_wait(3)
    assert as_image(robot.messages["rgb/image_rect"][-1]).shape == (HEIGHT, WIDTH, 3)


def test_best_effort_cameras_are_followed(make_robot):
    robot = make_robot(reliability=ReliabilityPolicy.BEST_EFFORT)
    robot.start()
    assert robot.node._stream.intake.images.reliability == ReliabilityPolicy.BEST_EFFORT

    def seen() -> bool:
        robot.show()  # again and again, for a best-effort camera's images may be lost
        return len(robot.messages["points"]) >= 3

    robot.until(seen, "the third cloud")


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda m: setattr(m, "encoding", "nonsense"), "nonsense"),
        (lambda m: (setattr(m, "width", 0), setattr(m, "height", 0)), "0 x 0"),
        (lambda m: m.data.__delitem__(slice(100, None)), "truncated: 100 bytes"),
        (lambda m: setattr(m.header.stamp, "sec", 0) or setattr(m.header.stamp, "nanosec", 0), "stamp is zero"),
        (lambda m: setattr(m.header, "frame_id", ""), "no frame_id"),
    ],
    ids=["encoding", "zero size", "truncated", "zero stamp", "no frame"],
)
def test_bad_images_are_refused_once_aloud_and_the_node_goes_on(make_robot, spoil, reason):
    robot = make_robot()
    robot.start()
    robot.show_and_wait(3)
    publish, robot.camera = robot.camera.publish, robot.camera
    for _ in range(3):
        message = Image(height=HEIGHT, width=WIDTH, encoding="rgb8", step=3 * WIDTH)
        message.data.frombytes(bytes(3 * WIDTH * HEIGHT))
        message.header.frame_id = "cam"
        robot.stamp_ns += 100_000_000
        message.header.stamp = Time(nanoseconds=robot.stamp_ns).to_msg()
        spoil(message)
        publish(message)
    robot.until(lambda: robot.parts.mapper.counters.read().refused == 3, "the refusals")
    assert len([c for c in robot.complaints if reason in c]) == 1, robot.complaints
    robot.show_and_wait(2)


def test_a_corrupt_jpeg_is_refused_and_the_node_goes_on(make_robot):
    robot = make_robot(transport="compressed")
    robot.start()
    robot.show_and_wait(3)
    message = CompressedImage(format="jpeg")
    message.data.frombytes(b"this is no picture")
    robot.stamp_ns += 100_000_000
    message.header.stamp, message.header.frame_id = Time(nanoseconds=robot.stamp_ns).to_msg(), "cam"
    robot.camera.publish(message)
    robot.until(lambda: robot.parts.mapper.counters.read().refused == 1, "the refusal")
    assert any("does not decode" in complaint for complaint in robot.complaints)
    robot.show_and_wait(2)


def test_a_bag_that_loops_begins_another_map(make_robot):
    robot = make_robot()
    robot.start()
    robot.show_and_wait(6)
    robot.stamp_ns -= 650_000_000
    robot.show_and_wait(4)
    assert robot.status()["map_id"] == "1"
    assert any("stamps went back" in complaint for complaint in robot.complaints)


def test_camera_info_fixes_the_intrinsics_and_undistorts(make_robot):
    robot = make_robot()
    robot.start()
    zero = CameraInfo(height=HEIGHT, width=WIDTH)
    zero.header.frame_id = "cam"
    robot.camera_info.publish(zero)
    board = robot.node._stream.board
    robot.until(lambda: "not calibrated" in str(board.read().get("camera_info")), "the zero camera_info")
    robot.show_and_wait(3)
    info = CameraInfo(height=HEIGHT, width=WIDTH, distortion_model="plumb_bob", d=[-0.2, 0.05, 0.0, 0.0, 0.0])
    info.header.frame_id = "cam"
    info.k = [60.0, 0.0, 31.5, 0.0, 60.0, 23.5, 0.0, 0.0, 1.0]
    robot.camera_info.publish(info)
    robot.until(lambda: robot.node._stream.intake._lenses, "the camera_info")
    robot.show_and_wait(2)
    out = robot.messages["depth/camera_info"][-1]
    assert list(out.d) == [0.0] * 5
    assert out.k[0] == pytest.approx(60, rel=0.2)
    assert out.k[0] != pytest.approx(robot.messages["depth/camera_info"][0].k[0], rel=1e-3)


def test_another_size_in_the_middle_of_the_stream_begins_another_map_of_the_same_output_size(make_robot):
    robot = make_robot()
    robot.start()
    robot.show_and_wait(4)
    for _ in range(3):
        robot.show(size=(60, 90))
    robot.until(lambda: robot.stamp_ns in robot.stamps("depth/image"), "the last frame's depth")
    assert {(m.height, m.width) for m in robot.messages["depth/image"]} == {(HEIGHT, WIDTH)}
    assert robot.status()["map_id"] == "1"
    assert any("images are now 90 x 60" in complaint for complaint in robot.complaints)


def test_portraits_among_landscape_images_stay_in_the_map_and_come_out_as_they_are(make_robot):
    robot = make_robot()
    robot.start()
    robot.show_and_wait(3)
    robot.show(size=(WIDTH, HEIGHT))
    robot.until(lambda: robot.stamp_ns in robot.stamps("depth/image"), "the portrait's depth")
    for topic in ("depth/image", "rgb/image_rect", "confidence/image", "depth/camera_info"):
        message = next(m for m in robot.messages[topic] if Time.from_msg(m.header.stamp).nanoseconds == robot.stamp_ns)
        assert (message.height, message.width) == (WIDTH, HEIGHT), topic
    robot.show_and_wait(2)
    assert (robot.messages["depth/image"][-1].height, robot.messages["depth/image"][-1].width) == (HEIGHT, WIDTH)
    assert robot.status()["map_id"] == "0"
    assert robot.complaints == []


def test_a_camera_that_stops_is_an_error_and_coming_back_later_begins_another_map(make_robot):
    robot = make_robot(output_stale_after_s=0.2)
    robot.start()
    robot.show_and_wait(4)
    robot.until(lambda: robot.status()["level"] == DiagnosticStatus.ERROR, "the error")
    assert "no image on /image" in robot.status()["message"]
    assert "input.reliability" in robot.status()["message"]
    robot.stamp_ns += 60 * 10**9
    robot.show_and_wait(3)
    assert robot.status()["map_id"] == "1"
    assert any("no frame for 60" in complaint for complaint in robot.complaints)

    def is_well_while_images_come():
        robot.show()
        return robot.messages["status"][-1].level == DiagnosticStatus.OK

    robot.until(is_well_while_images_come, "the end of the error")


def test_a_camera_that_dies_is_an_error_and_the_console_has_its_begin_and_its_end(make_robot, monkeypatch):
    robot = make_robot(output_stale_after_s=0.2, output_publish_unscaled=False)
    lines = []
    robot.node._health_log._say = dict.fromkeys(Level, lines.append)
    elsewhere = robot.me.create_publisher(Image, "elsewhere/image_raw", 1)
    robot.start()
    robot.until(lambda: any("none ever" in line for line in lines), "a line of a camera that has never come")
    robot.until(lambda: any(line.startswith("output: depth, points") for line in lines), "a line of what is withheld")

    def is_well():
        robot.show()
        return lines and lines[-1].startswith("camera: images arrive again, after ")

    robot.until(is_well, "the line of the end of silence")
    robot.where_it_spins(robot.me.destroy_publisher, robot.camera)
    dead = "no image on /image for "
    robot.until(lambda: lines[-1].startswith(f"camera: {dead}"), "the line of a dead driver")
    assert "it has no publisher; sensor_msgs/msg/Image comes on /elsewhere/image_raw" in lines[-1]
    assert robot.status()["level"] == DiagnosticStatus.ERROR
    robot.where_it_spins(robot.me.destroy_publisher, elsewhere)
    other = SimpleNamespace(topic_type="sensor_msgs/msg/CompressedImage", qos_profile=QoSProfile(depth=1))
    monkeypatch.setattr(robot.node, "get_publishers_info_by_topic", lambda _: [other])
    sent = "its publisher sends sensor_msgs/msg/CompressedImage and not sensor_msgs/msg/Image"
    robot.until(lambda: sent in robot.status()["message"], "the type of what comes")
    assert robot.set(output_publish_unscaled=True)[0].successful
    robot.until(
        lambda: "output: depth, points, poses and TF are published, after" in lines[-1], "the end of withholding"
    )
