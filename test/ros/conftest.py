"""A ROS network of this test process alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture(scope="session")
def ros() -> Iterator[Any]:
    rclpy = pytest.importorskip("rclpy", reason="ROS 2 is not here; `make venv` brings it, `make test` runs this")
    rclpy.init(domain_id=1 + os.getpid() % 100)
    yield rclpy
    rclpy.try_shutdown()
