"""Repeated warnings, at a limited rate."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from typing import Any

from ..errors import DvltError

REPEAT_S = 5.0
MAX_KINDS = 100
NUMBERS = re.compile(r"\d+(\.\d+)?")


class Complaints:
    """Passes a sentence on, unless one that differs only in its numbers was passed on in the last 5 s."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._lock = threading.Lock()
        self._said: dict[str, tuple[float, int]] = {}  # by kind: time of the last one, and number held back since
        self.latest = ""

    def clear(self) -> None:
        """Forgets all earlier sentences."""
        with self._lock:
            self._said.clear()
            self.latest = ""

    def __call__(self, sentence: str) -> None:
        kind, now_s = NUMBERS.sub("#", sentence), time.monotonic()
        with self._lock:
            self.latest = sentence
            said_s, unsaid = self._said.get(kind, (-REPEAT_S, 0))
            if now_s - said_s < REPEAT_S:
                self._said[kind] = said_s, unsaid + 1
                return
            if len(self._said) >= MAX_KINDS:
                self._said.clear()
            self._said[kind] = now_s, 0
        self._say(f"{sentence} ({unsaid} more since the last message)" if unsaid else sentence)


class Guard:
    """Around callbacks: a message that nobody has thought of is counted and named, and the node goes on."""

    def __init__(self, topic: str, complain: Callable[[str], None]) -> None:
        self.refused = 0
        self.refusal = ""  # of the latest message that was refused
        self._topic, self._complain = topic, complain

    def __call__(self, callback: Callable[..., None], *arguments: Any) -> None:
        try:
            callback(*arguments)
        except Exception as error:
            self.refused += 1
            name = "" if isinstance(error, DvltError) else f"{type(error).__name__}: "
            self.refusal = f"{name}{error}"
            self._complain(f"{self._topic}: message {self.refused} refused: {self.refusal}")
