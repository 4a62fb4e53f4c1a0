"""The player over real DDS, in a process of its own: what a subscriber gets is what was recorded."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import bags
import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not here; `make venv` brings it, `make test` runs this")

from cv_bridge import CvBridge
from played import HEIGHT, SECOND, WIDTH, picture
from rcl_interfaces.srv import SetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from rclpy.time import Time
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from dvlt_ros.lens import lens_of_camera_info

START_NS = 1_700_000_000 * SECOND + 123_456_789
LIMIT_S = 60.0  # only a failure reaches it
ENVIRONMENT = {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}


def pixels(message: Image) -> np.ndarray:
    return np.frombuffer(message.data, np.uint8).reshape(message.height, message.width, 3)


def stamp_ns(message) -> int:
    return Time.from_msg(message.header.stamp).nanoseconds


@pytest.fixture
def folder(tmp_path):
    for index in range(5):
        cv2.imwrite(str(tmp_path / f"{index}.png"), cv2.cvtColor(picture(index), cv2.COLOR_RGB2BGR))
    return tmp_path


class Listener:
    """Hears the camera, and starts and awaits the player."""

    def __init__(self, ros, kind=Image, topic="image") -> None:
        self.node = ros.create_node("listener")
        self.images, self.infos, self.player = [], [], None
        self.node.create_subscription(kind, topic, self.images.append, QoSProfile(depth=100))
        self.node.create_subscription(CameraInfo, "camera_info", self.infos.append, QoSProfile(depth=100))
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self._domain = ros.get_default_context().get_domain_id()

    def start(self, source, *, remapped=(), **parameters):
        """As fast as it goes, unless something else is asked for."""
        values = {"source": source, "start_delay_s": 0.2} | ({} if "rate_hz" in parameters else {"speed": 0.0})
        self.player = start_player(self._domain, values | parameters, remapped)
        return self

    def until(self, condition, what) -> None:
        deadline_s = time.monotonic() + LIMIT_S
        while not condition():
            assert time.monotonic() < deadline_s, f"{what} did not come"
            self._executor.spin_once(timeout_sec=0.05)

    def hear_out(self, count) -> str:
        """Until the player has ended well and all has come; what the player said."""
        self.until(lambda: self.player.poll() is not None, "the player's end")
        said = self.player.stderr.read()
        assert self.player.returncode == 0, said
        assert "Traceback" not in said
        self.until(lambda: len(self.images) >= count, f"image {count}")
        assert len(self.images) == count
        return said

    def close(self) -> None:
        if self.player is not None:
            self.player.kill()
            self.player.communicate()
        self._executor.shutdown()
        self.node.destroy_node()


def start_player(domain, parameters, remapped=()) -> subprocess.Popen:
    words = [word for name, value in parameters.items() for word in ("-p", f"{name}:={spelled(value)}")]
    words += [word for rule in remapped for word in ("-r", rule)]
    return subprocess.Popen(
        [sys.executable, "-m", "dvlt_ros.ros.tools.play_camera", "--ros-args", *words],
        env=os.environ | ENVIRONMENT | {"ROS_DOMAIN_ID": str(domain)}, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def spelled(value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


@pytest.fixture
def listen(ros):
    listeners = []

    def make(*args) -> Listener:
        listeners.append(Listener(ros, *args))
        return listeners[-1]

    yield make
    for listener in listeners:
        listener.close()


def test_a_folder_arrives_whole_with_its_camera(listen, folder):
    before_ns = time.time_ns()
    listener = listen().start(folder, rate_hz=5.0, intrinsics="60 61 31.5 23.5")
    said = listener.hear_out(5)
    assert "played 5 images" in said
    assert "cannot be used" not in said
    listener.until(lambda: len(listener.infos) == 5, "camera_info")
    for index, (message, info) in enumerate(zip(listener.images, listener.infos, strict=True)):
        assert message.encoding == "rgb8"
        np.testing.assert_array_equal(pixels(message), picture(index))
        assert message.header == info.header
        assert message.header.frame_id == "camera_optical_frame"
        assert list(info.k) == [60, 0, 31.5, 0, 61, 23.5, 0, 0, 1]
        assert (info.height, info.width, list(info.d)) == (HEIGHT, WIDTH, [0.0] * 5)
    stamps = [stamp_ns(message) for message in listener.images]
    assert before_ns < stamps[0]
    assert stamps == sorted(set(stamps))
    assert stamps[-1] - stamps[0] >= 4 * SECOND / 5 / 2  # nothing is played early; the first one may have been late


def test_a_bag_arrives_with_its_stamps_frames_and_lens(listen, tmp_path):
    d = np.array([-0.2, 0.05, 0.001, -0.002, 0.0])
    records = []
    for index in range(3):
        stamp = START_NS + index * SECOND // 10
        records += [("/cam/camera_info", bags.camera_info(stamp, d=d))]
        records += [("/cam/image_raw", bags.image(stamp, picture(index), "bgr8", "left"))]
    listener = listen().start(bags.write(tmp_path / "bag", records), use_source_stamps=True)
    listener.hear_out(3)
    assert [stamp_ns(message) for message in listener.images] == [START_NS + i * SECOND // 10 for i in range(3)]
    assert {message.header.frame_id for message in listener.images} == {"left"}
    np.testing.assert_array_equal(pixels(listener.images[2]), picture(2)[..., ::-1])  # it was recorded as bgr8
    listener.until(lambda: len(listener.infos) == 3, "camera_info")
    lens = lens_of_camera_info(listener.infos[0], rectified=False)
    assert lens == lens_of_camera_info(records[0][1], rectified=False)
    assert lens.distortion == tuple(d)


def test_as_fast_as_it_goes_nothing_is_lost(listen, folder):
    for index in range(5, 60):
        cv2.imwrite(str(folder / f"{index}.png"), cv2.cvtColor(picture(index), cv2.COLOR_RGB2BGR))
    listener = listen().start(folder, intrinsics="60 61 31.5 23.5")
    listener.hear_out(60)
    listener.until(lambda: len(listener.infos) == 60, "camera_info")
    for index, message in enumerate(listener.images):
        np.testing.assert_array_equal(pixels(message), picture(index))


def test_a_loop_goes_on_with_rising_stamps_until_it_is_ended(listen, folder):
    listener = listen().start(folder, rate_hz=100.0, loop=True, use_source_stamps=True, frame_id="cam")
    listener.until(lambda: len(listener.images) >= 12, "the third round")
    listener.player.send_signal(signal.SIGINT)
    listener.until(lambda: listener.player.poll() is not None, "the player's end")
    assert listener.player.returncode == 0
    assert "played" in listener.player.stderr.read()
    stamps = [stamp_ns(message) for message in listener.images]
    assert stamps[0] == 1  # a message's 0 is a stamp that was never set
    np.testing.assert_array_equal(stamps[1:], SECOND // 100 * np.arange(1, len(stamps)))
    np.testing.assert_array_equal(pixels(listener.images[11]), picture(1))
    assert {message.header.frame_id for message in listener.images} == {"cam"}


def test_compressed_images_stand_beside_the_topic_of_the_images(listen, folder):
    listener = listen(CompressedImage, "front/image_raw/compressed")
    listener.start(folder, compressed=True, remapped=["image:=front/image_raw"])
    listener.hear_out(5)
    for index, message in enumerate(listener.images):
        assert message.format == "rgb8; jpeg compressed bgr8"
        image = CvBridge().compressed_imgmsg_to_cv2(message, "rgb8")
        assert np.corrcoef(image.ravel(), picture(index).ravel())[0, 1] > 0.5  # noise suffers from JPEG


def test_simulated_time_is_waited_for(listen, folder):
    listener = listen()
    clock = listener.node.create_publisher(Clock, "/clock", 1)
    listener.node.create_timer(0.02, lambda: clock.publish(Clock(clock=Time(nanoseconds=START_NS).to_msg())))
    listener.start(folder, use_sim_time=True)
    listener.hear_out(5)
    assert {stamp_ns(message) for message in listener.images} == {START_NS}


def test_what_is_played_cannot_change_on_the_way(listen, folder):
    listener = listen().start(folder, rate_hz=20.0, loop=True)
    client = listener.node.create_client(SetParameters, "camera/set_parameters")
    listener.until(client.service_is_ready, "the parameter service")
    request = SetParameters.Request(parameters=[Parameter("rate_hz", value=1.0).to_parameter_msg()])
    answers = []

    def ask() -> None:  # again and again: an answer to a client that the server does not know yet is lost
        client.call_async(request).add_done_callback(lambda future: answers.append(future.result()))

    ask()
    listener.node.create_timer(1.0, ask)
    listener.until(lambda: answers, "the answer")
    (result,) = answers[0].results
    assert not result.successful
    assert result.reason == "rate_hz can only be set at the start"


def test_what_cannot_be_played_ends_with_a_reason(ros, folder):
    cases = [
        ({}, "nothing to play: set the parameter source"),
        ({"source": folder, "rate_hz": -1.0}, "rate_hz out of range"),
        (
            {"source": folder, "use_sim_time": True, "wait_for_subscriber_s": 0.1},
            "the time on /clock is zero or does not come",
        ),
    ]
    domain = ros.get_default_context().get_domain_id()
    players = [start_player(domain, parameters) for parameters, _ in cases]  # at once: most of it is their start
    try:
        for player, (_, reason) in zip(players, cases, strict=True):
            _, said = player.communicate(timeout=LIMIT_S)
            assert player.returncode == 1
            assert reason in said
            assert "Traceback" not in said
    finally:
        for player in players:
            player.kill()
            player.communicate()
