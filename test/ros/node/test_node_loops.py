"""Loops in the node, over real DDS: closed where a place is seen again, and configured away."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not here; `make venv` brings it, `make test` runs this")
pytest.importorskip("gtsam", reason="GTSAM is not here; `pip install 'gtsam>=4.3,<5'` runs this")

from geometry_msgs.msg import PoseWithCovarianceStamped
from held import Held
from lap import EAGER, EXACT, LAP, RecognizingPredictor, lap_poses
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from plyfile import PlyData
from room import FRAME_NS, SIZE
from std_msgs.msg import Header
from std_srvs.srv import Trigger

from dvlt_ros.errors import InputError
from dvlt_ros.export import write_ply
from dvlt_ros.mapping.maps.saved_map import read_saved_map
from dvlt_ros.mapping.pose_graph.factors import library

PLACES = "places.safetensors"


@pytest.fixture
def make_returning(make_robot, monkeypatch):
    """Robots that go round and round."""

    def make(**parameters):
        predictor = RecognizingPredictor(lap_poses(range(4 * LAP)))
        monkeypatch.setattr("dvlt_ros.ros.lifecycle.parts.load_predictor", lambda *_: predictor)
        monkeypatch.setattr("dvlt_ros.mapping.mapper.warm_up", lambda *_: None)
        robot = make_robot(**EAGER | EXACT | parameters)
        robot.predictor = predictor
        return robot

    return make


def go(robot, numbers):
    for number in numbers:
        robot.show(stamp_ns=number * FRAME_NS, size=SIZE)
        robot.until(lambda n=number: n * FRAME_NS in robot.stamps("rgb/image_rect") or n == numbers[0], "the frame")


def test_a_place_seen_again_closes_a_loop_and_the_status_says_so(make_returning):
    robot = make_returning()
    robot.start()
    go(robot, range(1, 2 * LAP))
    robot.until(lambda: int(robot.status()["loops_closed"]) > 0, "the loop")
    status = robot.status()
    assert status["loops"] == "on"
    assert int(status["places"]) > 20
    assert float(status["loop_residual"]) < 0.01
    assert status["map_id"] == "0"
    assert robot.predictor.joint_windows >= 1
    poses = {stamp: m.pose.pose.position for stamp, m in zip(robot.stamps("pose"), robot.messages["pose"], strict=True)}
    first, again = (poses[n * FRAME_NS] for n in (5, 5 + LAP))  # nothing was wrong, so nothing has moved
    np.testing.assert_allclose([again.x, again.y, again.z], [first.x, first.y, first.z], atol=0.02)


def test_a_reset_forgets_the_places(make_returning):
    robot = make_returning()
    robot.start()
    go(robot, range(1, LAP))
    before = int(robot.status()["places"])
    assert robot.call(Trigger, "dvlt/reset", Trigger.Request()).success
    robot.until(lambda: int(robot.status()["places"]) < before, "the new index")


def test_a_new_node_finds_itself_in_the_map_that_another_one_has_saved(make_returning, tmp_path):
    before = make_returning(maps_directory=str(tmp_path))
    before.start()
    go(before, range(1, LAP + 12))
    saved = before.call(Trigger, "dvlt/save_map", Trigger.Request())
    assert saved.success, saved.message
    assert Path(saved.message).with_suffix(".places.safetensors").exists()
    robot = make_returning(maps_directory=str(tmp_path), namespace="/another")
    assert robot.change(Transition.TRANSITION_CONFIGURE)
    assert robot.status()["loops"] == "on"
    loaded = robot.call(Trigger, "dvlt/load_map", Trigger.Request())
    assert loaded.success, loaded.message
    assert robot.change(Transition.TRANSITION_ACTIVATE)
    robot.meet()
    robot.until(lambda: robot.messages["map_points"], "the saved map")  # before there is any image
    assert f"{robot.messages['map_points'][0].width} points" in loaded.message
    assert robot.status()["relocalized"].startswith("no: ")
    go(robot, range(LAP + 20, 2 * LAP + 8))
    robot.until(lambda: robot.status()["relocalized"] == "yes", "relocalization")
    known, found = positions(before), positions(robot)
    for number in range(2 * LAP, 2 * LAP + 8):
        np.testing.assert_allclose(found[number % LAP], known[number % LAP], atol=0.05)


def test_in_localization_mode_the_newest_map_is_loaded_and_the_pose_comes_once_the_robot_is_found(
    make_returning, tmp_path
):
    before = make_returning(maps_directory=str(tmp_path))
    before.start()
    go(before, range(1, LAP + 12))
    assert before.call(Trigger, "dvlt/save_map", Trigger.Request()).success
    robot = make_returning(
        maps_directory=str(tmp_path), namespace="/another", map_mode="localization", frames_base="cam"
    )
    robot.start()
    robot.until(lambda: robot.messages["map_points"], "the saved map")
    points = robot.messages["map_points"][0].width
    robot.send(PoseWithCovarianceStamped(header=Header(frame_id="odom")), "initialpose")
    robot.until(lambda: "its frame is 'odom', the map's is 'map'" in robot.status()["last_problem"], "the refusal")
    go(robot, range(LAP + 20, LAP + 23))
    assert robot.status()["relocalized"].startswith("no: ")
    assert not robot.messages["pose"]  # it would not be in this map
    robot.send(at(positions(before)[22], stamp_ns=(LAP + 22) * FRAME_NS), "initialpose")
    go(robot, range(LAP + 23, LAP + 40))
    robot.until(lambda: robot.status()["relocalized"] == "yes", "localization")
    known, found = positions(before), positions(robot)
    for number in range(LAP + 36, LAP + 40):
        np.testing.assert_allclose(found[number % LAP], known[number % LAP], atol=0.05)
    saved = robot.call(Trigger, "dvlt/save_map", Trigger.Request())
    assert PlyData.read(saved.message)["vertex"].count == points  # it has not grown


def at(position, stamp_ns):
    """A pose of the base in the map, at a camera's place."""
    message = PoseWithCovarianceStamped(header=Header(frame_id="map"))
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp_ns, 10**9)
    p = message.pose.pose.position
    p.x, p.y, p.z = position.tolist()
    return message


