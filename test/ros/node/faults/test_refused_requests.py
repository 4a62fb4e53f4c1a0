"""A request that is refused changes nothing: state compared before and after, for every parameter and service."""

from __future__ import annotations

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not here; `make venv` brings it, `make test` runs this")

from lifecycle_msgs.msg import Transition
from rcl_interfaces.srv import SetParametersAtomically
from rclpy.parameter import Parameter
from std_srvs.srv import SetBool, Trigger

from dvlt_ros.mapping.map_files import PLACES
from dvlt_ros.parameters import choices_of, held, parameters_of
from dvlt_ros.ros.config import Settings

FRAMES = 3


def refused_values(kind, field):
    """Values that a parameter cannot have."""
    if choices_of(held(kind)[field.name]):
        return ["nonsense", 17]
    if isinstance(field.default, bool):
        return ["nonsense", 2]
    if isinstance(field.default, int | float):
        low, high = field.metadata["low"], field.metadata["high"]
        number = type(field.default)
        return ["nonsense", *([number(low - 1), number(high + 1)] if low is not None else [])]
    return [17, True]


def another_value(kind, field):
    """A value that the parameter could have before the node is configured."""
    if choices := choices_of(held(kind)[field.name]):
        return next(choice for choice in choices if choice != field.default)
    if isinstance(field.default, bool):
        return not field.default
    if isinstance(field.default, int | float):
        low, high = field.metadata["low"], field.metadata["high"]
        return next(number for number in (low, high, field.default + 1) if number not in (None, field.default))
    return "other" if isinstance(field.default, str) else ["other", "another"]


def state(robot):
    """All that a request could change."""
    node, mapper = robot.node, robot.parts.mapper
    parameters = {name: node.get_parameter(name).value for name, _, _ in parameters_of(Settings)}
    maps = [
        (m.map_id, m.cloud.points.tobytes(), m.stamps_ns.tobytes(), m.map_from_cam.tobytes())
        for m in mapper.snapshots()
    ]
    return (
        node._label, node._settings.current, parameters, node._stream.paused, maps, mapper.config,
        mapper.counters.read(), len(mapper.loops.detector.stored_submaps()), mapper._front_end.map_id,
    )  # fmt: skip


@pytest.fixture
def robot(make_robot, tmp_path):
    pytest.importorskip("gtsam", reason="GTSAM is not here; `pip install 'dvlt_ros[loops]'` runs this")
    robot = make_robot(maps_directory=str(tmp_path / "maps"))
    robot.start()
    robot.show_and_wait(FRAMES)
    robot.until(lambda: len(robot.parts.mapper.snapshot().stamps_ns) == FRAMES, "the map")
    return robot


def test_no_refused_parameter_changes_anything(robot):
    before = state(robot)
    for name, kind, field in parameters_of(Settings):
        values = refused_values(kind, field)
        if not field.metadata["live"]:
            values.append(another_value(kind, field))
        for value in values:
            (result,) = robot.set(**{name: value})
            if value == robot.node.get_parameter(name).value:
                continue
            assert not result.successful, (name, value)
            assert result.reason, (name, value)
    assert state(robot) == before
    robot.show_and_wait(1)


def test_one_refused_parameter_among_good_ones_refuses_all(robot):
    before = state(robot)
    values = {"confidence.min": 2.0, "keyframes.min_change": 0.1, "budget.latency_ms": -1.0}
    request = SetParametersAtomically.Request()
    request.parameters = [Parameter(name, value=value).to_parameter_msg() for name, value in values.items()]
    result = robot.call(SetParametersAtomically, "dvlt/set_parameters_atomically", request).result
    assert not result.successful
    assert result.reason
    assert state(robot) == before


@pytest.mark.parametrize("content", ["nothing", "damaged", "a folder", "a link out"])
def test_no_refused_map_changes_anything(robot, content, tmp_path):
    folder = tmp_path / "maps"
    if content != "nothing":
        folder.mkdir()
        path = folder / f"map_1{PLACES}"
        if content == "damaged":
            path.write_bytes(b"\x10" + bytes(40))
        elif content == "a folder":
            path.mkdir()
        else:
            (tmp_path / "secret").write_bytes(b"secret")
            path.symlink_to(tmp_path / "secret")
    before = state(robot)
    answer = robot.call(Trigger, "dvlt/load_map", Trigger.Request())
    assert not answer.success
    assert answer.message.startswith("not loaded: ")
    assert state(robot) == before
    robot.show_and_wait(1)
    saved = robot.call(Trigger, "dvlt/save_map", Trigger.Request())
    assert saved.success, saved.message  # the map that grew is there


def test_a_map_that_cannot_be_saved_stays(robot, tmp_path):
    (tmp_path / "maps").write_text("a file")
    before = state(robot)
    answer = robot.call(Trigger, "dvlt/save_map", Trigger.Request())
    assert not answer.success
    assert "not saved: map directory" in answer.message
    assert state(robot) == before


def test_services_of_a_node_that_does_not_run_change_nothing(robot):
    assert robot.change(Transition.TRANSITION_DEACTIVATE)
    maps = [m.stamps_ns.tolist() for m in robot.parts.mapper.snapshots()]
    for kind, name, request in (
        (Trigger, "reset", Trigger.Request()),
        (SetBool, "pause", SetBool.Request(data=True)),
        (Trigger, "load_map", Trigger.Request()),
    ):
        answer = robot.call(kind, f"dvlt/{name}", request)
        assert not answer.success, name
        assert answer.message, name
    assert robot.node._label == "inactive"
    assert [m.stamps_ns.tolist() for m in robot.parts.mapper.snapshots()] == maps
