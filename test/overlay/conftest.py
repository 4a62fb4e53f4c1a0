"""Nodes, and ways to wait on events instead of on time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

LIMIT_S = 60.0  # far beyond what is ever needed: only a failure reaches it


@pytest.fixture
def make_node(ros: Any) -> Iterator[Callable[..., Any]]:
    nodes = []

    def make(name: str, **options: Any) -> Any:
        nodes.append(ros.create_node(name, **options))
        return nodes[-1]

    yield make
    for node in nodes:
        node.destroy_node()


@pytest.fixture
def spin_until(ros: Any) -> Callable[..., None]:
    """Lets nodes work until a condition holds."""

    def spin(condition: Callable[[], bool], *nodes: Any) -> None:
        executor = ros.executors.SingleThreadedExecutor()
        for node in nodes:
            executor.add_node(node)
        deadline_s = time.monotonic() + LIMIT_S
        while not condition():
            assert time.monotonic() < deadline_s, "the awaited event did not come"
            executor.spin_once(timeout_sec=0.05)
        for node in nodes:
            executor.remove_node(node)

    return spin
