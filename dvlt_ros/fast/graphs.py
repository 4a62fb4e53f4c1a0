"""CUDA graphs: one step of the loop is captured per shape and replayed K times."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from ..model import State, Step

REMEMBERED_SHAPES = 16
T = TypeVar("T")  # the tables of a size
Apply = Callable[[Tensor, T, Step], Tensor]


class StepGraphs(Generic[T]):
    """The first window of a shape runs without a graph, since it may be the only one; the second one captures it.

    All graphs share one memory pool: only the tokens are needed after a replay, and they lie outside the pool.
    """

    def __init__(self, apply: Apply[T], device: torch.device) -> None:
        self._apply = apply
        self._device = device
        self._seen: set[tuple[object, ...]] = set()
        self._graphs: dict[tuple[object, ...], StepGraph[T]] = {}  # the most recently used one last
        self._place: Place | None = None

    def has_seen(self, state: State) -> bool:
        """Whether a window of this shape was asked for before."""
        has_seen = key_of(state) in self._seen
        self._seen.add(key_of(state))
        return has_seen

    def run(self, state: State, tables: T, steps: Sequence[Step]) -> State:
        """The state after all steps; ``tables`` depend on the grid only."""
        graph = self._graphs.pop(key_of(state), None) or self._captured(state.tokens, tables, steps[0])
        self._graphs[key_of(state)] = graph
        return State(graph.run(state.tokens, steps), state.grid)

    def clear(self) -> None:
        """Frees all graphs and their memory."""
        if self._graphs:
            torch.cuda.synchronize(self._device)  # a replay may be running
        self._seen.clear()
        self._graphs.clear()
        self._place = None

    def _captured(self, tokens: Tensor, tables: T, step: Step) -> StepGraph[T]:
        if len(self._graphs) >= REMEMBERED_SHAPES:
            torch.cuda.synchronize(self._device)
            del self._graphs[next(iter(self._graphs))]
        try:
            with torch.cuda.device(self._device):  # streams and captures belong to the current device
                if self._place is None:
                    self._place = Place(torch.cuda.Stream(), torch.cuda.graph_pool_handle())
                return StepGraph(self._apply, tokens, tables, step, self._place)
        except Exception:
            self.clear()  # PyTorch refuses a pool whose only graph has failed
            raise


def key_of(state: State) -> tuple[object, ...]:
    """Windows with the same key can share a graph."""
    return (*state.tokens.shape, state.grid)


@dataclass(frozen=True, eq=False)
class Place:
    """Stream and memory pool of the captures; graphs share memory only if both are the same."""

    stream: torch.cuda.Stream
    pool: Any  # of torch.cuda.graph_pool_handle


class StepGraph(Generic[T]):
    """Reads and writes its own copy of the tokens; scales are copied in before every replay, so K may vary."""

    def __init__(self, apply: Apply[T], tokens: Tensor, tables: T, step: Step, place: Place) -> None:
        self._tables = tables  # the graph reads their memory
        self._tokens = tokens.clone(memory_format=torch.contiguous_format)
        self._step = Step(step.block, _copied(step.frame_scales), _copied(step.global_scales))
        self._graph = captured(lambda: self._tokens.copy_(apply(self._tokens, tables, self._step)), place)

    def run(self, tokens: Tensor, steps: Sequence[Step]) -> Tensor:
        self._tokens.copy_(tokens)
        for step in steps:
            _copy(step.frame_scales, self._step.frame_scales)
            _copy(step.global_scales, self._step.global_scales)
            self._graph.replay()
        return self._tokens.clone()


def captured(work: Callable[[], object], place: Place) -> torch.cuda.CUDAGraph:
    """The graph of ``work``, which first runs once on the same tensors and stream.

    That run compiles, selects and loads all kernels, which is not possible during a capture. Other threads may use the
    GPU meanwhile.
    """
    graph = torch.cuda.CUDAGraph()
    before = torch.cuda.current_stream()
    place.stream.wait_stream(before)
    with torch.cuda.stream(place.stream):  # `torch.cuda.graph` does not leave its stream when a capture fails
        work()
        with torch.cuda.graph(graph, pool=place.pool, stream=place.stream, capture_error_mode="thread_local"):
            work()
    before.wait_stream(place.stream)
    return graph


def _copied(scales: Tensor | None) -> Tensor | None:
    return None if scales is None else scales.clone()


def _copy(scales: Tensor | None, into: Tensor | None) -> None:
    if scales is not None and into is not None:
        into.copy_(scales)
