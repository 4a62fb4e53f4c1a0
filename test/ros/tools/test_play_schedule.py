"""When the player sends which image, and with which camera_info: without DDS."""

from __future__ import annotations

import bags
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not here; `make venv` brings it, `make test` runs this")

from cv_bridge import CvBridge
from played import HEIGHT, SECOND, WIDTH, picture
from sensor_msgs.msg import CameraInfo, Image, RegionOfInterest

from dvlt_ros.errors import ConfigError, DataError, InputError
from dvlt_ros.imaging.encodings import ENCODINGS
from dvlt_ros.lens import Lens, lens_of_camera_info
from dvlt_ros.ros.tools.play_camera import PlayConfig, camera_info_message, cues
from dvlt_ros.sources.images import Refusals, SourceImage
from dvlt_ros.sources.messages import colour_image


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
