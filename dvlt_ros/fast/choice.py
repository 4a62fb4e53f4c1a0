"""Which precision a processor is fastest in, measured in less than a second."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from functools import cache

import torch

from ..errors import ConfigError
from ..model.layers import Block
from .attention import Attention
from .block import FastBlock, Recipe
from .kernels import kernels_for
from .linear import Precision, check_precision, least_s, processor_has

VIEWS, TOKENS, CHANNELS, HEADS = 4, 112, 384, 6  # of the transformer block that is timed
REPEATS = 7
MIN_GAIN = 1.2  # a reduced precision must be so much faster than float32
MIN_GAIN_OF_INT8 = 1.5  # and int8 than bfloat16, which is five times as exact
CPU = torch.device("cpu")
X86 = ("x86_64", "amd64")  # as `platform.machine` names it; other processors' int8 kernels have not been measured


@dataclass(frozen=True)
class Choice:
    """``reason`` says what was measured."""

    precision: Precision
    reason: str


def choose_precision() -> Choice:
    """The precision in which a block of the network takes the least time on this CPU.

    bfloat16 is tried where the processor has AMX or AVX512-BF16, since elsewhere it is emulated; int8 on x86, whose
    AVX2 is enough for it to be faster.
    """
    candidates = [p for p in reduced_precisions() if is_possible(p)]
    if not candidates:
        return Choice("float32", "this processor has neither AMX nor AVX512-BF16, and is no x86")
    usual_s = block_s("float32")
    gains = {precision: usual_s / block_s(precision) for precision in candidates}
    measured = ", ".join(f"{precision} is {gain:.1f} times as fast as float32" for precision, gain in gains.items())
    chosen: Precision = "float32"
    gained = 1.0
    for precision, gain in gains.items():
        if gain >= gained * (MIN_GAIN if chosen == "float32" else MIN_GAIN_OF_INT8):
            chosen, gained = precision, gain
    return Choice(chosen, measured)


def reduced_precisions() -> list[Precision]:
    """Those that the processor may multiply faster in, the most exact one first."""
    found: list[Precision] = []
    if processor_has("_is_amx_tile_supported") or processor_has("_is_avx512_bf16_supported"):
        found.append("bfloat16")
    if platform.machine().lower() in X86:
        found.append("int8")
    return found


def is_possible(precision: Precision) -> bool:
    try:
        check_precision(precision, CPU)
    except ConfigError:  # a PyTorch without quantized tensors
        return False
    return True


@cache  # so that one process always chooses alike
def block_s(precision: Precision) -> float:
    """Least time of a block as the network has them, see `least_s`.

    A whole block, because what lies between the products is faster in bfloat16 and not in int8.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        plain = Block(CHANNELS, HEADS, qk_norm=False).requires_grad_(False)
        block = FastBlock(plain, Recipe(precision, kernels_for(CPU), Attention()))
        x = torch.randn(VIEWS, TOKENS, CHANNELS)
    with torch.inference_mode():
        return least_s([lambda: block(x, None, turns=False)], REPEATS)[0]
