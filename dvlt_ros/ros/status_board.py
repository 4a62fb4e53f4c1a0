"""What the threads of a stream last said of themselves: each posts its news, the status reads them."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from ..health import Health, worst


@dataclass(frozen=True)
class Notice:
    health: Health
    values: Mapping[str, str] = field(default_factory=dict)  # by status key
    posted_ns: int = field(default_factory=time.monotonic_ns)


class StatusBoard:
    """The latest notice of each component and source. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._notices: dict[str, dict[str, Notice]] = {}

    def post(self, component: str, health: Health, values: Mapping[str, str] | None = None, source: str = "") -> None:
        """Replaces the earlier notice; ``source`` tells several of one component apart, several cameras for example."""
        with self._lock:
            self._notices.setdefault(component, {})[source] = Notice(health, values or {})

    def read(self) -> dict[str, Notice]:
        """By component: the worst health of its sources, their values together, and the time of the newest notice."""
        with self._lock:
            posted = {component: list(sources.values()) for component, sources in self._notices.items()}
        return {component: joined(notices) for component, notices in posted.items()}


def joined(notices: list[Notice]) -> Notice:
    values = {key: value for notice in notices for key, value in notice.values.items()}
    return Notice(worst(n.health for n in notices), values, max(n.posted_ns for n in notices))
