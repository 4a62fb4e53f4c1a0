"""A `Dvlt` for inference only: the same stages, with weights packed once and tables computed once per size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

from ..model import Dvlt, Features, Prediction, State, Step
from ..model.checks import check_image_shape, checked_views
from ..model.config import PATCH_SIZE
from ..model.dvlt import MAX_LOG_DEPTH, NUM_SPECIAL
from ..model.layers import Rope
from ..model.loop import LoopBlock
from ..model.references import predict
from ..model.stages import Looped, require_state
from .attention import Attention
from .block import FastBlock, Recipe
from .decoders import FastDepth, FastRays
from .depth_head import Grid
from .encoder import FastEncoder
from .graphs import StepGraphs
from .kernels import kernels_for
from .linear import Precision, check_precision
from .merging import Merging, check_merging
from .shallow import without

REMEMBERED_SIZES = 8


@dataclass(frozen=True, eq=False)
class Tables:
    """Everything in the stages that depends only on the size."""

    position: Tensor  # (1, 1 + h*w, C), the encoder's
    frame: list[Tensor | None]  # by block of the loop
    global_: list[Tensor | None]
    rays: list[Tensor | None]  # by block of the decoder
    depth: list[Tensor | None]
    uv_parts: list[Tensor]  # of the convolutional depth head
    merging: Merging | None  # of global attention's keys


class FastDvlt(Looped):
    """Inference with a copy of a model's present weights; the model is not changed and may be deleted.

    The stages have the names of `Dvlt` and its results within rounding. Call them under ``torch.inference_mode()`` and
    outside autocast, because ``precision`` sets the type of the matrix products. On a GPU the steps are replayed from
    CUDA graphs, on one stream and by one thread.

    ``merged_keys`` above 1 is an approximation: global attention sees the keys and values of squares of as many by as
    many patches as their mean. Its effect on accuracy: docs/lab/performance.md.

    Raises:
        ConfigError: a precision that the model's device does not have, or impossible ``merged_keys``.
    """

    def __init__(self, model: Dvlt, precision: Precision = "float32", merged_keys: int = 1) -> None:
        self.config = model.config
        self.device = model.camera_token.device
        self.precision = check_precision(precision, self.device)
        self.merged_keys = check_merging(merged_keys)
        self._tables: dict[Grid, Tables] = {}
        self._schedules: dict[int, list[Step]] = {}
        self._graphs = StepGraphs(self._apply, self.device) if self.device.type == "cuda" else None
        recipe = Recipe(precision, kernels_for(self.device), Attention())
        loop = cast("list[LoopBlock]", model.recurrent_blocks)
        with torch.no_grad():
            self.encoder = FastEncoder(model.patch_embed_encoder, recipe)
            self.blocks = [(FastBlock(b.frame_attn, recipe), FastBlock(b.global_attn, recipe)) for b in loop]
            # no later step averages out int8 errors of a decoder
            outer = replace(recipe, precision="float32") if precision == "int8" else recipe
            self.rays = FastRays(model.ray_decoder, outer)
            self.depth = FastDepth(model.depth_decoder, outer)
        self._decoder_head_dim = model.ray_decoder.head_dim
        self._rest = without_packed_layers(model)

    def __call__(self, images: Tensor, num_steps: int | None = None, references: int = 1) -> Prediction:
        """All stages, as in `Dvlt`, but the pixels' values are not checked."""
        num_steps = self.config.num_steps if num_steps is None else num_steps
        return predict(self, self.encode(images), num_steps, references)

    def encode(self, images: Tensor) -> Features:
        """Patch features of every view (B, S, 3, H, W); in int8 the views share one range."""
        check_image_shape(images)
        grid = images.shape[-2] // PATCH_SIZE, images.shape[-1] // PATCH_SIZE
        tokens = self.encoder(images.flatten(0, 1), self.tables(grid).position)
        return Features(tokens.unflatten(0, images.shape[:2]), grid)

    def begin(self, features: Features) -> State:
        """See `Dvlt.begin`."""
        return self._rest.begin(features)

    def schedule(self, num_steps: int) -> list[Step]:
        """The K steps of the loop; computed once for every K."""
        if num_steps not in self._schedules:
            self._schedules[num_steps] = self._rest.schedule(num_steps)
        return self._schedules[num_steps]

    def step(self, state: State, step: Step) -> State:
        """See `Dvlt.step`."""
        require_state(state, "step")
        return State(self._apply(state.tokens, self.tables(state.grid), step), state.grid)

    def run(self, state: State, num_steps: int) -> State:
        """The state after K steps; on a GPU by replaying a graph, after `prepare` or a first window of the shape."""
        require_state(state, "run")
        if self._graphs is None or self.config.recurrence_mode == "none" or not self._graphs.has_seen(state):
            return super().run(state, num_steps)
        return self._graphs.run(state, self.tables(state.grid), self.schedule(num_steps))

    def run_and_decode(self, state: State, num_steps: int, views: Sequence[int] | None = None) -> Prediction:
        """See `Looped.run_and_decode`; on a CPU the last step's global block has the chosen views' queries alone."""
        require_state(state, "run_and_decode")
        chosen = list(range(state.num_views)) if views is None else checked_views(views, state.num_views)
        if self._graphs is not None or len(chosen) >= state.num_views:
            return super().run_and_decode(state, num_steps, views)
        *steps, last = self.schedule(num_steps)
        for step in steps:
            state = self.step(state, step)
        return self.decode(State(self._apply(state.tokens, self.tables(state.grid), last, chosen), state.grid))

    def prepare(self, num_views: int, height: int, width: int) -> None:
        """Selects kernels, computes tables and, on a GPU, captures the step of this shape, before a stream begins.

        A stream encodes and decodes fewer views than a window has, so kernels for fewer views are selected, too.
        """
        images = torch.zeros(1, num_views, 3, height, width, device=self.device)
        with torch.inference_mode():
            for count in [*(1 << i for i in range((num_views - 1).bit_length())), num_views]:
                state = self.begin(self.encode(images[:, :count]))
                self.decode(state)
            for _ in range(2):  # the first run warms up, the second one captures
                self.run(state, self.config.num_steps)

    def release(self) -> None:
        """Frees tables and graphs, which can be made again, when memory runs out."""
        self._tables.clear()
        if self._graphs is not None:
            self._graphs.clear()

    def decode(self, state: State, views: Sequence[int] | None = None) -> Prediction:
        """Depth, rays and camera encoding of the chosen views (all by default), float32."""
        require_state(state, "decode")
        tokens = state.tokens
        tables = self.tables(state.grid)
        if views is not None:
            chosen = checked_views(views, state.num_views)
            tokens = torch.stack([tokens[:, view] for view in chosen], dim=1)  # a list index would wait for the GPU
        batched = partial(torch.unflatten, dim=0, sizes=tokens.shape[:2])
        tokens = tokens.flatten(0, 1)
        rays, camera_tokens = self.rays.decode(tokens, tables.rays, state.grid)
        raw_depth, raw_confidence = self.depth.decode(tokens, tables.depth, state.grid, tables.uv_parts).unbind(-1)
        directions, origins = rays.split(3, dim=-1)
        return Prediction(
            depth=batched(raw_depth.clamp(max=MAX_LOG_DEPTH).exp()),
            depth_confidence=batched(1 + raw_confidence.exp()),
            ray_directions=batched(directions),
            ray_origins=batched(origins),
            pose_encoding=batched(self._rest.camera_head(camera_tokens)),
        )

    def tables(self, grid: Grid) -> Tables:
        """Of a grid of patches; the last `REMEMBERED_SIZES` are kept."""
        if grid not in self._tables:
            if len(self._tables) >= REMEMBERED_SIZES:
                del self._tables[next(iter(self._tables))]  # the oldest
            self._tables[grid] = self._new_tables(grid)
        return self._tables[grid]

    def _apply(self, tokens: Tensor, tables: Tables, step: Step, views: Sequence[int] | None = None) -> Tensor:
        """One step of the loop on tokens (B, S, P, C) -> those of all views, or of some."""
        frame, global_ = self.blocks[step.block]
        x = frame(tokens.flatten(0, 1), tables.frame[step.block], True, step.frame_scales).view(tokens.shape)
        table = tables.global_[step.block]
        rows = None
        if views is not None:
            places = torch.arange(tokens.shape[1] * tokens.shape[2], device=self.device)
            rows = places.view(tokens.shape[1:3])[views].flatten()
        x = global_(x.flatten(1, 2), table, False, step.global_scales, tables.merging, rows)
        return x.unflatten(1, (-1, tokens.shape[2]))

    def _new_tables(self, grid: Grid) -> Tables:
        rope = Rope(grid, NUM_SPECIAL, self.config.embed_dim // self.config.num_heads, self.device)
        decoder_rope = Rope(grid, NUM_SPECIAL, self._decoder_head_dim, self.device)
        position = self._rest.patch_embed_encoder.position_embedding(grid[0] * PATCH_SIZE, grid[1] * PATCH_SIZE)
        return Tables(
            position=position.detach(),
            frame=[frame.table(rope) for frame, _ in self.blocks],
            global_=[global_.table(None) for _, global_ in self.blocks],
            rays=self.rays.tables(decoder_rope),
            depth=self.depth.tables(decoder_rope),
            uv_parts=self.depth.head.uv_parts(grid),
            merging=None if self.merged_keys == 1 else Merging.of(grid, self.merged_keys, self.device),
        )


def without_packed_layers(model: Dvlt) -> Dvlt:
    """A copy of the model without its large layers; the other layers are shared."""
    rest = without(model, "ray_decoder", "depth_decoder")
    rest.patch_embed_encoder = without(model.patch_embed_encoder, "blocks", "patch_embed")
    rest.recurrent_blocks = nn.ModuleList(rest_of_loop(block) for block in model.recurrent_blocks)
    return rest


def rest_of_loop(block: nn.Module) -> nn.Module:
    """A copy of a loop block without its attention and MLP layers."""
    rest = without(block)
    for name, half in block.named_children():
        rest.add_module(name, without(half, "attn", "mlp"))
    return rest
