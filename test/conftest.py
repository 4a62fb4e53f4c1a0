"""Fixtures that several test files share."""

from __future__ import annotations

import fcntl
import functools
import gc
import json
import os
import signal
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# One thread per library, here and in every program that a test starts: small arrays, and tests run beside each other.
# Threads that wait for each other cost more than they save. Said before the libraries are imported.
os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OPENCV_FOR_THREADS_NUM"), "1")

import numpy as np
import pytest
import torch
from hypothesis import settings

from dvlt_ros.model import Dvlt, DvltConfig

torch.set_num_threads(1)

# The same examples every time, so that a failure belongs to the change; a busy machine is none.
# `pytest --hypothesis-profile=random` looks for new examples.
settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.register_profile("random", deadline=None)
settings.load_profile("repeatable")

PARITY = Path(__file__).parent / "data" / "parity"
FULL_PARITY = Path(__file__).resolve().parents[2] / "shared" / "parity"

DOMAINS: list[int] = []  # of rclpy, while it is initialized for the tests

TINY = {
    "embed_dim": 32,
    "num_heads": 2,
    "patch_embed": "vit14_reg",
    "encoder_depth": 2,
    "decoder_embed_dim": 32,
    "decoder_num_heads": 2,
    "decoder_depth": 1,
    "depth_head_channels": (16, 16, 16),
    "num_steps": 4,
    "min_steps": 2,
}


LONG = (
    "test_browser.py",
    "test_graphs.py",
    "test_train.py",
    "test_limits.py",
    "test_localization.py",
    "test_colcon.py",
)


@pytest.hookimpl(hookwrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Iterator[None]:
    """One process at a time imports a test file: what the first one compiles, the others find."""
    if not isinstance(collector, pytest.Module):
        yield
        return
    with collector.path.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first: processes that share the suite end at about the same time."""
    items.sort(key=lambda item: item.path.name not in LONG)


def pytest_collection_finish() -> None:
    """Nodes collect garbage when they are cleaned up: what thousands of tests consist of stays out of it."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def parity() -> Callable[[str], Any]:
    """Loads a file of reference numbers of the published implementation: .npz or .json.

    The full files where ../shared/parity stands beside the project, else the part of them in data/parity.
    """

    @functools.cache
    def load(name: str) -> Any:
        path = (FULL_PARITY if FULL_PARITY.is_dir() else PARITY) / name
        return json.loads(path.read_text()) if path.suffix == ".json" else np.load(path)

    return load


def seed_weights(model: torch.nn.Module) -> None:
    """The seeded weights of the reference numbers; also a network in which every parameter matters."""
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if name.endswith("freqs"):
                continue
            rng = np.random.default_rng([0, zlib.crc32(name.encode())])
            x = torch.from_numpy(rng.standard_normal(size=tuple(value.shape), dtype=np.float32))
            if name.endswith(".gamma"):
                x = 0.2 + 0.05 * x
            elif name.endswith(".bias"):
                x = 0.02 * x
            elif value.dim() == 1 and name.endswith(".weight"):
                x = 1 + 0.1 * x
            elif name.endswith(".weight"):
                x = x / (x.numel() / len(x)) ** 0.5
            else:
                x = 0.1 * x
            value.copy_(x)


@pytest.fixture(scope="session")
def make_model() -> Callable[..., Dvlt]:
    """Builds a model with seeded weights, in evaluation mode; a tiny one with fields changed by default."""

    def make(config: DvltConfig | None = None, **changes: Any) -> Dvlt:
        model = Dvlt(DvltConfig(**(TINY | changes)) if config is None else config).eval()
        seed_weights(model)
        return model

    return make


@pytest.fixture(scope="session")
def ros() -> Iterator[Any]:
    """rclpy in a ROS network of this test process alone."""
    rclpy = pytest.importorskip("rclpy", reason="ROS 2 is not here; `make venv` brings it, `make test` runs this")
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # a shell began the tests in the background
        signal.signal(signal.SIGINT, signal.default_int_handler)
    with own_domain() as domain_id, pytest.MonkeyPatch.context() as patch:
        patch.setattr(gc, "unfreeze", lambda: None)  # the node does it at its end, and would look at all tests again
        patch.setattr(gc, "freeze", lambda: None)
        rclpy.init(domain_id=domain_id)
        DOMAINS.append(domain_id)
        yield rclpy
        DOMAINS.clear()
        rclpy.try_shutdown()


@pytest.fixture(autouse=True)
def rclpy_goes_on() -> Iterator[None]:
    """A program that a test has run to its end leaves rclpy shut down; the next test needs it again."""
    yield
    if DOMAINS:
        import rclpy

        if not rclpy.ok():
            rclpy.try_shutdown()  # forgets the context that has ended
            rclpy.init(domain_id=DOMAINS[0])


@contextmanager
def own_domain() -> Iterator[int]:
    """A ROS domain that no other test process on this machine is in."""
    for domain_id in range(1, 101):
        with (Path(tempfile.gettempdir()) / f"dvlt_ros_test_domain_{domain_id}").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                continue
            yield domain_id
            return
    raise RuntimeError("a hundred other test processes are running")
