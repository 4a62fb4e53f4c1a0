"""Masks of a segmentation node, over real DDS."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not here; `make venv` brings it, `make test` runs this")

from robot import HEIGHT, WIDTH
from sensor_msgs.msg import Image

MASKED = np.zeros((HEIGHT, WIDTH), np.uint8)
MASKED[:, : WIDTH // 4] = 255


@pytest.fixture
def robot(make_robot):
    robot = make_robot(masks_source="image", masks_wait_s=5.0, loops_mode="never")
    robot.start()
    robot.masks = robot.me.create_publisher(Image, "mask/image", 10)
    robot.until(robot.masks.get_subscription_count, "a subscription to masks")
    return robot


def mask(robot, values=MASKED, encoding="mono8"):
    """For the image that is shown next."""
    height, width = values.shape
    message = Image(height=height, width=width, encoding=encoding, step=values.strides[0], data=values.tobytes())
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(robot.stamp_ns + 100_000_000, 10**9)
    robot.masks.publish(message)


def test_what_is_masked_is_counted_and_its_depth_is_published(robot):
    for _ in range(3):
        mask(robot)
        robot.show_and_wait(1)
    status = robot.status()
    assert status["masked"] == "25.0%"
    assert status["masks_missing"] == "0"
    (depth,) = (m for m in robot.messages["depth/image"] if m.header.stamp == robot.messages["points"][-1].header.stamp)
    left = np.frombuffer(depth.data, np.float32).reshape(depth.height, depth.width)[:, : depth.width // 5]
    assert np.isfinite(left).mean() > 0.5  # it may be in the way


def test_an_image_whose_mask_does_not_come_goes_on_without_and_is_counted(make_robot):
    robot = make_robot(masks_source="image", masks_wait_s=0.0, loops_mode="never")
    robot.start()
    robot.show_and_wait(3)
    robot.until(lambda: robot.status()["masks_missing"] == "3", "the count")
    assert "masked" not in robot.status()
    warned = robot.node._stream.board.read()["masks"].health.text
    assert warned.startswith("3 images had no mask on /mask/image with their stamp: it has no publisher")


def test_a_mask_of_another_size_or_encoding_refuses_its_image_in_one_line(robot):
    mask(robot, np.zeros((4, 6), np.uint8))
    robot.show()
    robot.until(lambda: any("its mask is 6 x 4 pixels" in c for c in robot.complaints), "the refusal")
    mask(robot, MASKED, encoding="mono16")
    robot.show()
    robot.until(lambda: any("its mask is encoded as 'mono16'" in c for c in robot.complaints), "the refusal")
