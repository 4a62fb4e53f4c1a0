"""Which precision a processor multiplies fastest in, measured in less than a second."""

from __future__ import annotations

import platform
import time
from dataclasses import dataclass

import torch

from ..errors import ConfigError
from .linear import Precision, check_precision, pack

TOKENS, CHANNELS = 512, 384  # of the products that are timed
REPEATS = 7
MIN_GAIN = 1.2  # a reduced precision must be so much faster
CPU = torch.device("cpu")
X86 = ("x86_64", "amd64")  # as `platform.machine` names it; other processors' int8 kernels have not been measured


@dataclass(frozen=True)
class Choice:
    """``reason`` says what was measured."""

    precision: Precision
    reason: str


def choose_precision() -> Choice:
    """The fastest precision of this CPU's matrix products.

    bfloat16 is tried where the processor has AMX or AVX512-BF16, since elsewhere it is emulated; int8 on x86, whose
    AVX2 is enough for it to be faster.
    """
    candidates = [p for p in reduced_precisions() if is_possible(p)]
    if not candidates:
        return Choice("float32", "this processor has neither AMX nor AVX512-BF16, and is no x86")
    usual_s = product_s("float32")
    gains = {precision: usual_s / product_s(precision) for precision in candidates}
    measured = ", ".join(f"{precision} is {gain:.1f} times as fast as float32" for precision, gain in gains.items())
    best = max(gains, key=lambda precision: gains[precision])
    return Choice(best if gains[best] >= MIN_GAIN else "float32", measured)


def reduced_precisions() -> list[Precision]:
    """Those that the processor may multiply faster in."""
    found: list[Precision] = []
    if has("_is_amx_tile_supported") or has("_is_avx512_bf16_supported"):
        found.append("bfloat16")
    if platform.machine().lower() in X86:
        found.append("int8")
    return found


def has(feature: str) -> bool:
    """Asks PyTorch, some versions of which do not know every feature."""
    function = getattr(torch.cpu, feature, None)
    return bool(function and function())


def is_possible(precision: Precision) -> bool:
    try:
        check_precision(precision, CPU)
    except ConfigError:  # a PyTorch without quantized tensors
        return False
    return True


def product_s(precision: Precision) -> float:
    """Least time of a linear layer as the network has them, so that other load has no say; after two first calls."""
    generator = torch.Generator().manual_seed(0)
    layer = pack(torch.randn(CHANNELS, CHANNELS, generator=generator), torch.zeros(CHANNELS), precision)
    x, times = torch.randn(TOKENS, CHANNELS, generator=generator), []
    with torch.inference_mode():
        for _ in range(2 + REPEATS):
            start_s = time.perf_counter()
            layer(x)
            times.append(time.perf_counter() - start_s)
    return min(times[2:])
