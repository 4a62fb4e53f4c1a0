"""Copies of modules that share weights but lack the layers that hold most of them."""

from __future__ import annotations

from copy import copy
from typing import TypeVar

from torch import nn

M = TypeVar("M", bound=nn.Module)


def without(module: M, *names: str) -> M:
    """A shallow copy that lacks some of its children."""
    copied = copy(module)
    copied._modules = {name: child for name, child in module._modules.items() if name not in names}
    return copied
