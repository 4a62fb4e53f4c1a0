"""Attention by the machine's fastest kernel for each shape."""

from __future__ import annotations

import warnings
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

BACKENDS = (SDPBackend.FLASH_ATTENTION, SDPBackend.CUDNN_ATTENTION, SDPBackend.EFFICIENT_ATTENTION)
SMALL = 128  # tokens up to which two batched products are faster on a CPU than flash attention (0.21 and 0.30 ms)
TRIALS = 5


class Attention:
    """q (B, heads, N, D), already scaled, k and v (B, heads, M, D) -> (B, heads, N, D).

    On a GPU the first call for a kind of shape measures all backends; CUDA graphs are captured after that call.
    """

    def __init__(self) -> None:
        self.backends: dict[tuple[object, ...], SDPBackend] = {}

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        if q.is_cuda:
            with sdpa_kernel(self._backend(q, k, v)):
                return F.scaled_dot_product_attention(q, k, v, scale=1.0)
        if q.shape[-2] <= SMALL:
            return torch.softmax(q @ k.transpose(-2, -1), dim=-1) @ v
        return F.scaled_dot_product_attention(q, k, v, scale=1.0)

    def _backend(self, q: Tensor, k: Tensor, v: Tensor) -> SDPBackend:
        batch, heads, num_queries, dim = q.shape
        sizes = (n.bit_length() for n in (batch, num_queries, k.shape[-2]))  # similar sizes share a backend
        key = (q.dtype, heads, dim, *sizes)
        if key not in self.backends:
            with torch.cuda.device(q.device):  # events belong to the current device
                times = {backend: _time_ms(backend, q, k, v) for backend in BACKENDS}
            best = min(times, key=lambda backend: times[backend])
            self.backends[key] = best if times[best] < float("inf") else SDPBackend.MATH
        return self.backends[key]


def _time_ms(backend: SDPBackend, q: Tensor, k: Tensor, v: Tensor) -> float:
    """Infinite if the backend does not support these tensors."""
    run = partial(F.scaled_dot_product_attention, q, k, v, scale=1.0)
    with warnings.catch_warnings(), sdpa_kernel(backend):
        warnings.simplefilter("ignore")  # each backend says why it refuses
        try:
            run()
        except torch.OutOfMemoryError:
            raise
        except RuntimeError:
            return float("inf")
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for _ in range(TRIALS):
            run()
        end.record()
        end.synchronize()
        return start.elapsed_time(end)
