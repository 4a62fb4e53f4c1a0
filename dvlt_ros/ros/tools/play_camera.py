"""`ros2 run dvlt_ros dvlt_play_camera`: a folder of images, a video or a bag as a camera with camera_info.

    ros2 run dvlt_ros dvlt_play_camera --ros-args -p source:=recording.mcap -p speed:=0.5

Waits for a subscriber, plays, waits until the last image has been received, and ends.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, fields

import cv2
import numpy as np
from rcl_interfaces.msg import SetParametersResult
from rclpy.duration import Duration
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from ... import programs
from ...errors import ConfigError, InputError
from ...frame_names import message_stamp_ns
from ...lens import Lens
from ...parameters import check_parameters, parameter
from ...sources import Source, SourceImage, open_source
from ...sources.times import DEFAULT_RATE_HZ
from ..declaring import declare
from ..image_messages import header, image_message
from ..program import ros_program

QUEUE = 10
# Fast DDS requests acknowledgement when the queue is full, else every 3 s; a queue of one is full with each image.
QUEUE_AS_FAST_AS_IT_GOES = 1
ACKNOWLEDGE_S = 10.0
SLICE_S = 0.1  # of all waiting: a signal is answered between two of them
JPEG_QUALITY = 90


@dataclass(frozen=True)
class PlayConfig:
    source: str = parameter("", "folder of images, video, or MCAP or db3 bag")
    topic: str = parameter("", "image topic of a bag that has several")
    rate_hz: float = parameter(0.0, f"images per second; 0: as recorded, {DEFAULT_RATE_HZ:g} if unknown", 0.0, 1000.0)
    speed: float = parameter(1.0, "factor on the rate; 0: each image once the last is acknowledged", 0.0, 1000.0)
    loop: bool = parameter(False, "begin again at the end, with stamps that go on")
    compressed: bool = parameter(False, "publish image/compressed (JPEG) instead of image")
    frame_id: str = parameter("", "frame of all images; empty: as recorded")
    intrinsics: str = parameter("", "'fx fy cx cy' as in camera_info, in pixels; empty: as recorded")
    use_source_stamps: bool = parameter(False, "stamp images as they were recorded; else with the time of publication")
    wait_for_subscriber_s: float = parameter(30.0, "play without a subscriber after this long", 0.0, 3600.0)
    start_delay_s: float = parameter(0.5, "time for more subscribers after the first one", 0.0, 3600.0)

    def __post_init__(self) -> None:
        check_parameters(self)
        if not self.source:
            raise InputError("nothing to play: set the parameter source to a folder, a video or a bag")
        self.camera()

    def camera(self) -> tuple[float, float, float, float] | None:
        """fx, fy, cx, cy; None: as recorded."""
        if not self.intrinsics:
            return None
        try:
            fx, fy, cx, cy = (float(word) for word in self.intrinsics.split())
        except ValueError as error:
            raise ConfigError(f"intrinsics must be 'fx fy cx cy', got {self.intrinsics!r}") from error
        return fx, fy, cx, cy

    def open(self) -> Source:
        rate_hz = self.rate_hz or DEFAULT_RATE_HZ
        return open_source(self.source, topic=self.topic or None, rate_hz=rate_hz, intrinsics=self.camera())


@dataclass(frozen=True, eq=False)
class Cue:
    """An image, its time and its stamp, which continues over repetitions."""

    due_s: float  # after the first one
    stamp_ns: int
    image: SourceImage


def cues(source: Source, config: PlayConfig) -> Iterator[Cue]:
    """All images, once or in a loop. Where a recorded clock was set back, the next image follows at once."""
    due_s = 0.0
    offset_ns = 0
    last_ns = None
    step_ns = round(1e9 / (config.rate_hz or DEFAULT_RATE_HZ))  # between the last two images
    while True:
        for index, image in enumerate(source):
            if last_ns is not None and index == 0:  # a repetition
                offset_ns = last_ns + step_ns - image.stamp_ns
            stamp_ns = image.stamp_ns + offset_ns
            if last_ns is not None:
                due_s += _interval_s(config, stamp_ns - last_ns)
                step_ns = stamp_ns - last_ns if stamp_ns > last_ns else step_ns
            yield Cue(due_s, stamp_ns, image)
            last_ns = stamp_ns
        if not config.loop or last_ns is None:
            return


def _interval_s(config: PlayConfig, recorded_ns: int) -> float:
    if config.speed == 0:
        return 0.0
    return (1 / config.rate_hz if config.rate_hz else max(0, recorded_ns) * 1e-9) / config.speed


class PlayCamera(Node):
    """Publishes images at their time, reliably: a reliable subscriber receives all of them."""

    def __init__(self) -> None:
        super().__init__("camera")
        self._config = declare(self, PlayConfig)
        self.add_on_set_parameters_callback(refuse_changes)
        self._source = self._config.open()
        topic = self.resolve_topic_name("image")  # a remapped image has its compressed images beside it
        kind, topic = (CompressedImage, f"{topic}/compressed") if self._config.compressed else (Image, topic)
        qos = QoSProfile(depth=QUEUE if self._config.speed else QUEUE_AS_FAST_AS_IT_GOES)
        options = {"qos_overriding_options": QoSOverridingOptions.with_default_policies()}
        self._images = self.create_publisher(kind, topic, qos, **options)
        self._infos = self.create_publisher(CameraInfo, "camera_info", qos, **options)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self)

    def play(self) -> None:
        """Plays all images, once or in a loop.

        Raises:
            InputError: the clock stands still, or a subscriber does not acknowledge.
        """
        self._wait_for_clock()
        self._wait_for_subscriber()
        self.get_logger().info(f"playing {len(self._source)} images of {self._config.source}")
        played, start_s = 0, time.monotonic()
        try:
            for cue in cues(self._source, self._config):
                start_s = start_s if played else time.monotonic()
                self._spin_until(start_s + cue.due_s)  # relative to the start, so that delays do not add up
                self._publish(cue)
                played += 1
                if self._config.speed == 0:
                    self._wait_for_acknowledgement()
            self._wait_for_acknowledgement()
        finally:
            self._report(played, time.monotonic() - start_s)

    def close(self) -> None:
        self._executor.shutdown()  # before the context, or rclpy complains at the end of the process
        self.destroy_node()

    def _spin_until(self, due_s: float) -> None:
        """Runs callbacks until then, at least once."""
        while True:
            self._executor.spin_once(timeout_sec=min(SLICE_S, max(0.0, due_s - time.monotonic())))
            if time.monotonic() >= due_s:
                return

    def _wait_for_clock(self) -> None:
        """Waits for the first message on /clock; before it, all stamps would be zero in simulated time."""
        deadline_s = time.monotonic() + self._config.wait_for_subscriber_s
        while not self._config.use_source_stamps and not self.get_clock().now().nanoseconds:
            if time.monotonic() > deadline_s:
                raise InputError("use_sim_time is set, but the time on /clock is zero or does not come")
            self._executor.spin_once(timeout_sec=0.02)

    def _wait_for_subscriber(self) -> None:
        deadline_s = time.monotonic() + self._config.wait_for_subscriber_s
        while not self._images.get_subscription_count():
            if time.monotonic() > deadline_s:
                self.get_logger().warning(f"{self._images.topic_name} has no subscriber; playing nevertheless")
                return
            self._executor.spin_once(timeout_sec=0.02)
        self._spin_until(time.monotonic() + self._config.start_delay_s)

    def _wait_for_acknowledgement(self) -> None:
        """Waits for acknowledgement: images beyond the queue would be lost silently."""
        for publisher in (self._infos, self._images):
            deadline_s = time.monotonic() + ACKNOWLEDGE_S
            while not publisher.wait_for_all_acked(Duration(seconds=SLICE_S)):
                if time.monotonic() > deadline_s:
                    topic = publisher.topic_name
                    raise InputError(f"a subscriber of {topic} is stuck: nothing acknowledged in {ACKNOWLEDGE_S:g} s")

    def _report(self, played: int, elapsed_s: float) -> None:
        refusals, problem = self._source.refusals, self._source.camera_problem
        text = f"played {played} images in {elapsed_s:.1f} s"
        if refusals.count:
            text += f"; {refusals.count} of {len(self._source)} cannot be used, for example {refusals.first}"
        self.get_logger().info(f"{text}; without camera_info: {problem}" if problem else text)

    def _publish(self, cue: Cue) -> None:
        config, image = self._config, cue.image
        stamp_ns = message_stamp_ns(cue.stamp_ns) if config.use_source_stamps else self.get_clock().now().nanoseconds
        head = header(config.frame_id or image.frame_id, stamp_ns)
        if image.lens is not None:
            info = camera_info_message(image.lens)
            info.header = head
            self._infos.publish(info)
        message = jpeg_message(image.image, head) if config.compressed else image_message(image.image, "rgb8", head)
        self._images.publish(message)


def jpeg_message(image: np.ndarray, head: Header) -> CompressedImage:
    """(H, W, 3) uint8 RGB, in the format of image_transport."""
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    message = CompressedImage(header=head, format="rgb8; jpeg compressed bgr8")
    message.data.frombytes(cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes())
    return message


def camera_info_message(lens: Lens) -> CameraInfo:
    """The lens with its distortion; ROS puts pixel centres at integers."""
    height, width = lens.size
    k = lens.intrinsics
    k[:2, 2] -= 0.5
    model, distortion = (lens.model, list(lens.distortion)) if lens.is_distorted else ("plumb_bob", [0.0] * 5)
    message = CameraInfo(height=height, width=width, distortion_model=model, d=distortion)
    message.k = k.ravel().tolist()
    message.r = np.eye(3).ravel().tolist()
    message.p = np.hstack([k, np.zeros((3, 1))]).ravel().tolist()
    return message


def refuse_changes(changed: Iterable[Parameter]) -> SetParametersResult:
    """Parameters take effect at the start only."""
    own = sorted({parameter.name for parameter in changed} & {field.name for field in fields(PlayConfig)})
    return SetParametersResult(successful=not own, reason=f"{', '.join(own)} can only be set at the start" * bool(own))


def main(args: Sequence[str] | None = None) -> None:
    with ros_program("dvlt_play_camera", __doc__, args), closing(PlayCamera()) as node:
        node.play()


if __name__ == "__main__":
    programs.run(main)
