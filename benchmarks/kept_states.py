"""What it costs to keep the states of the views that windows of a stream share, instead of computing them anew.

    python benchmarks/kept_states.py                                 # the embedded checkpoint
    python benchmarks/kept_states.py outputs/mine/best --views 8 --new 5 --length 60 --json kept.json

A window's world is its first view, so states can only be kept where windows keep their first view, too. Three ways
through rendered streams: windows of the newest frames, as the mapper has them; windows that keep their first view for
some time, all else anew; and the same with the shared views' states kept, so that only new views are computed. Accuracy
is that of each window's new views, after one scale per window. Needs torch and numpy, no ROS.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from typing import TypeVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from trajectories.sequences import FAMILIES

from dvlt_ros.benchmark import machine, parse_count, parse_output
from dvlt_ros.checkpoints import EMBEDDED_WEIGHTS
from dvlt_ros.model import Dvlt, Features, Prediction
from dvlt_ros.model.dvlt import NUM_SPECIAL
from dvlt_ros.model.layers import Rope
from dvlt_ros.model.loop import LoopBlock, Step
from dvlt_ros.model.stages import State
from dvlt_ros.training.evaluation.windows import means, window_metrics
from dvlt_ros.training.synthetic import BENCHMARK_SEED, SyntheticConfig, sample_windows

SLIDING, ANEW, KEPT = "newest frames", "first view kept, all else anew", "first view and shared states kept"
Answer = TypeVar("Answer")
Pairs = tuple[Tensor, Tensor]  # keys and values (B, heads, S * P, head_dim) of the global attention


@dataclass(frozen=True)
class Row:
    """One way through the streams."""

    way: str
    abs_rel: float  # of the new views
    auc30: float  # between the new views
    ms: float  # of processor time, mean, for encoding and decoding the new views and the loop


@dataclass(frozen=True)
class Window:
    """Indices in the stream."""

    frames: list[int]  # the first one is the reference
    new: list[int]  # of them, those that no window before had
    begins: bool  # with another first view than the window before


Run = Callable[[Window, Features], Prediction]


class Anew:
    """Computes every view of every window."""

    def __init__(self, model: Dvlt, num_steps: int) -> None:
        self._model, self._num_steps = model, num_steps

    @torch.inference_mode()
    def __call__(self, window: Window, features: Features) -> Prediction:
        """``features``: of the whole stream. The answer is the new views'."""
        state = self._model.run(self._model.begin(features.views(window.frames)), self._num_steps)
        return self._model.decode(state, [window.frames.index(frame) for frame in window.new])


class KeptStates:
    """Computes the new views alone, and the first view where another window begins."""

    def __init__(self, model: Dvlt, num_steps: int) -> None:
        self._model, self._num_steps = model, num_steps
        self._block = cast(LoopBlock, model.recurrent_blocks[0])
        self._pairs: list[dict[int, Pairs]] = []  # of each step, by frame

    @torch.inference_mode()
    def __call__(self, window: Window, features: Features) -> Prediction:
        """``features``: of the whole stream. The answer is the new views'."""
        if window.begins:
            self._pairs = [{} for _ in range(self._num_steps)]
        computed = window.frames if window.begins else window.new
        shared = [frame for frame in window.frames if frame not in computed]
        asked = computed if window.begins else [window.frames[0], *computed]  # patches are looked for in the first
        state = self._model.begin(features.views(asked))
        tokens = state.tokens[:, len(asked) - len(computed) :]
        head_dim = self._model.config.embed_dim // self._model.config.num_heads
        rope = Rope(state.grid, NUM_SPECIAL, head_dim, tokens.device)
        for step, pairs in zip(self._model.schedule(self._num_steps), self._pairs, strict=True):
            tokens = self._step(tokens, rope, step, computed, shared, pairs)
        return self._model.decode(State(tokens, state.grid), [computed.index(frame) for frame in window.new])

    def _step(
        self, tokens: Tensor, rope: Rope, step: Step, computed: list[int], shared: list[int], pairs: dict[int, Pairs]
    ) -> Tensor:
        shape, block = tokens.shape, self._block.global_attn
        tokens = self._block.frame_attn(tokens.flatten(0, 1), rope, step.frame_scales).flatten(0, 1)[None]
        attention, scales = block.attn, step.global_scales
        q, k, v = attention.qkv(block.norm1(tokens)).unflatten(-1, (3, attention.num_heads, -1)).permute(2, 0, 3, 1, 4)
        q, k = attention.q_norm(q), attention.k_norm(k)
        pairs.update(zip(computed, zip(k.split(shape[2], 2), v.split(shape[2], 2), strict=True), strict=True))
        keys, values = (torch.cat([known, *(pairs[frame][i] for frame in shared)], 2) for i, known in ((0, k), (1, v)))
        attended = attention.proj(F.scaled_dot_product_attention(q, keys, values).transpose(1, 2).flatten(2))
        tokens = tokens + attended * block._gain(block.ls1, scales, 0)
        tokens = tokens + block.mlp(block.norm2(tokens)) * block._gain(block.ls2, scales, 1)
        return (tokens if scales is None or len(scales) < 3 else scales[2] * tokens).view(shape)


