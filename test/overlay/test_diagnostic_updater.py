"""Diagnostics: how statuses merge, and what arrives on /diagnostics."""

from __future__ import annotations

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not here; `make venv` brings it, `make test` runs this")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from diagnostic_updater import DiagnosticStatusWrapper, FunctionDiagnosticTask, Updater

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR


@pytest.mark.parametrize(("first", "second", "merged"), [
    ((OK, "fine"), (OK, "good"), (OK, "fine; good")),
    ((OK, "fine"), (WARN, "slow"), (WARN, "slow")),
    ((WARN, "slow"), (OK, "fine"), (WARN, "slow")),
    ((WARN, "slow"), (ERROR, "blind"), (ERROR, "slow; blind")),
    ((OK, ""), (OK, "good"), (OK, "good")),
])  # fmt: skip
def test_merging(first, second, merged):
    status = DiagnosticStatusWrapper()
    status.summary(*first)
    status.mergeSummary(*second)
    assert (status.level, status.message) == merged
    again = DiagnosticStatusWrapper()
    again.summary(*first)
    again.mergeSummary(DiagnosticStatus(level=second[0], message=second[1]))
    assert (again.level, again.message) == merged


def test_published_statuses(make_node, spin_until):
    robot, watcher = make_node("robot"), make_node("watcher")
    received = []
    watcher.create_subscription(DiagnosticArray, "/diagnostics", lambda array: received.extend(array.status), 10)
    updater = Updater(robot, period=0.05)
    updater.setHardwareID("camera 7")

    def latency(status):
        status.summary(WARN, "late")
        status.add("latency_ms", "250")
        return status

    updater.add("latency", latency)
    updater.add(FunctionDiagnosticTask("mapping", lambda status: status))

    def last(name, message):
        return next((s for s in reversed(received) if s.name == f"robot: {name}" and s.message == message), None)

    spin_until(lambda: bool(last("latency", "late") and last("mapping", "No message was set")), robot, watcher)
    status = last("latency", "late")
    assert (status.level, status.hardware_id) == (WARN, "camera 7")
    assert [(pair.key, pair.value) for pair in status.values] == [("latency_ms", "250")]
    assert last("mapping", "No message was set").level == ERROR

    assert updater.removeByName("mapping")
    assert not updater.removeByName("mapping")
    updater.broadcast(ERROR, "shutting down")
    spin_until(lambda: last("latency", "shutting down") is not None, robot, watcher)


def test_period_is_a_parameter(make_node):
    robot = make_node("robot")
    updater = Updater(robot, period=2.5)
    assert robot.get_parameter("diagnostic_updater.period").value == updater.period == 2.5
