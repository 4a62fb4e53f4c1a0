"""Settings of the node's process as a whole."""

from __future__ import annotations

import contextlib
import ctypes
import os

import torch

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h


def settle_process() -> None:
    """Called once, before anything is loaded."""
    keep_freed_memory()
    leave_a_core()


def keep_freed_memory() -> None:
    """Keeps freed memory in the process: otherwise glibc returns it to the system, which costs 4 of 10 ms per frame."""
    with contextlib.suppress(OSError, AttributeError):  # another C library has no such setting
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_THRESHOLD, 32 << 20)
        libc.mallopt(M_TRIM_THRESHOLD, 256 << 20)


def leave_a_core() -> None:
    """Leaves one core to subscriptions and publishers, unless OMP_NUM_THREADS is set.

    PyTorch's threads wait for the slowest one: on two busy cores, two have a higher 99th percentile than one.
    """
    if not os.environ.get("OMP_NUM_THREADS"):
        torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) - 1))
