"""A function that waits in its callers' threads until it may go on."""

from __future__ import annotations

import threading

LIMIT_S = 60.0  # only a failure reaches it


class Held:
    def __init__(self, function):
        self._function = function
        self._permits = threading.Semaphore(0)
        self.calls = 0

    def __call__(self, *arguments, **options):
        self.calls += 1
        assert self._permits.acquire(timeout=LIMIT_S), "nobody let it go on"
        return self._function(*arguments, **options)

    def let_go(self):
        """One call, that waits or will come."""
        self._permits.release()