def windows(length: int, views: int, new: int, keep: int) -> list[Window]:
    """Windows of ``views`` frames, ``new`` of them new; the first view stays for ``keep`` windows, 1: never."""
    found, reference = [Window(list(range(views)), list(range(views)), True)], 0
    for count, last in enumerate(range(views + new, length + 1, new), start=1):
        begins = count % keep == 0
        recent = list(range(last - views + (not begins), last))
        reference = recent[0] if begins else reference
        found.append(Window(recent if begins else [reference, *recent], recent[-new:], begins))
    return found


def measured(model: Dvlt, args: argparse.Namespace) -> list[Row]:
    config = SyntheticConfig(views=args.length, split="benchmark", augment=None)
    sliding = windows(args.length, args.views, args.new, 1)
    keeping = windows(args.length, args.views, args.new, args.keep)
    anew = Anew(model, args.steps)
    ways: dict[str, tuple[Run, list[Window]]] = {
        SLIDING: (anew, sliding),
        ANEW: (anew, keeping),
        KEPT: (KeptStates(model, args.steps), keeping),
    }
    found: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    spent_s: dict[str, list[float]] = {way: [] for way in ways}
    for seed, family in product(range(args.streams), FAMILIES):
        views = sample_windows([BENCHMARK_SEED + seed], config, families=[family])
        with torch.inference_mode():
            features, encoding_s = timed(partial(model.encode, views.images))
        for way, (run, plan) in ways.items():
            for window in plan:
                prediction, window_s = timed(partial(run, window, features))
                if len(window.new) == args.new:  # it goes on from another
                    spent_s[way].append(window_s + encoding_s * args.new / args.length)
                    found[way] += window_metrics(prediction, views.select_views(torch.tensor(window.new)))
    rows = []
    for way in ways:
        mean = means(found[way])
        rows.append(Row(way, mean["abs_rel"], mean["auc@30"], 1e3 * statistics.mean(spent_s[way])))
    return rows


def timed(work: Callable[[], Answer]) -> tuple[Answer, float]:
    """The answer, and the processor time it took in seconds."""
    start_s = time.process_time()
    return work(), time.process_time() - start_s


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_arguments(argv)
    torch.set_num_threads(args.threads)
    model = Dvlt.from_pretrained(args.checkpoint)
    print(machine(torch.device("cpu")))
    rows = measured(model, args)
    for row in rows:
        print(f"{row.way:36s} AbsRel {row.abs_rel:.4f}  AUC@30 {row.auc30:.3f}  {row.ms:6.0f} ms a window")
    if args.json:
        args.json.write_text(json.dumps([asdict(row) for row in rows], indent=1))


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", nargs="?", default=EMBEDDED_WEIGHTS)
    parser.add_argument("--views", type=parse_count, default=8, help="of a window")
    parser.add_argument("--new", type=parse_count, default=5, help="of them, those that the window before had not")
    parser.add_argument("--keep", type=parse_count, default=3, help="windows that a first view stays for")
    parser.add_argument("--steps", type=parse_count, default=6, help="K")
    parser.add_argument("--length", type=parse_count, default=60, help="frames of a stream")
    parser.add_argument("--streams", type=parse_count, default=2, help="of each family of rooms")
    parser.add_argument("--threads", type=parse_count, default=1)
    parser.add_argument("--json", type=parse_output)
    args = parser.parse_args(argv)
    if not args.new < args.views <= args.length:
        parser.error("--new must be below --views, and --views at most --length")
    return args


if __name__ == "__main__":
    main()
