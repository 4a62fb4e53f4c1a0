"""The thread: nothing blocks the sender, nothing is lost without being counted, no error ends it."""

from __future__ import annotations

import queue
import threading
import time

import numpy as np
import pytest
from configs import mapper_config

from dvlt_ros.alignment import IDENTITY
from dvlt_ros.mapping.data.corrections import Correction, stacked
from dvlt_ros.mapping.data.frames import Frame
from dvlt_ros.mapping.mapper import Mapper
from dvlt_ros.mapping.mapping_thread import MappingThread

LIMIT_S = 60.0  # only a failure reaches it


@pytest.fixture
def make_worker(make_predictor):
    workers = []

    def make(predictor=None, **changes):
        windows, errors = queue.Queue(), queue.Queue()
        mapper = Mapper(mapper_config(**changes), predictor or make_predictor())
        workers.append(MappingThread(mapper, windows.put, errors.put, errors.put))
        workers[-1].start()
        return workers[-1], windows, errors

    yield make
    for worker in workers:
        worker.stop()


def stamped_now(frame):
    return Frame(frame.stamp_ns, frame.frame_id, time.monotonic_ns(), frame.load)


def test_frames_come_back_in_order(make_worker, make_frame):
    worker, windows, _ = make_worker()
    seen = []
    for number in range(1, 30, 2):
        worker.offer(make_frame(number))
        worker.offer(make_frame(number + 1))
        seen += windows.get(timeout=LIMIT_S).frames
        while len(seen) < number + 1:
            seen += windows.get(timeout=LIMIT_S).frames
    stamps = [r.stamp_ns for r in seen]
    assert stamps == sorted(stamps)
    assert len(stamps) == 30


def test_a_lonely_frame_goes_after_its_wait(make_worker, make_frame):
    worker, windows, _ = make_worker(window_max_wait_s=0.05)
    worker.offer(stamped_now(make_frame(1)))
    assert len(windows.get(timeout=LIMIT_S).frames) == 1


def test_what_does_not_fit_is_dropped_and_counted_while_the_worker_is_busy(make_worker, make_frame, make_predictor):
    worker, windows, _ = make_worker(window_size=4, window_overlap=1)
    busy, go_on = threading.Event(), threading.Event()
    worker.request(lambda: (busy.set(), go_on.wait(LIMIT_S)))
    assert busy.wait(LIMIT_S)
    for number in range(1, 21):
        worker.offer(make_frame(number))
    counts = worker.mapper.counters.read()
    assert (counts.accepted, counts.dropped) == (16, 16)
    go_on.set()
    stamps = [r.stamp_ns // 100_000_000 for r in windows.get(timeout=LIMIT_S).frames]
    assert stamps[-1] <= 20
    worker.stop()
    counts = worker.mapper.counters.read()
    delivered = len(stamps) + sum(len(windows.get_nowait().frames) for _ in range(windows.qsize()))
    assert counts.accepted == 20 == counts.dropped + delivered


def test_an_unexpected_error_is_reported_and_the_next_frames_work(make_worker, make_frame):
    worker, windows, errors = make_worker()

    def fail():
        raise ZeroDivisionError("nobody thought of this")

    worker.offer(Frame(50_000_000, "cam", 0, fail))
    assert isinstance(errors.get(timeout=LIMIT_S), ZeroDivisionError)
    worker.offer(make_frame(1))
    worker.offer(make_frame(2))
    assert windows.get(timeout=LIMIT_S).frames


def test_requests_run_between_windows(make_worker, make_frame):
    worker, windows, _ = make_worker()
    for number in (1, 2):
        worker.offer(make_frame(number))
    first = windows.get(timeout=LIMIT_S)
    worker.request(lambda: worker.mapper.reset())
    for number in (3, 4):
        worker.offer(make_frame(number))
    while (window := windows.get(timeout=LIMIT_S)).map_id == first.map_id:
        pass
    assert window.window.registration.state == "first"


def test_frames_and_requests_keep_the_order_in_which_they_came(make_worker, make_frame, monkeypatch):
    worker, _, _ = make_worker()
    order = queue.Queue()

    def admit(frame):
        order.put(frame.stamp_ns)
        if frame.stamp_ns == make_frame(1).stamp_ns:  # while the worker takes frames in
            worker.offer(make_frame(2))
            worker.request(lambda: order.put("request"))
            worker.offer(make_frame(3))

    monkeypatch.setattr(worker.mapper, "admit", admit)
    worker.offer(make_frame(1))
    stamps = [make_frame(number).stamp_ns for number in (1, 2, 3)]
    assert [order.get(timeout=LIMIT_S) for _ in range(4)] == [*stamps[:2], "request", stamps[2]]


def test_a_request_that_waits_when_the_worker_stops_is_run_and_its_error_is_told(make_worker, make_frame):
    worker, _, errors = make_worker()
    busy, go_on, run = threading.Event(), threading.Event(), []

    def load():
        busy.set()
        assert go_on.wait(LIMIT_S)
        return make_frame(1).load()  # a window on its own: its wait is long over

    def fail():
        raise ZeroDivisionError("nobody thought of this")

    worker.offer(Frame(100_000_000, "cam", 0, load))
    assert busy.wait(LIMIT_S)
    first, failing, last = (worker.request(action) for action in (lambda: run.append(1), fail, lambda: run.append(2)))
    assert not first.done()
    stopping = threading.Thread(target=worker.stop)
    stopping.start()
    with worker._changed:
        assert worker._changed.wait_for(lambda: worker._stopping, LIMIT_S)
    go_on.set()
    stopping.join(LIMIT_S)
    assert run == [1, 2]
    assert (first.exception(timeout=0), last.exception(timeout=0)) == (None, None)
    assert isinstance(failing.exception(timeout=0), ZeroDivisionError)
    assert errors.empty()


def test_what_the_map_has_moved_by_at_the_end_is_delivered_when_the_worker_stops(make_worker, make_frame):
    worker, windows, errors = make_worker()
    worker.offer(make_frame(1))
    worker.offer(make_frame(2))
    windows.get(timeout=LIMIT_S)
    loop = Correction(0, np.array([0]), np.array([0]), stacked([IDENTITY]))
    worker.mapper._corrections = (loop,)
    worker.stop()
    assert windows.get_nowait().corrections == (loop,)
    assert errors.empty()


def test_a_last_adjustment_that_fails_is_told_and_the_worker_stops(make_worker, monkeypatch):
    worker, windows, errors = make_worker()
    monkeypatch.setattr(worker.mapper._closer, "adjust", lambda: 1 / 0)
    worker.stop()
    assert isinstance(errors.get_nowait(), ZeroDivisionError)
    assert windows.empty()
    monkeypatch.undo()
