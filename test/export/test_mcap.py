"""The recording that offline runs leave: the node's types and offers, packed, whole or refused by name."""

from __future__ import annotations

import errno

import numpy as np
import pytest
import yaml

pytest.importorskip("rosbags", reason="bags are read and written with rosbags; `make venv` brings it")

from dvlt_ros.errors import InputError
from dvlt_ros.export import McapRecording
from dvlt_ros.sources.recording import open_recording

STAMP_NS = 1_700_000_000_123_456_789
CLOUD = np.ones(2000, [(name, "<f4") for name in ("x", "y", "z", "rgb", "confidence")])


@pytest.fixture
def recording(tmp_path):
    recording = McapRecording(tmp_path / "recording")
    yield recording
    recording.close()


def test_messages_are_those_of_the_node(tmp_path, recording):
    pose = np.eye(4)
    pose[:3, 3] = 1, 2, 3
    recording.write_pose(pose, "/map", STAMP_NS, deviation=0.5, angle=0.1)
    recording.write_pose(pose, "map", STAMP_NS)
    recording.write_transforms([("/map", "/cam", pose)], STAMP_NS)
    recording.write_cloud("map_points", CLOUD, "map", STAMP_NS)
    recording.close()
    with open_recording(tmp_path / "recording") as read:
        assert read.types["/pose"] == "geometry_msgs/msg/PoseWithCovarianceStamped"
        told, untold = (message for _, message in read.messages("/pose"))
        np.testing.assert_allclose(np.diag(told.pose.covariance.reshape(6, 6)), [0.25] * 3 + [0.01] * 3)
        assert not untold.pose.covariance.any()
        assert told.header.frame_id == "map"
        (transform,) = read.first("/tf").transforms
        assert (transform.header.frame_id, transform.child_frame_id) == ("map", "cam")


def test_players_offer_what_rviz_asks_for(tmp_path, recording):
    recording.write_cloud("map_points", CLOUD, "map", STAMP_NS)
    recording.close()
    content = yaml.safe_load((tmp_path / "recording" / "metadata.yaml").read_text())
    topics = content["rosbag2_bagfile_information"]["topics_with_message_count"]
    offered = {topic["topic_metadata"]["name"]: topic["topic_metadata"]["offered_qos_profiles"][0] for topic in topics}
    assert {name for name, qos in offered.items() if qos["durability"] == "transient_local"} == {"/map_points", "/path"}
    assert {qos["reliability"] for qos in offered.values()} == {"reliable"}
    assert {offered[name]["depth"] for name in ("/map_points", "/path")} == {1}


def test_chunks_are_packed(tmp_path, recording):
    for index in range(50):
        recording.write_cloud("points", CLOUD, "map", STAMP_NS + index)
    recording.close()
    file = next((tmp_path / "recording").glob("*.mcap"))
    assert file.stat().st_size < 50 * CLOUD.nbytes / 10
    assert b"zstd" in file.read_bytes()


@pytest.mark.parametrize("stamp_ns", [-1, 2**31 * 10**9, 1403636579763555584 * 10**9])
def test_stamps_that_no_message_can_have_are_refused(recording, stamp_ns):
    with pytest.raises(InputError, match=f"recording: {stamp_ns} ns is no stamp that a message can have"):
        recording.write_cloud("points", CLOUD, "map", stamp_ns)


def test_a_folder_that_is_there_already_and_a_full_disk(tmp_path, recording, monkeypatch):
    with pytest.raises(InputError, match="recording: cannot be written: "):
        McapRecording(tmp_path / "recording")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(recording._writer, "write", full, raising=True)
    with pytest.raises(InputError, match="recording: cannot be written: No space left on device"):
        recording.write_cloud("points", CLOUD, "map", STAMP_NS)
    monkeypatch.undo()
