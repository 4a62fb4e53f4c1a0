"""The thread that owns the mapper and the device: any thread offers frames, one receiver gets the map updates."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import TypeVar

from .data.frames import Frame
from .mapper import Mapper
from .maps.map_update import MapUpdate

T = TypeVar("T")


class MappingThread:
    """Frames wait undecoded for the next window; if there are too many, the oldest are dropped.

    Loops are closed between windows.
    """

    def __init__(
        self,
        mapper: Mapper,
        deliver: Callable[[MapUpdate], None],
        fail: Callable[[Exception], None],
        loop_failed: Callable[[Exception], None],
    ) -> None:
        """``deliver`` gets every update and integrates it; ``fail`` gets every unexpected error. Both are called on its
        thread, and once more on that of the caller of `stop`.

        ``loop_failed`` gets the error of a loop that could not be checked, or of keyframes that could not be adjusted;
        the stream goes on without.
        """
        self.mapper = mapper
        self._deliver = deliver
        self._fail = fail
        self._loop_failed = loop_failed
        self._changed = threading.Condition()
        self._waiting: deque[Frame | Callable[[], None]] = deque()  # frames and requests, as they came
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="dvlt mapping", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def offer(self, frame: Frame) -> None:
        """Never blocks. If there is no room, the oldest frame is dropped and counted."""
        with self._changed:
            self._waiting.append(frame)
            if len(frames := self._frames()) > self.mapper.config.window.size:
                self._waiting.remove(frames[0])
                self.mapper.counters.add(accepted=1, dropped=1)
            self._changed.notify()

    def request(self, action: Callable[[], T]) -> Future[T]:
        """Runs an action between two windows, by `stop` at the latest; the future has its result or its error."""
        done = Future[T]()

        def perform() -> None:
            try:
                result = action()
            except Exception as error:
                done.set_exception(error)
            else:
                done.set_result(result)

        with self._changed:
            self._waiting.append(perform)
            self._changed.notify()
        return done

    def stop(self) -> None:
        """Waits for the running window. Requests that still wait are run; frames that still wait count as dropped.

        The last corrections of the map are delivered, on the caller's thread.
        """
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join()
        for task in self._taken():
            if isinstance(task, Frame):
                self.mapper.counters.add(accepted=1, dropped=1)
            else:
                task()
        self._finish()
        self.mapper.end_stream()

    def _finish(self) -> None:
        update = None
        try:
            update = self.mapper.last_corrections()
        except Exception as error:
            self._loop_failed(error)
        try:
            if update is not None:
                self._deliver(update)
        except Exception as error:
            self._fail(error)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(self._has_work, timeout=self._until_flush_s())
                if self._stopping:
                    return
            try:
                self._work()
            except Exception as error:
                self._fail(error)

    def _work(self) -> None:
        for task in self._taken():
            if isinstance(task, Frame):
                self.mapper.admit(task)
            else:
                task()
        update = self.mapper.step(flush=self._until_flush_s() == 0.0)
        if update is None:
            return
        try:
            self._deliver(update)
        except Exception:
            self.mapper.counters.add(dropped=len(update.frames))
            raise
        try:
            self.mapper.close_loop(self._waited_ms())
        except Exception as error:
            self._loop_failed(error)

    def _waited_ms(self) -> float:
        with self._changed:
            received_ns = next((frame.received_ns for frame in self._frames()), None)
        return 0.0 if received_ns is None else (time.monotonic_ns() - received_ns) * 1e-6

    def _frames(self) -> list[Frame]:
        return [task for task in self._waiting if isinstance(task, Frame)]

    def _taken(self) -> Iterator[Frame | Callable[[], None]]:
        """All that wait, until nothing does: frames after requests that came before them, and the other way round."""
        while self._waiting:
            with self._changed:
                task = self._waiting.popleft()
            yield task

    def _has_work(self) -> bool:
        return self._stopping or bool(self._waiting)

    def _until_flush_s(self) -> float | None:
        deadline_ns = self.mapper.flush_at_ns()
        return None if deadline_ns is None else max(0.0, (deadline_ns - time.monotonic_ns()) * 1e-9)
