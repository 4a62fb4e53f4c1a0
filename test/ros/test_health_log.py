"""One line when a trouble begins, one when it ends, however often it is looked at."""

from __future__ import annotations

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not here; `make venv` brings it, `make test` runs this")

from dvlt_ros.health import Health, Level
from dvlt_ros.ros.lifecycle.health_log import CALM_S, HealthLog

SILENT = Health.error("no image on /image for 3 s: it has no publisher")


@pytest.fixture
def said():
    return []


@pytest.fixture
def log(said):
    return HealthLog({level: lambda text, level=level: said.append((level, text)) for level in Level})


def follow(log, seconds, **found):
    for now_s in seconds:
        log.follow(found, float(now_s))


def test_a_trouble_has_one_line_at_its_begin_and_one_at_its_end(log, said):
    follow(log, range(5), camera=Health.ok(), output=Health.ok())
    assert said == []
    follow(log, range(5, 25), camera=SILENT, output=Health.ok())
    assert said == [(Level.ERROR, "camera: no image on /image for 3 s: it has no publisher")]
    follow(log, range(25, 40), camera=Health.ok(), output=Health.ok())
    assert said[1:] == [(Level.OK, "camera: images arrive again, after 19 s")]


def test_what_comes_and_goes_is_one_trouble(log, said):
    for now_s in range(0, 60, 2):
        log.follow({"registration": Health.warn("worse")}, now_s)
        log.follow({"registration": Health.ok()}, now_s + 1)
    assert said == [(Level.WARN, "registration: worse")]
    follow(log, range(60, 70), registration=Health.ok())
    assert said[1:] == [(Level.OK, "registration: in order again, after 58 s")]


def test_what_gets_worse_is_said_once_more(log, said):
    for health in (Health.warn("a"), Health.warn("b"), Health.error("c"), Health.warn("d"), Health.error("e")):
        follow(log, [0], odometry=health)
    assert said == [(Level.WARN, "odometry: a"), (Level.ERROR, "odometry: c")]


def test_troubles_of_one_component_hide_none_of_another(log, said):
    follow(log, [0], camera=SILENT, scale=Health.warn("withheld"))
    assert [level for level, _ in said] == [Level.ERROR, Level.WARN]


def test_after_a_pause_of_the_node_it_is_said_anew(log, said):
    follow(log, [0], camera=SILENT)
    log.follow({}, 1.0)
    follow(log, [2, 2 + CALM_S], camera=Health.ok())
    assert len(said) == 1
    follow(log, [9], camera=SILENT)
    assert len(said) == 2


def test_frames_and_windows_speak_for_themselves(log, said):
    follow(log, [0], images=Health.warn("dark"), mapping=Health.error("failed"), publication=Health.error("failed"))
    assert said == []


def test_the_nodes_logger_takes_troubles_of_every_level(make_robot):
    """rclpy refuses a line of code that logs with two severities."""
    log = make_robot().node._health_log
    follow(log, range(3), camera=Health.warn("it is late"), output=Health.error("it is withheld"))
    follow(log, range(3, 30), camera=Health.ok(), output=Health.ok())
    follow(log, range(30, 33), camera=Health.error("it is dead"))
