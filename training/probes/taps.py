"""Tokens of every layer of a network while it runs; what it computes stays bit for bit what it was.

    with Taps(network, patterns) as taps:
        network(images)
    taps.layers(views, grid)    # state before the first tapped module, then after every call of one

A module that is called several times, such as a looped block, gives a layer per call. So looped and stacked networks
stand side by side: the modules' forward hooks are all that is needed of a network.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from torch import Tensor, nn

from dvlt_ros.errors import ConfigError, InputError

# Names of the modules whose outputs are the tokens after one layer, a star for one part of a name, by model.
PATTERNS = {
    "dvlt": ("recurrent_blocks.*.frame_attn", "recurrent_blocks.*.global_attn"),
    "vggt": ("aggregator.frame_blocks.*", "aggregator.global_blocks.*"),
    "da3-base": ("backbone.pretrained.blocks.*",),
    "da3-large": ("backbone.pretrained.blocks.*",),
    "da3-giant": ("backbone.pretrained.blocks.*",),
}


@dataclass(frozen=True, eq=False)
class Layer:
    """Patch tokens (B, S, n, C) after one call of a module; the first layer is what the first module was given."""

    module: str  # name; empty: before the first
    call: int  # 0 for a module's first call
    tokens: Tensor


class Taps:
    """Watches the modules of these names while it is entered.

    Raises:
        ConfigError: a pattern that no module has.
    """

    def __init__(self, network: nn.Module, patterns: Sequence[str]) -> None:
        self._modules = {name: network.get_submodule(name) for p in patterns for name in _matching(network, p)}
        self._handles: list[Any] = []
        self._found: list[tuple[str, int, Tensor]] = []

    def __enter__(self) -> Taps:
        self._found.clear()
        calls = dict.fromkeys(self._modules, 0)

        def before(given: tuple[Any, ...]) -> None:
            if not self._found:
                self._found.append(("", 0, _tokens(given)))

        def after(name: str, output: Any) -> None:
            self._found.append((name, calls[name], _tokens(output)))
            calls[name] += 1

        for name, module in self._modules.items():
            self._handles += [
                module.register_forward_pre_hook(lambda _, given: before(given)),
                module.register_forward_hook(lambda _, given, output, name=name: after(name, output)),
            ]
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def layers(self, views: int, grid: tuple[int, int]) -> list[Layer]:
        """All layers in the order of the calls, of ``views`` views with a ``grid`` of patches each.

        Raises:
            InputError: no module was called, or tokens that cannot be those of so many patches.
        """
        if not self._found:
            raise InputError(f"none of the tapped modules was called: {', '.join(self._modules)}")
        return [Layer(name, call, patch_tokens(tokens, views, grid, name)) for name, call, tokens in self._found]


def patch_tokens(tokens: Tensor, views: int, grid: tuple[int, int], name: str = "") -> Tensor:
    """Tokens (B * S, P, C), (B, S * P, C) or (B, S, P, C) as patch tokens (B, S, n, C), which are each view's last.

    Raises:
        InputError: fewer tokens per view than patches, or a number that is no multiple of the views.
    """
    patches, channels = grid[0] * grid[1], tokens.shape[-1]
    flat = tokens.reshape(-1, channels)
    batch = tokens.shape[0] if tokens.dim() == 4 or tokens.shape[1] >= views * patches else tokens.shape[0] // views
    per_view = len(flat) // max(batch * views, 1)
    if batch < 1 or batch * views * per_view != len(flat) or per_view < patches:
        raise InputError(
            f"{name or 'input'}: {tuple(tokens.shape)} are not the tokens of {views} views of {grid} patches"
        )
    return flat.view(batch, views, per_view, channels)[:, :, per_view - patches :]


def _matching(network: nn.Module, pattern: str) -> list[str]:
    expression = re.compile(re.escape(pattern).replace(r"\*", r"[^.]+"))
    found = [name for name, _ in network.named_modules() if expression.fullmatch(name)]
    if not found:
        lists = [name for name, module in network.named_modules() if isinstance(module, nn.ModuleList)]
        there = ", ".join(lists) or "none"
        raise ConfigError(f"{type(network).__name__} has no module {pattern} to tap; its lists of modules: {there}")
    return found


def _tokens(value: Any) -> Tensor:
    """The first tensor, which is the tokens, of what a module was given or gave."""
    while isinstance(value, tuple | list) and value:
        value = value[0]
    if not isinstance(value, Tensor) or value.dim() not in (3, 4):
        raise InputError(f"a tapped module gives {type(value).__name__}, expected tokens (B, P, C)")
    return value.detach()
