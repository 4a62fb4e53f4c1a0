"""Linear layers whose weights are packed once in the format that the processor multiplies fastest."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import ConfigError

Precision = Literal["float32", "bfloat16", "int8"]
Linear = Callable[[Tensor], Tensor]

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
    return PlainLinear(weight, bias, activation_dtype(precision))


class PlainLinear:
    """A layer in the type of its packed weights."""

    def __init__(self, weight: Tensor, bias: Tensor | None, dtype: torch.dtype) -> None:
        self.weight = weight.to(dtype)
        self.bias = None if bias is None else bias.to(dtype)

    def __call__(self, x: Tensor) -> Tensor:
        return F.linear(x.to(self.weight.dtype), self.weight, self.bias)


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
