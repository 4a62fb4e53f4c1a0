"""Live view in Rerun, on a thread of its own: a slow viewer delays nothing."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable

from ...errors import DvltError
from ...export.rerun import SPAWN
from ...mapping.data.frames import Reconstruction
from ...viewing import StreamRecording

QUEUED_FRAMES = 8  # if the viewer falls further behind, the oldest are dropped
FLUSH_TIMEOUT_S = 2.0
ONCE_TIMEOUT_S = 20.0  # of a file or a spawned window, which is not opened again: a busy disk must not end it
RETRY_S = 10.0  # after a viewer went away
STOP_TIMEOUT_S = 2.0  # of a viewer; a file has longer, because it cannot be completed later


class LiveView:
    """Runs from construction to `stop`. While there is no viewer, its frames are dropped."""

    def __init__(self, target: str, warn: Callable[[str], object]) -> None:
        """``target`` is that of `RerunRecording`; ``warn`` gets a sentence when the viewer goes away or returns."""
        self._target, self._warn = target, warn
        self._frames: deque[tuple[Reconstruction, bool]] = deque(maxlen=QUEUED_FRAMES)
        self._changed = threading.Condition()
        self._stopping = False
        self._recording: StreamRecording | None = None
        self._next_try_s = 0.0
        self._is_gone = False
        self._is_once = target == SPAWN or target.endswith(
            ".rrd"
        )  # a user who closed the window does not want another one
        self._thread = threading.Thread(target=self._loop, name="dvlt live view", daemon=True)
        self._thread.start()

    def show(self, reconstruction: Reconstruction, is_metric: bool) -> None:
        """Never blocks."""
        with self._changed:
            self._frames.append((reconstruction, is_metric))
            self._changed.notify()

    def stop(self) -> None:
        """Shows the frames that wait. The thread of a viewer that does not answer ends later."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join(ONCE_TIMEOUT_S if self._target.endswith(".rrd") else STOP_TIMEOUT_S)

    def _loop(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopping or bool(self._frames))
                if not self._frames:
                    break
                reconstruction, is_metric = self._frames.popleft()
            if time.monotonic() >= self._next_try_s:
                self._log(reconstruction, is_metric)
        if self._recording is not None:
            self._recording.close()

    def _log(self, reconstruction: Reconstruction, is_metric: bool) -> None:
        try:
            if self._recording is None:
                self._recording = StreamRecording(self._target, is_metric)
            self._recording.add(reconstruction)
            self._recording.flush(ONCE_TIMEOUT_S if self._is_once else FLUSH_TIMEOUT_S)
        except (DvltError, RuntimeError, OSError) as error:
            self._give_up(error)
        else:
            if self._is_gone:
                self._warn(f"rerun: {self._target} is back")
            self._is_gone = False

    def _give_up(self, error: Exception) -> None:
        """Opens another recording later; the old one is closed on its own thread."""
        again = "" if self._is_once else f"; it is tried again every {RETRY_S:.0f} s"
        if not self._is_gone:
            self._warn(f"rerun: nothing is shown: {self._target}: {error}{again}")
        self._is_gone, self._next_try_s = True, math.inf if self._is_once else time.monotonic() + RETRY_S
        if self._recording is not None:
            threading.Thread(target=self._recording.close, name="dvlt live view, closing", daemon=True).start()
            self._recording = None
