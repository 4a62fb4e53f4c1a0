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
from rcl_interfaces.srv import SetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from rclpy.time import Time
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, RegionOfInterest

from dvlt_ros.errors import ConfigError, DataError, InputError
from dvlt_ros.imaging.encodings import ENCODINGS
from dvlt_ros.lens import Lens, lens_of_camera_info
from dvlt_ros.ros.tools.play_camera import PlayConfig, camera_info_message, cues
from dvlt_ros.sources.images import Refusals, SourceImage
from dvlt_ros.sources.messages import colour_image

HEIGHT, WIDTH = 48, 64
SECOND = 10**9
START_NS = 1_700_000_000 * SECOND + 123_456_789
LIMIT_S = 60.0  # only a failure reaches it
ENVIRONMENT = {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}


def picture(index: int) -> np.ndarray:
    return np.random.default_rng(index).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


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
    assert stamps[0] == SECOND // 100
    np.testing.assert_array_equal(np.diff(stamps), SECOND // 100)
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


class Recorded:
    """A source of stamps."""

    refusals, camera_problem = Refusals(), ""

    def __init__(self, *stamps_s: float) -> None:
        self._stamps_ns = [round(stamp * SECOND) for stamp in stamps_s]

    def __len__(self) -> int:
        return len(self._stamps_ns)

    def __iter__(self):
        return iter([SourceImage(stamp, "cam", picture(0), None) for stamp in self._stamps_ns])


def schedule(source, count, **config):
    """(due in seconds, stamp in seconds) of the first cues."""
    found = cues(source, PlayConfig(source="somewhere", **config))
    return [(round(cue.due_s, 9), cue.stamp_ns / SECOND) for _, cue in zip(range(count), found, strict=False)]


def test_images_are_due_as_recorded_or_at_a_rate():
    source = Recorded(7.0, 7.5, 7.6)
    assert schedule(source, 9) == [(0, 7.0), (0.5, 7.5), (0.6, 7.6)]
    assert schedule(source, 9, speed=2.0) == [(0, 7.0), (0.25, 7.5), (0.3, 7.6)]
    assert schedule(source, 9, rate_hz=4.0) == [(0, 7.0), (0.25, 7.5), (0.5, 7.6)]
    assert [due for due, _ in schedule(source, 9, speed=0.0)] == [0, 0, 0]
    assert schedule(Recorded(7.0, 3.0, 3.5), 9) == [(0, 7.0), (0, 3.0), (0.5, 3.5)]  # a clock that was set back


def test_a_round_follows_the_last_one_at_the_last_ones_pace():
    assert schedule(Recorded(7.0, 7.5), 5, loop=True) == [(0, 7), (0.5, 7.5), (1.0, 8.0), (1.5, 8.5), (2.0, 9.0)]
    assert schedule(Recorded(7.0), 3, loop=True, rate_hz=4.0) == [(0, 7), (0.25, 7.25), (0.5, 7.5)]
    assert schedule(Recorded(), 3, loop=True) == []


def test_no_drift_over_many_rounds():
    source = Recorded(*np.linspace(1.0, 100.0, 100))
    found = cues(source, PlayConfig(source="somewhere", rate_hz=30.0, loop=True))
    for _ in range(10_000):
        last = next(found)
    assert last.due_s == pytest.approx(9_999 / 30, abs=1e-6)


@pytest.mark.parametrize("model", ["plumb_bob", "rational_polynomial", "equidistant"])
@pytest.mark.parametrize("is_distorted", [True, False])
def test_a_lens_survives_its_message(model, is_distorted):
    count = {"plumb_bob": 5, "rational_polynomial": 8, "equidistant": 4}[model]
    lens = Lens(60.0, 61.0, 32.5, 20.0, (48, 64), model, tuple(0.01 * (i + 1) for i in range(count)) * is_distorted)
    found = lens_of_camera_info(camera_info_message(lens), rectified=False)
    assert (found == lens) if is_distorted else not found.is_distorted
    np.testing.assert_array_equal(found.intrinsics, lens.intrinsics)
    assert found.size == lens.size


def test_messages_of_ros_and_of_recordings_are_the_same_camera():
    recorded = bags.camera_info(1, (480, 640), d=np.array([-0.2, 0.05, 0, 0, 0]), roi=(10, 20, 240, 320), binning_x=2)
    roi = RegionOfInterest(x_offset=10, y_offset=20, height=240, width=320)
    live = CameraInfo(height=480, width=640, distortion_model="plumb_bob", roi=roi, binning_x=2)
    live.d, live.k, live.p = list(recorded.d), recorded.k, recorded.p
    for rectified in (False, True):
        assert lens_of_camera_info(live, rectified) == lens_of_camera_info(recorded, rectified)
    with pytest.raises(InputError, match="all zero"):
        lens_of_camera_info(CameraInfo(height=480, width=640), rectified=False)


OF_CV_BRIDGE = [  # 16 bits are scaled by the sensor's range here, and by 257 there
    name
    for name, encoding in ENCODINGS.items()
    if encoding.dtype == "u1" and encoding.layout in ("grey", "colour", "Bayer", "YUV 4:2:2") and name[0] != "8"
]


@pytest.mark.parametrize("encoding", OF_CV_BRIDGE)
def test_recorded_encodings_are_read_as_cv_bridge_reads_them(encoding):
    channels = ENCODINGS[encoding].channels
    data = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, channels), dtype=np.uint8)
    message = Image(height=HEIGHT, width=WIDTH, encoding=encoding, step=WIDTH * channels)
    message.data.frombytes(data.tobytes())
    np.testing.assert_array_equal(colour_image(message), CvBridge().imgmsg_to_cv2(message, "rgb8"))


def test_a_source_that_is_not_there_is_named():
    with pytest.raises(DataError, match="/nowhere: no such file or folder"):
        PlayConfig(source="/nowhere").open()


def test_intrinsics_are_four_numbers():
    assert PlayConfig(source="x", intrinsics="1 2 3.5 4").camera() == (1.0, 2.0, 3.5, 4.0)
    assert PlayConfig(source="x").camera() is None
    with pytest.raises(ConfigError, match="intrinsics must be"):
        PlayConfig(source="x", intrinsics="1 2 3")
