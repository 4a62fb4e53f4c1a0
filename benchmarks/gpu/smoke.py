"""Does every path of the GPU work? Small shapes, a line per check; exit status 1 if one fails.

    python -m benchmarks.gpu.smoke
    python -m benchmarks.gpu.smoke --device cpu     # what a CPU can tell

Agreement is relative L2 to the plain network in float32 on the same device, of depth.
"""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Callable

import torch
from torch import Tensor

from dvlt_ros.benchmark import machine
from dvlt_ros.fast import FastDvlt
from dvlt_ros.fast.kernels import can_build
from dvlt_ros.model import Dvlt
from dvlt_ros.runtimes.graphs import demo_pictures

WIDTH, HEIGHT = 168, 126
BOUND = 2e-2  # of reduced precision; float32 is held to 1e-3 of it
K = 8  # 2 on a CPU, which may only emulate bfloat16


class Checks:
    """The networks and pictures of all checks."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.model = Dvlt.from_pretrained().to(device)
        self.steps = K if device.type == "cuda" else 2
        self.images = demo_pictures(6 if device.type == "cuda" else 2, WIDTH, HEIGHT).to(device)
        self.expected = self.model(self.images, self.steps).depth

    def all(self) -> dict[str, Callable[[], str]]:
        """By name; each returns what it measured, and raises AssertionError or any other error."""
        found = {
            "fast path in float32": lambda: self._agrees(FastDvlt(self.model, "float32"), 1e-3 * BOUND),
            "fast path in bfloat16": lambda: self._agrees(FastDvlt(self.model, "bfloat16"), BOUND),
            "plain network under bfloat16 autocast": self._autocast,
            "stream: kept features, chosen views": self._stream,
        }
        if self.device.type == "cuda":
            found |= {
                "step replayed from a CUDA graph": self._graph,
                "kernels compiled by Triton": self._triton,
                "memory after 50 windows": self._memory,
            }
        return found

    def _error(self, depth: Tensor) -> float:
        return float(torch.linalg.vector_norm(depth - self.expected) / torch.linalg.vector_norm(self.expected))

    def _agrees(self, fast: FastDvlt, bound: float) -> str:
        error = self._error(fast(self.images, self.steps).depth)
        assert error <= bound, f"depth is {error:.1e} off, {bound:.0e} is allowed"
        return f"depth {error:.1e} off"

    def _autocast(self) -> str:
        with torch.autocast(self.device.type, torch.bfloat16):
            error = self._error(self.model(self.images, self.steps).depth)
        assert error <= BOUND, f"depth is {error:.1e} off, {BOUND:.0e} is allowed"
        return f"depth {error:.1e} off"

    def _stream(self) -> str:
        fast = FastDvlt(self.model, "float32")
        parts = [fast.encode(self.images[:, i : i + 1]) for i in range(self.images.shape[1])]
        state = fast.run(fast.begin(parts[0].concatenate(parts)), self.steps)
        last = fast.decode(state, views=[state.num_views - 1]).depth
        error = float((last - self.expected[:, -1:]).abs().max() / self.expected.max())
        assert error <= 1e-3, f"depth is {error:.1e} off"
        return f"depth {error:.1e} off"

    def _graph(self) -> str:
        fast = FastDvlt(self.model, "bfloat16")
        state = fast.begin(fast.encode(self.images))
        eager, replayed = fast.run(state, self.steps), [fast.run(state, self.steps) for _ in range(3)][-1]
        difference = float((eager.tokens - replayed.tokens).abs().max())
        assert difference == 0.0, f"the replay differs by {difference:.1e}"
        other = fast.run(state, 4)
        assert not torch.equal(other.tokens, replayed.tokens), "K has no effect on the replay"
        return "the same as without"

    def _triton(self) -> str:
        assert can_build(), "no compiler or no headers of Python: kernels stay separate"
        return "they compile"

    def _memory(self) -> str:
        fast = FastDvlt(self.model, "bfloat16")
        for _ in range(3):
            fast(self.images, self.steps)
        before = torch.cuda.memory_reserved(self.device)
        for _ in range(50):
            fast(self.images, self.steps)
        grown = torch.cuda.memory_reserved(self.device) - before
        assert grown == 0, f"{grown / 2**20:.1f} MiB more than after 3"
        return f"{before / 2**20:.0f} MiB reserved, not more than after 3"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    device = torch.device(parser.parse_args().device)
    print(machine(device), flush=True)
    failed = 0
    with torch.inference_mode():
        for name, check in Checks(device).all().items():
            try:
                print(f"ok      {name}: {check()}", flush=True)
            except Exception as error:
                failed += 1
                print(f"FAILED  {name}: {type(error).__name__}: {error}", flush=True)
                if not isinstance(error, AssertionError):
                    traceback.print_exc()
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
