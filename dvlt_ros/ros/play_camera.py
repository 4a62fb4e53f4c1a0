"""`ros2 run dvlt_ros play_camera`: a folder of images, a video or a bag as a camera with camera_info.

    ros2 run dvlt_ros play_camera --ros-args -p source:=recording.mcap -p speed:=0.5

Waits for a subscriber, plays, waits until the last image has been received, and ends.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import rclpy
from rclpy.duration import Duration
from rclpy.exceptions import ParameterException
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from ..engine.config import check_parameters, parameter
from ..errors import DvltError, InputError
from ..lens import Lens
from ..sources import Source, SourceImage, open_source
from .messages import header, image_message
from .parameters import declare

QUEUE = 10
ACKNOWLEDGE_S = 10.0
JPEG_QUALITY = 90


@dataclass(frozen=True)
class PlayConfig:
    source: str = parameter("", "folder of images, video, or MCAP or db3 bag")
    topic: str = parameter("", "image topic of a bag that has several")
    rate_hz: float = parameter(0.0, "images per second; 0: as recorded, or 10 where that is unknown", 0.0, 1000.0)
    speed: float = parameter(1.0, "factor on the recorded rate; 0: as fast as it goes", 0.0, 1000.0)
    loop: bool = parameter(False, "begin again at the end, with stamps that go on")
    compressed: bool = parameter(False, "publish image/compressed (JPEG) instead of image")
    frame_id: str = parameter("", "frame of all images; empty: as recorded")
    use_source_stamps: bool = parameter(False, "stamp images as they were recorded; else with the time of publication")
    wait_for_subscriber_s: float = parameter(30.0, "play to nobody after this long", 0.0, 3600.0)

    def __post_init__(self) -> None:
        check_parameters(self)
        if not self.source:
            raise InputError("nothing to play: set the parameter source to a folder, a video or a bag")


class PlayCamera(Node):
    """Publishes images at their time. Reliable, so that nothing gets lost on the way to a reliable subscriber."""

    def __init__(self) -> None:
        super().__init__("camera")
        self._config = declare(self, PlayConfig)
        config, qos = self._config, QoSProfile(depth=QUEUE)
        rate_hz = config.rate_hz or 10.0
        self._source: Source = open_source(config.source, topic=config.topic or None, rate_hz=rate_hz)
        kind, topic = (CompressedImage, "image/compressed") if config.compressed else (Image, "image")
        self._images = self.create_publisher(kind, topic, qos)
        self._infos = self.create_publisher(CameraInfo, "camera_info", qos)

    def play(self) -> None:
        """Everything once, or again and again; ends early when ROS shuts down."""
        self._wait_for_subscriber()
        self.get_logger().info(f"playing {len(self._source)} images of {self._config.source}")
        played, start_s, first_ns = 0, time.monotonic(), None
        for image, stamp_ns in self._images_in_time():
            first_ns = stamp_ns if first_ns is None else first_ns
            delay_s = self._delay_s(played, stamp_ns - first_ns)
            time.sleep(max(0.0, start_s + delay_s - time.monotonic()))  # against the start: no drift
            if not rclpy.ok():
                break
            self._publish(image, stamp_ns)
            played += 1
        self._images.wait_for_all_acked(Duration(seconds=ACKNOWLEDGE_S))
        refusals = self._source.refusals
        refused = f", {refusals.count} not readable, for example {refusals.first}" if refusals.count else ""
        self.get_logger().info(f"played {played} images{refused}")

    def _images_in_time(self) -> Iterator[tuple[SourceImage, int]]:
        """Images with stamps that go on from round to round."""
        offset_ns = 0
        while True:
            last_ns, step_ns = 0, 0
            for image in self._source:
                step_ns, last_ns = (image.stamp_ns - last_ns if last_ns else step_ns), image.stamp_ns
                yield image, image.stamp_ns + offset_ns
            if not self._config.loop or not last_ns:
                return
            first = next(iter(self._source)).stamp_ns
            offset_ns += last_ns - first + max(step_ns, 1)

    def _delay_s(self, played: int, since_first_ns: int) -> float:
        if self._config.speed == 0:
            return 0.0
        recorded_s = played / self._config.rate_hz if self._config.rate_hz else since_first_ns * 1e-9
        return recorded_s / self._config.speed

    def _wait_for_subscriber(self) -> None:
        deadline_s = time.monotonic() + self._config.wait_for_subscriber_s
        while not self._images.get_subscription_count() and time.monotonic() < deadline_s and rclpy.ok():
            time.sleep(0.02)
        if not self._images.get_subscription_count():
            self.get_logger().warning(f"nobody listens to {self._images.topic_name}; playing all the same")

    def _publish(self, image: SourceImage, stamp_ns: int) -> None:
        if not self._config.use_source_stamps:
            stamp_ns = self.get_clock().now().nanoseconds
        head = header(self._config.frame_id or image.frame_id, stamp_ns)
        if image.lens is not None:
            info = camera_info_message(image.lens)
            info.header = head
            self._infos.publish(info)
        if self._config.compressed:
            message = CompressedImage(header=head, format="rgb8; jpeg compressed bgr8")
            bgr = cv2.cvtColor(image.image, cv2.COLOR_RGB2BGR)
            message.data.frombytes(cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes())
            self._images.publish(message)
        else:
            self._images.publish(image_message(image.image, "rgb8", head))


def camera_info_message(lens: Lens) -> CameraInfo:
    """The lens with its distortion; ROS puts pixel centres at integers."""
    height, width = lens.size
    k = lens.intrinsics
    k[:2, 2] -= 0.5
    message = CameraInfo(height=height, width=width, distortion_model=lens.model)
    message.d = list(lens.distortion) or [0.0] * 5
    message.k = k.ravel().tolist()
    message.r = np.eye(3).ravel().tolist()
    message.p = np.hstack([k, np.zeros((3, 1))]).ravel().tolist()
    return message


def main(args: Sequence[str] | None = None) -> None:
    rclpy.init(args=args)
    try:
        node = PlayCamera()
        node.play()
        node.destroy_node()
    except (DvltError, ParameterException) as error:
        sys.exit(f"play_camera: {error}")
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        rclpy.try_shutdown()


if __name__ == "__main__":
    main()
