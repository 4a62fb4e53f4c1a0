"""Déjà View (arXiv 2605.30215): one block of frame and global attention, applied K times.

state = begin(encode(images))
state = run(state, K)    # for step in schedule(K): state = step(state)
depth, rays, camera encoding = decode(state)
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..checkpoints import EMBEDDED_WEIGHTS
from ..errors import InputError
from .checks import check_image_shape, check_images, check_steps, checked_views, require_float32
from .config import NUM_REGISTERS, PATCH_SIZE, DvltConfig
from .correlation import Correlation
from .decoders import CameraHead, ConvDepthDecoder, LinearDepthDecoder, RayDecoder
from .encoder import IMAGE_MEAN, IMAGE_STD, Encoder
from .layers import Rope
from .loop import LoopBlock, Step
from .references import predict
from .stages import Features, Looped, Prediction, State, require_state
from .weights import check_tensors, read_checkpoint, write_checkpoint

NUM_SPECIAL = 1 + NUM_REGISTERS  # camera token and registers come before the patches
MAX_LOG_DEPTH = 15.0


class Dvlt(nn.Module, Looped):
    """The model. ``model(images, num_steps=K)`` runs all stages; each stage is public for streaming.

    Inference in bfloat16 is ``with torch.autocast(device, torch.bfloat16):`` around a float32 model; what
    needs float32 keeps it.
    """

    def __init__(self, config: DvltConfig | None = None) -> None:
        super().__init__()
        config = DvltConfig() if config is None else config
        self.config = config
        self.camera_token = nn.Parameter(torch.empty(1, 2, 1, config.embed_dim))
        self.register_token = nn.Parameter(torch.empty(1, 1, NUM_REGISTERS, config.embed_dim))
        nn.init.normal_(self.camera_token, std=1e-6)
        nn.init.normal_(self.register_token, std=1e-6)
        self.patch_embed_encoder = Encoder(config)
        self.correlation = Correlation(config) if config.match_taps else None
        self.recurrent_blocks = nn.ModuleList(LoopBlock(config) for _ in range(config.num_loop_blocks))
        self.ray_decoder = RayDecoder(config)
        depth_decoder = ConvDepthDecoder if config.depth_head_type == "conv" else LinearDepthDecoder
        self.depth_decoder = depth_decoder(config)
        self.camera_head = CameraHead(config.decoder_embed_dim)
        self.gradient_checkpointing = False  # training only: recompute each step in the backward pass
        self._warned_of_steps = False

    def forward(self, images: Tensor | Features, num_steps: int | None = None, references: int = 1) -> Prediction:
        """Images (B, S, 3, H, W), floating point in [0, 1], H and W multiples of 14, or their features; K steps.

        ``references`` above 1: the fused answer of as many reference views (`references.predict`).

        Raises:
            InputError: images of another shape or type, with NaN or infinite pixels, or not in [0, 1];
                K < 1; for decoupled weights, any K but theirs; more references than views; weights that are not
                float32.
        """
        if not isinstance(images, Features):
            check_images(images)
        num_steps = self.config.num_steps if num_steps is None else num_steps
        self._check_steps(num_steps)  # before the encoder's work
        features = images if isinstance(images, Features) else self.encode(images)
        return predict(self, features, num_steps, references)

    def encode(self, images: Tensor) -> Features:
        """Patch features of every view on its own; they can be cached per image."""
        check_image_shape(images)
        require_float32(self.camera_token)
        views = images.flatten(0, 1).to(self.camera_token.dtype)
        features = self.patch_embed_encoder(views).unflatten(0, images.shape[:2])
        return Features(features, (images.shape[-2] // PATCH_SIZE, images.shape[-1] // PATCH_SIZE))

    def begin(self, features: Features) -> State:
        """The state before the first step; the first view is the reference, whose frame is the world."""
        if not isinstance(features, Features):
            raise InputError(f"begin takes the Features that encode gives, got {type(features).__name__}")
        tokens, (batch, views) = features.tokens, features.tokens.shape[:2]
        if self.correlation is not None:
            tokens = self.correlation(tokens, features.grid)
        which = torch.arange(views, device=tokens.device).clamp(max=1)  # 0 for the reference, 1 for the others
        camera = self.camera_token.index_select(1, which)
        special = torch.cat([camera, self.register_token.expand(-1, views, -1, -1)], dim=2)
        special = special.expand(batch, -1, -1, -1).to(tokens.dtype)
        return State(torch.cat([special, tokens], dim=2), features.grid)

    def schedule(self, num_steps: int) -> list[Step]:
        """The K steps of the loop with their scales, which depend on K alone."""
        self._check_steps(num_steps)
        if self.config.recurrence_mode == "none":
            return [Step(i, None, None) for i in range(num_steps)]
        (block,) = cast("list[LoopBlock]", self.recurrent_blocks)
        return block.schedule(num_steps, self.camera_token.device)

    def step(self, state: State, step: Step) -> State:
        """One of the K steps of `schedule`."""
        require_state(state, "step")
        rope = self._rope(state, self.config.embed_dim // self.config.num_heads)
        block = self.recurrent_blocks[step.block]
        if self.gradient_checkpointing and torch.is_grad_enabled():
            tokens = checkpoint(block, state.tokens, rope, step, use_reentrant=False)
        else:
            tokens = block(state.tokens, rope, step)
        return State(tokens, state.grid)

    def decode(self, state: State, views: Sequence[int] | None = None) -> Prediction:
        """Depth, rays and camera encoding of the chosen views (all by default), float32."""
        require_state(state, "decode")
        if views is not None:
            state = State(state.tokens[:, checked_views(views, state.num_views)], state.grid)
        batched = partial(torch.unflatten, dim=0, sizes=state.tokens.shape[:2])
        rope = self._rope(state, self.ray_decoder.head_dim)
        tokens = state.tokens.flatten(0, 1)
        rays, camera_tokens = self.ray_decoder(tokens, rope, state.grid)
        raw_depth, raw_confidence = self.depth_decoder(tokens, rope, state.grid).unbind(1)
        directions, origins = rays.movedim(1, -1).split(3, dim=-1)
        return Prediction(
            depth=batched(raw_depth.clamp(max=MAX_LOG_DEPTH).exp()),
            depth_confidence=batched(1 + raw_confidence.exp()),
            ray_directions=batched(directions),
            ray_origins=batched(origins),
            pose_encoding=batched(self.camera_head(camera_tokens)),
        )

    @classmethod
    def from_pretrained(cls, source: str | Path | None = None, *, revision: str | None = None) -> Dvlt:
        """A model with the weights of a directory, a ``.safetensors`` file, its URL or a Hugging Face repository.

        A URL is ``https://host/model.safetensors``, with ``#sha256=...`` behind it if it must be exactly that file.
        Without an argument the small one that ships with the package. Strict, safetensors only, in evaluation mode on
        the CPU. The published weights (``"nvidia/dvlt"``) are NVIDIA's and licensed for non-commercial use only.

        Raises:
            WeightsError: no such checkpoint, unreachable hub, or content that is not exactly this network.
        """
        read = read_checkpoint(EMBEDDED_WEIGHTS if source is None else source, revision)
        model = empty_model(read.config)
        check_tensors(read.path, read.tensors, model.state_dict())
        model.load_state_dict(read.tensors, assign=True)
        return model.eval()

    def save_pretrained(self, directory: str | Path, *, dtype: torch.dtype = torch.float32) -> None:
        """Write ``model.safetensors`` and ``config.json`` under the published names; other files stay.

        Raises:
            WeightsError: a place that cannot be written, a dtype other than float32, float16 or bfloat16, or
                weights that would not load again (not floating point, or not finite in that dtype).
        """
        write_checkpoint(Path(directory), self.config, self.state_dict(), dtype)

    def _rope(self, state: State, head_dim: int) -> Rope:
        return Rope(state.grid, NUM_SPECIAL, head_dim, state.tokens.device)

    def _check_steps(self, num_steps: int) -> None:
        check_steps(num_steps)
        low, high = self.config.min_steps, self.config.num_steps
        if self.config.recurrence_mode == "none" and num_steps != high:
            raise InputError(f"decoupled weights have one block per step: num_steps must be {high}, got {num_steps}")
        if not low <= num_steps <= high and not self._warned_of_steps:
            self._warned_of_steps = True
            message = f"num_steps {num_steps} is outside the trained range {low} to {high}"
            warnings.warn(message, stacklevel=_users_level())


def empty_model(config: DvltConfig) -> Dvlt:
    """A model on ``meta`` whose weights are to be loaded: it takes no memory and no random numbers."""
    with torch.device("meta"):
        model = Dvlt(config)
    encoder = model.patch_embed_encoder  # no checkpoint holds its constants
    for name, values in (("mean", IMAGE_MEAN), ("std", IMAGE_STD)):
        setattr(encoder, name, torch.tensor(values, device="cpu").view(3, 1, 1))
    return model


def _users_level() -> int:
    """The ``stacklevel`` of the user's line for a warning of the caller; a call of `forward` lies deeper."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_globals.get("__name__") in (__name__, nn.Module.__module__):
        frame, level = frame.f_back, level + 1
    return level
