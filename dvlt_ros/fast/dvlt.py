"""A `Dvlt` for inference alone: the same stages, weights packed once, tables made once for every size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

from ..model import Dvlt, Features, Prediction, State, Step
from ..model.config import PATCH_SIZE
from ..model.dvlt import MAX_LOG_DEPTH, NUM_SPECIAL, check_image_shape, checked_views, require_state
from ..model.layers import Rope
from ..model.loop import LoopBlock
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
    """What the stages need of a size and of nothing else."""

    position: Tensor  # (1, 1 + h*w, C), the encoder's
    frame: list[Tensor | None]  # by block of the loop
    global_: list[Tensor | None]
    rays: list[Tensor | None]  # by block of the decoder
    depth: list[Tensor | None]
    uv_parts: list[Tensor]  # of the convolutional depth head
    merging: Merging | None  # of global attention's keys


class FastDvlt:
    """Inference with the weights that a model has now; the model itself stays as it is and may be let go.

    The stages have the names and the answers of `Dvlt`, within rounding; `run` is its K steps. Everything belongs
    under ``torch.inference_mode()`` and outside of autocast: ``precision`` says what is multiplied in what.
    On a GPU the steps are replayed from graphs, on one stream and by one thread.

    ``merged_keys`` above 1 is an approximation: global attention sees the keys and values of so many by so many patches
    as their mean. What it costs: docs/performance.md.

    Raises:
        ConfigError: a precision that the model's device does not have, or impossible ``merged_keys``.
    """

    def __init__(self, model: Dvlt, precision: Precision = "float32", merged_keys: int = 1) -> None:
        self.config, self.device = model.config, model.camera_token.device
        self.precision, self.merged_keys = check_precision(precision, self.device), check_merging(merged_keys)
        self._tables: dict[Grid, Tables] = {}
        self._schedules: dict[int, list[Step]] = {}
        self._graphs = StepGraphs(self._apply, self.device) if self.device.type == "cuda" else None
        recipe = Recipe(precision, kernels_for(self.device), Attention())
        loop = cast("list[LoopBlock]", model.recurrent_blocks)
        with torch.no_grad():
            self.encoder = FastEncoder(model.patch_embed_encoder, recipe)
            self.blocks = [(FastBlock(b.frame_attn, recipe), FastBlock(b.global_attn, recipe)) for b in loop]
            outer = replace(recipe, precision="float32") if precision == "int8" else recipe  # nothing evens it out here
            self.rays = FastRays(model.ray_decoder, outer)
            self.depth = FastDepth(model.depth_decoder, outer)
        self._decoder_head_dim = model.ray_decoder.head_dim
        self._rest = without_packed_layers(model)

    def __call__(self, images: Tensor, num_steps: int | None = None) -> Prediction:
        """All stages, as `Dvlt` does them; it does not look at the pixels' values."""
        state = self.begin(self.encode(images))
        return self.decode(self.run(state, self.config.num_steps if num_steps is None else num_steps))

    def encode(self, images: Tensor) -> Features:
        """Patch features of every view (B, S, 3, H, W) on its own; in int8 rounded by the range of all of them."""
        check_image_shape(images)
        grid = images.shape[-2] // PATCH_SIZE, images.shape[-1] // PATCH_SIZE
        tokens = self.encoder(images.flatten(0, 1), self.tables(grid).position)
        return Features(tokens.unflatten(0, images.shape[:2]), grid)

    def begin(self, features: Features) -> State:
        return self._rest.begin(features)

    def schedule(self, num_steps: int) -> list[Step]:
        """The K steps of the loop; computed once for every K."""
        if num_steps not in self._schedules:
            self._schedules[num_steps] = self._rest.schedule(num_steps)
        return self._schedules[num_steps]

    def step(self, state: State, step: Step) -> State:
        require_state(state, "step")
        return State(self._apply(state.tokens, self.tables(state.grid), step), state.grid)

    def run(self, state: State, num_steps: int) -> State:
        """The K steps; on a GPU by replaying one, once `prepare` or a first window has seen the shape."""
        require_state(state, "run")
        steps = self.schedule(num_steps)
        if self._graphs is not None and self.config.recurrence_mode != "none":
            return State(self._graphs.run(state.tokens, state.grid, self.tables(state.grid), steps), state.grid)
        for step in steps:
            state = self.step(state, step)
        return state

    def prepare(self, num_views: int, height: int, width: int) -> None:
        """Before a robot moves: kernels are chosen, tables made and, on a GPU, the step of this shape captured.

        A stream encodes and decodes fewer views than a window has; their kernels are chosen, too.
        """
        images = torch.zeros(1, num_views, 3, height, width, device=self.device)
        with torch.inference_mode():
            for count in [*(1 << i for i in range((num_views - 1).bit_length())), num_views]:
                state = self.begin(self.encode(images[:, :count]))
                self.decode(state)
            for _ in range(2):  # the second time captures what the first one has warmed up
                self.run(state, self.config.num_steps)

    def release(self) -> None:
        """Gives back what can be made again: tables and graphs. For when memory has run out."""
        self._tables.clear()
        if self._graphs is not None:
            self._graphs.clear()

    def decode(self, state: State, views: Sequence[int] | None = None) -> Prediction:
        """Depth, rays and camera encoding of the chosen views (all by default), float32."""
        require_state(state, "decode")
        tokens, tables = state.tokens, self.tables(state.grid)
        if views is not None:
            chosen = checked_views(views, state.num_views)
            tokens = torch.stack([tokens[:, view] for view in chosen], dim=1)  # a list as index would wait for a GPU
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
        if grid not in self._tables:
            if len(self._tables) >= REMEMBERED_SIZES:
                del self._tables[next(iter(self._tables))]  # the oldest
            self._tables[grid] = self._new_tables(grid)
        return self._tables[grid]

    def _apply(self, tokens: Tensor, tables: Tables, step: Step) -> Tensor:
        """One step on tokens (B, S, P, C)."""
        frame, global_ = self.blocks[step.block]
        x = frame(tokens.flatten(0, 1), tables.frame[step.block], True, step.frame_scales).view(tokens.shape)
        table, scales = tables.global_[step.block], step.global_scales
        return global_(x.flatten(1, 2), table, False, scales, tables.merging).view(tokens.shape)

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
    """The same model without the layers that hold nearly all of its weights; it shares the others."""
    rest = without(model, "ray_decoder", "depth_decoder")
    rest.patch_embed_encoder = without(model.patch_embed_encoder, "blocks", "patch_embed")
    rest.recurrent_blocks = nn.ModuleList(rest_of_loop(block) for block in model.recurrent_blocks)
    return rest


def rest_of_loop(block: nn.Module) -> nn.Module:
    rest = without(block)
    for name, half in block.named_children():
        rest.add_module(name, without(half, "attn", "mlp"))
    return rest
