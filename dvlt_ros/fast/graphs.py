"""One step of the loop as a CUDA graph for every shape, replayed K times."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from ..model import Step

REMEMBERED_SHAPES = 16
T = TypeVar("T")  # the tables of a size


class StepGraphs(Generic[T]):
    """A shape's first window runs without a graph and warms the kernels up, its second captures one.

    All graphs share one pool of memory: nothing that a graph has made is needed after its replay but the tokens,
    and those lie outside.
    """

    def __init__(self, apply: Callable[[Tensor, T, Step], Tensor]) -> None:
        self._apply = apply
        self._seen: set[tuple[object, ...]] = set()
        self._graphs: dict[tuple[object, ...], StepGraph[T]] = {}
        self._pool: Any = None

    def run(self, tokens: Tensor, grid: tuple[int, int], tables: T, steps: Sequence[Step]) -> Tensor:
        """tokens (B, S, P, C) through all steps; ``tables`` depend on the grid alone."""
        key = (*tokens.shape, grid)
        if key not in self._seen:
            for step in steps:
                tokens = self._apply(tokens, tables, step)
            self._seen.add(key)
            return tokens
        if key not in self._graphs:
            if len(self._graphs) >= REMEMBERED_SHAPES:
                del self._graphs[next(iter(self._graphs))]
            if self._pool is None:
                self._pool = torch.cuda.graph_pool_handle()
            self._graphs[key] = StepGraph(self._apply, tokens, tables, steps[0], self._pool)
        return self._graphs[key].run(tokens, steps)

    def clear(self) -> None:
        self._seen.clear()
        self._graphs.clear()
        self._pool = None


class StepGraph(Generic[T]):
    """Reads and writes its own copy of the tokens; the scales are copied in before every replay, so K is free."""

    def __init__(
        self,
        apply: Callable[[Tensor, T, Step], Tensor],
        tokens: Tensor,
        tables: T,
        step: Step,
        pool: Any,  # what torch.cuda.graph_pool_handle gives
    ) -> None:
        self._tables = tables  # the graph reads their memory
        self._tokens = tokens.clone()
        self._step = Step(step.block, _copied(step.frame_scales), _copied(step.global_scales))
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph, pool=pool):
            self._tokens.copy_(apply(self._tokens, tables, self._step))

    def run(self, tokens: Tensor, steps: Sequence[Step]) -> Tensor:
        self._tokens.copy_(tokens)
        for step in steps:
            _copy(step.frame_scales, self._step.frame_scales)
            _copy(step.global_scales, self._step.global_scales)
            self._graph.replay()
        return self._tokens.clone()


def _copied(scales: Tensor | None) -> Tensor | None:
    return None if scales is None else scales.clone()


def _copy(scales: Tensor | None, into: Tensor | None) -> None:
    if scales is not None and into is not None:
        into.copy_(scales)