def positions(robot):
    """Those published last, by the place on the lap."""
    points = [message.pose.pose.position for message in robot.messages["pose"]]
    places = [stamp_ns // FRAME_NS % LAP for stamp_ns in robot.stamps("pose")]
    return {place: np.array([p.x, p.y, p.z]) for place, p in zip(places, points, strict=True)}


def test_maps_that_have_ended_are_written_once_and_do_not_keep_the_newest_from_it(
    make_returning, monkeypatch, tmp_path
):
    robot = make_returning(maps_directory=str(tmp_path))
    robot.start()
    go(robot, range(1, 8))
    assert robot.call(Trigger, "dvlt/reset", Trigger.Request()).success
    go(robot, range(8, 16))
    robot.until(lambda: robot.parts.mapper.snapshot().map_id == 1, "the second map")

    def save():
        return robot.call(Trigger, "dvlt/save_map", Trigger.Request())

    def fail_with_the_first(path, *arguments):
        if path.stem.endswith("_0"):
            raise InputError(f"{path}: No space left on device")
        write_ply(path, *arguments)

    with monkeypatch.context() as broken:
        broken.setattr("dvlt_ros.mapping.map_files.write_ply", fail_with_the_first)
        answer = save()
    assert not answer.success
    newest = Path(answer.message.rpartition(" ")[2])
    assert answer.message.startswith(f"not saved: {tmp_path}")
    assert "No space left on device; the newest map is saved" in answer.message
    assert set(tmp_path.glob("map_*")) == {newest.with_suffix(f".{end}") for end in ("ply", "pcd", "txt", PLACES)}
    assert save().success
    (ended,) = tmp_path.glob("map_*_0.ply")
    written_ns = ended.stat().st_mtime_ns
    assert save().success
    assert (list(tmp_path.glob("map_*_0.ply")), ended.stat().st_mtime_ns) == ([ended], written_ns)
    ended.unlink()
    assert save().success
    assert len(list(tmp_path.glob("map_*_0.ply"))) == 1  # whoever deletes it gets it again
    assert f"_1.{PLACES}: " in robot.call(Trigger, "dvlt/load_map", Trigger.Request()).message


def test_what_cannot_be_loaded_is_refused_and_the_running_map_stays(make_returning, tmp_path):
    robot = make_returning(maps_directory=str(tmp_path / "maps"))
    outside = tmp_path / "outside.places.safetensors"

    def refusal(name=""):
        assert robot.set(maps_file=name)[0].successful
        answer = robot.call(Trigger, "dvlt/load_map", Trigger.Request())
        assert not answer.success
        return answer.message

    assert "unconfigured" in refusal()
    robot.start()
    assert "no map to load" in refusal()
    go(robot, range(1, 8))
    saved = Path(robot.call(Trigger, "dvlt/save_map", Trigger.Request()).message)
    data = saved.with_suffix(".places.safetensors").read_bytes()
    outside.write_bytes(data)
    (saved.parent / "link.places.safetensors").symlink_to(outside)
    (saved.parent / "short.places.safetensors").write_bytes(data[:-1])
    for name in ("../outside", str(outside), "link"):
        assert "is not in the map directory" in refusal(name)
    assert "nowhere.places.safetensors: cannot be read" in refusal("nowhere")
    assert "not a whole map" in refusal("short")
    robot.show(stamp_ns=8 * FRAME_NS, size=SIZE)
    robot.until(lambda: 8 * FRAME_NS in robot.stamps("pose"), "the next frame")
    status = robot.status()
    assert (status["map_id"], status["relocalized"]) == ("0", "no saved map")
    assert robot.set(maps_file=saved.name)[0].successful
    assert robot.call(Trigger, "dvlt/load_map", Trigger.Request()).success
    robot.until(lambda: robot.status()["relocalized"].startswith("no: "), "the saved map")


def test_loops_can_be_switched_off(make_returning):
    robot = make_returning(loops_mode="never")
    robot.start()
    go(robot, range(1, 8))
    status = robot.status()
    assert status["loops"] == "off: loops.mode: never"
    assert "places" not in status
    refused = robot.call(Trigger, "dvlt/load_map", Trigger.Request())
    assert not refused.success
    assert refused.message == "not loaded: no loops are closed: loops.mode: never"
    assert robot.predictor.joint_windows == 0


def test_without_gtsam_the_node_does_not_start_if_loops_must_be_closed(make_returning, monkeypatch, capfd):
    library.cache_clear()
    monkeypatch.setitem(sys.modules, "gtsam", None)
    robot = make_returning()
    assert not robot.change(Transition.TRANSITION_CONFIGURE)
    assert "pip install 'gtsam>=4.3,<5'" in capfd.readouterr().err
    automatic = make_returning(loops_mode="auto", namespace="/automatic")
    assert automatic.change(Transition.TRANSITION_CONFIGURE)
    assert "GTSAM" in automatic.status()["loops"]
    library.cache_clear()


def test_while_a_map_is_read_frames_come_out_and_a_node_that_is_cleaned_up_does_not_load_it(
    make_returning, monkeypatch, tmp_path
):
    robot = make_returning(maps_directory=str(tmp_path))
    robot.start()
    go(robot, range(1, 8))
    assert robot.call(Trigger, "dvlt/save_map", Trigger.Request()).success
    reader = Held(read_saved_map)
    monkeypatch.setattr("dvlt_ros.mapping.map_files.read_saved_map", reader)
    loading = robot.ask(Trigger, "dvlt/load_map", Trigger.Request())
    robot.until(lambda: reader.calls == 1, "the reader")
    go(robot, range(8, 11))
    for transition in (Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_CLEANUP):
        assert robot.change(transition)
    reader.let_go()
    robot.until(loading.done, "the answer")
    assert not loading.result().success
    assert loading.result().message == "not loaded: the node is unconfigured meanwhile"


def test_what_is_asked_for_just_before_the_node_is_deactivated_is_done(make_returning, tmp_path):
    robot = make_returning(maps_directory=str(tmp_path))
    robot.start()
    go(robot, range(1, 8))
    assert robot.call(Trigger, "dvlt/save_map", Trigger.Request()).success
    robot.predictor.predict = window = Held(robot.predictor.predict)
    robot.show(stamp_ns=8 * FRAME_NS, size=SIZE)
    robot.until(lambda: window.calls == 1, "a window that takes long")
    worker, asked = robot.node._stream.mapping, []
    for service in ("reset", "load_map"):
        asked.append(robot.ask(Trigger, f"dvlt/{service}", Trigger.Request()))
        robot.until(lambda: len(worker._waiting) == len(asked), "the request, which waits for the end of the window")
    request = ChangeState.Request()
    request.transition.id = Transition.TRANSITION_DEACTIVATE
    ending = robot.ask(ChangeState, "dvlt/change_state", request)
    robot.until(lambda: worker._stopping, "the end of the worker")
    assert not any(answer.done() for answer in asked)  # before it is done nobody says so
    window.let_go()
    robot.until(lambda: ending.done() and all(answer.done() for answer in asked), "the answers")
    assert all(answer.result().success for answer in asked), [answer.result().message for answer in asked]
    loops = robot.parts.mapper.loops
    (loaded,) = [map_ for map_ in robot.parts.mapper.snapshots() if map_.map_id == loops.graph.saved_id]
    assert loops.detector.stored_submaps().keys() == loaded.map_from_visual.keys()  # no other place is remembered
