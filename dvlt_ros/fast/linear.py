"""Linear layers whose weights are packed once in the format that the processor multiplies fastest."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import ConfigError

Precision = Literal["float32", "bfloat16", "int8"]
Linear = Callable[[Tensor], Tensor]

TRIED, TRIALS = 384, 5  # channels and tokens of the product that is timed, and how often it is
MIN_GAIN_OF_PACKING = 1.1

WEIGHT_STEPS = 127  # from 0 to a channel's largest weight
WEIGHT_STEPS_16_BIT = 63  # where the sum of two products is added in 16 bits, so that it cannot overflow: 2 * 255 * 63


def check_precision(precision: Precision, device: torch.device) -> Precision:
    """Returns it. Raises ConfigError: unknown, or the device cannot multiply in it."""
    if precision not in ("float32", "bfloat16", "int8"):
        raise ConfigError(f"precision must be float32, bfloat16 or int8, got {precision!r}")
    if precision == "int8" and device.type != "cpu":
        raise ConfigError(f"precision int8 is for the CPU, got device {device}")
    has_int8 = hasattr(torch, "_make_per_channel_quantized_tensor") and torch.backends.quantized.engine != "none"
    if precision == "int8" and not has_int8:
        raise ConfigError(f"precision int8 needs a PyTorch with quantized tensors, which {torch.__version__} has not")
    return precision


def pack(weight: Tensor, bias: Tensor | None, precision: Precision) -> Linear:
    """A layer (..., C) -> (..., C_out); bfloat16 has bfloat16 output, int8 has float32 input and output."""
    if precision == "int8":
        return Int8Linear(weight, bias)
    return plain(weight, bias, activation_dtype(precision))


def plain(weight: Tensor, bias: Tensor | None, dtype: torch.dtype) -> Linear:
    """A layer whose output has the type of its weights: as PyTorch multiplies, or by oneDNN where that is faster."""
    is_faster = weight.device.type == "cpu" and dtype == torch.float32 and is_packing_faster()
    return PackedLinear(weight, bias) if is_faster else PlainLinear(weight, bias, dtype)


class PlainLinear:
    """A layer as PyTorch multiplies."""

    def __init__(self, weight: Tensor, bias: Tensor | None, dtype: torch.dtype) -> None:
        self.weight = weight.to(dtype)
        self.bias = None if bias is None else bias.to(dtype)

    def __call__(self, x: Tensor) -> Tensor:
        return F.linear(x.to(self.weight.dtype), self.weight, self.bias)


class PackedLinear:
    """A layer in float32 whose weights oneDNN has laid out for this processor.

    PyTorch multiplies in float32 by MKL, which on AMD's processors leaves AVX-512 aside.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight.float().contiguous(), None)
        self.bias = None if bias is None else bias.float()

    @torch.no_grad()  # the operation has no gradient, and says so only when something changes its output
    def __call__(self, x: Tensor) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise(x.float(), self.weight, self.bias, "none", [], "")


def least_s(functions: Sequence[Callable[[], object]], trials: int) -> list[float]:
    """Least processor time of each, in turns, by one thread, so that other load has no say; after a first call.

    Threads that wait for one another count their waiting.
    """
    threads, least = torch.get_num_threads(), [math.inf] * len(functions)
    torch.set_num_threads(1)
    try:
        for trial in range(1 + trials):
            for i, function in enumerate(functions):
                start_s = time.thread_time()
                function()
                if trial:
                    least[i] = min(least[i], time.thread_time() - start_s)
    finally:
        torch.set_num_threads(threads)
    return least


@cache  # so that one process always computes alike
def is_packing_faster() -> bool:
    """Whether oneDNN's packed weights gain enough in float32. In bfloat16 PyTorch multiplies by oneDNN anyway."""
    if not (torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")):
        return False
    generator = torch.Generator().manual_seed(0)
    weight, x = (torch.randn(count, TRIED, generator=generator) for count in (4 * TRIED, TRIED))
    with torch.inference_mode():
        layers = PlainLinear(weight, None, torch.float32), PackedLinear(weight, None)
        plain_s, packed_s = least_s([partial(layer, x) for layer in layers], TRIALS)
    return plain_s > MIN_GAIN_OF_PACKING * packed_s


class Int8Linear:
    """Weights of 8 bits with a scale per output channel, of 7 bits on processors without VNNI; activations rounded to 8
    bits of their range in the call.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        steps = WEIGHT_STEPS if processor_has("_is_vnni_supported") else WEIGHT_STEPS_16_BIT
        scale = weight.abs().amax(dim=1).clamp_min(1e-12).double() / steps
        zero = torch.zeros(len(scale), dtype=torch.long)
        rounded = (weight / scale.float()[:, None]).round().clamp(-steps, steps).to(torch.int8)
        with warnings.catch_warnings(), quantized_engine():
            warnings.simplefilter("ignore")  # PyTorch will remove quantized tensors one day: see `check_precision`
            quantized = torch._make_per_channel_quantized_tensor(rounded, scale, zero, 0)
            self.packed = torch.ops.quantized.linear_prepack(quantized, bias)

    def __call__(self, x: Tensor) -> Tensor:
        return torch.ops.quantized.linear_dynamic(x, self.packed, False)


@contextmanager
def quantized_engine() -> Iterator[None]:
    """oneDNN if available: by measurement it is slightly faster than FBGEMM, with and without VNNI."""
    engine = torch.backends.quantized.engine
    if "onednn" in torch.backends.quantized.supported_engines:
        torch.backends.quantized.engine = "onednn"
    try:
        yield
    finally:
        torch.backends.quantized.engine = engine


def processor_has(feature: str) -> bool:
    """Asks ``torch.cpu``; versions of PyTorch that do not know a feature say no."""
    function = getattr(torch.cpu, feature, None)
    return bool(function and function())


def activation_dtype(precision: Precision) -> torch.dtype:
    """Of tensors between the layers."""
    return torch.bfloat16 if precision == "bfloat16" else torch.float32


def folded(layer: nn.Linear, gain: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Weight and bias of ``gain * layer(x)``."""
    weight, bias = layer.weight.detach(), layer.bias.detach()
    return (weight, bias) if gain is None else (gain[:, None] * weight, gain * bias)
