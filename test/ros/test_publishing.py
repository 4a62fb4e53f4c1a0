"""The thread between worker and middleware: what falls behind is counted, and the map hears everything in its order."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not here; `make venv` brings it, `make test` runs this")

from room import FRAME_NS, INTRINSICS, SIZE, picture, pose, room_depth

from dvlt_ros.alignment import IDENTITY
from dvlt_ros.mapping.budget.plans import Plan
from dvlt_ros.mapping.data.corrections import Correction, stacked
from dvlt_ros.mapping.data.counters import Counters
from dvlt_ros.mapping.data.frames import Reconstruction, RegistrationReport
from dvlt_ros.mapping.front_end.window_result import WindowResult
from dvlt_ros.mapping.maps.map_update import MapUpdate
from dvlt_ros.model import PixelMapping
from dvlt_ros.ros.config import NodeConfig
from dvlt_ros.ros.outputs.publishing import QUEUED_WINDOWS, PublishingThread
from dvlt_ros.ros.status_board import StatusBoard

LOOP = Correction(0, np.array([0]), np.array([0]), stacked([IDENTITY]))


def window(number, corrections=(), age_ns=0):
    frame = Reconstruction(
        number * FRAME_NS, "cam", 0, 0, picture(0), room_depth(pose((0, 0, 0))), np.full(SIZE, 2.0, np.float32),
        INTRINSICS, pose((0, 0, 0)), PixelMapping(SIZE, SIZE, (1.0, 1.0), (0.0, 0.0)),
    )  # fmt: skip
    result = WindowResult((frame,), RegistrationReport("joined", 0.01), 0, Plan(2, 1.0, 1.0, True), 2, 28, 1.0, 1.0)
    result = replace(result, finished_ns=time.monotonic_ns() - age_ns)
    return MapUpdate(result, result, is_metric=False, is_placed=True, corrections=corrections)


@dataclass
class FakeMapper:
    """Writes down what it is told."""

    told: list = field(default_factory=list)
    is_broken: bool = False
    counters: Counters = field(default_factory=Counters)

    overhead_ms: float = 0.0

    def observe_overhead(self, overhead_ms):
        self.overhead_ms = overhead_ms

    def integrate(self, update):
        if update.corrections and self.is_broken:
            raise RuntimeError("it cannot be moved")
        self.told += ["loop" for _ in update.corrections] + [frame.stamp_ns // FRAME_NS for frame in update.frames]

    def snapshot(self):
        raise AssertionError("nobody has subscribed to the map")


@dataclass
class SlowOutputs:
    """Publishes nothing before it may."""

    began: threading.Event = field(default_factory=threading.Event)
    may_go_on: threading.Event = field(default_factory=threading.Event)

    def publish(self, reconstruction, placed, config):
        self.began.set()
        assert self.may_go_on.wait(60)

    def publish_map(self, *_):
        pass


@pytest.fixture
def publisher():
    outputs, mapper, errors, done = SlowOutputs(), FakeMapper(), [], threading.Semaphore(0)
    mapper.counters.add(accepted=QUEUED_WINDOWS + 2)
    board = StatusBoard()
    thread = PublishingThread(outputs, mapper, NodeConfig, lambda: 0.0, lambda: 0, errors.append, done.release, board)
    thread.errors, thread.done, thread.board = errors, done, board
    yield thread
    outputs.may_go_on.set()
    thread.stop()


def test_a_loop_of_a_window_that_is_lost_reaches_the_map_after_the_window_before_it(publisher):
    outputs, mapper = publisher._outputs, publisher._mapper
    counters = mapper.counters
    publisher.start()
    publisher.deliver(window(1))
    assert outputs.began.wait(60)
    publisher.deliver(window(2, corrections=(LOOP,)))
    for number in range(3, QUEUED_WINDOWS + 3):
        publisher.deliver(window(number))  # the last of them pushes the second one out
    assert counters.read().dropped == 1
    outputs.may_go_on.set()
    for _ in range(QUEUED_WINDOWS + 1):
        assert publisher.done.acquire(timeout=60)
    publisher.stop()
    assert mapper.told == [1, "loop", *range(3, QUEUED_WINDOWS + 3)]
    assert (counters.read().published, counters.read().in_flight) == (QUEUED_WINDOWS + 1, 0)


def test_a_map_that_cannot_be_moved_loses_no_frame(publisher):
    publisher._outputs.may_go_on.set()
    publisher._mapper.is_broken = True
    publisher.start()
    publisher.deliver(window(1, corrections=(LOOP,)))
    publisher.deliver(window(2))
    for _ in range(2):
        assert publisher.done.acquire(timeout=60)
    publisher.stop()
    assert [str(error) for error in publisher.errors] == ["it cannot be moved"]
    assert publisher._mapper.counters.read().published == 2
    assert publisher._mapper.told == [2]


def test_a_lost_window_whose_map_cannot_be_moved_takes_no_other_with_it(publisher):
    publisher._mapper.is_broken = True
    publisher.start()
    publisher.deliver(window(1))
    assert publisher._outputs.began.wait(60)
    publisher.deliver(window(2, corrections=(LOOP,)))
    for number in range(3, QUEUED_WINDOWS + 3):
        publisher.deliver(window(number))
    publisher._outputs.may_go_on.set()
    for _ in range(QUEUED_WINDOWS + 1):
        assert publisher.done.acquire(timeout=60)
    publisher.stop()
    assert [str(error) for error in publisher.errors] == ["it cannot be moved"]
    assert publisher._mapper.told == [1, *range(3, QUEUED_WINDOWS + 3)]


def test_placing_counts_as_the_nodes_own_time(publisher):
    publisher._outputs.may_go_on.set()
    publisher.start()
    publisher.deliver(window(1, age_ns=10**9))
    assert publisher.done.acquire(timeout=60)
    assert publisher._mapper.overhead_ms >= 1000
    assert float(publisher.board.read()["latency"].values["overhead_ms"]) == pytest.approx(
        publisher._mapper.overhead_ms, abs=1.0
    )
