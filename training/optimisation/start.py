"""How a new network's weights start, where the published start learns too slowly without a pretrained encoder."""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn

from dvlt_ros.model import Dvlt
from dvlt_ros.model.config import POSITION_GRID
from dvlt_ros.model.layers import Attention
from dvlt_ros.model.loop import LoopBlock

from ..config import Start

LONGEST_WAVE = 4.0  # image sides; the shortest is a twelfth of one, about a patch of a small image
SHORTEST_WAVE = 1 / 12
WAVE_AMPLITUDE = 0.5


@torch.no_grad()
def start_weights(model: Dvlt, start: Start) -> None:
    """Replace those first weights of a new network that ``start`` names; its defaults change nothing."""
    default = Start()
    if start.layer_scale != default.layer_scale:
        for name, parameter in model.recurrent_blocks.named_parameters():
            if name.endswith("gamma"):
                parameter.fill_(start.layer_scale)
    if start.tokens != default.tokens:
        for token in (model.camera_token, model.register_token):
            nn.init.normal_(token, std=start.tokens)
    if start.positions == "waves":
        model.patch_embed_encoder.pos_embed[0, 1:] = position_waves(model.config.embed_dim)
    if start.alike_attends:
        for module in model.modules():
            if isinstance(module, Attention):
                _attend_to_what_is_alike(module)


@torch.no_grad()
def restart_matching(model: Dvlt) -> None:
    """New queries and keys of global attention, alike, in a trained network that has not learnt to match."""
    for block in cast("list[LoopBlock]", model.recurrent_blocks):
        attention = block.global_attn.attn
        anew = Attention(model.config.embed_dim, model.config.num_heads, qk_norm=True)
        for new, old in ((anew.qkv.weight, attention.qkv.weight), (anew.qkv.bias, attention.qkv.bias)):
            kept = len(old) // 3  # the values
            old[:-kept] = new[:-kept]
        attention.q_norm.load_state_dict(anew.q_norm.state_dict())
        attention.k_norm.load_state_dict(anew.k_norm.state_dict())
        _attend_to_what_is_alike(attention)


def position_waves(dim: int) -> Tensor:
    """Sines and cosines of row and column, (37 * 37, dim), geometric in wavelength.

    Noise of 37 x 37 entries all but averages out when it is resized to the few patches of a small image; waves stay.
    """
    count = dim // 4
    side = (torch.arange(POSITION_GRID) + 0.5) / POSITION_GRID
    frequency = torch.logspace(-math.log2(LONGEST_WAVE), -math.log2(SHORTEST_WAVE), count, base=2)
    phase = 2 * math.pi * side[:, None] * frequency  # (37, count)
    waves = torch.cat([phase.sin(), phase.cos()], dim=-1)  # (37, 2 * count)
    grid = (POSITION_GRID, POSITION_GRID, 2 * count)
    embedding = torch.cat([waves[:, None].expand(grid), waves[None].expand(grid)], dim=-1).flatten(0, 1)
    return WAVE_AMPLITUDE * nn.functional.pad(embedding, (0, dim - 4 * count))


def _attend_to_what_is_alike(attention: Attention) -> None:
    """Keys as queries: before anything is learnt, a token attends to those that resemble it, in every view.

    Mimetic initialisation (arXiv 2305.09828): products of queries and keys near a multiple of the identity.
    """
    queries, keys, _ = attention.qkv.weight.chunk(3)
    keys.copy_(queries)
    queries, keys, _ = attention.qkv.bias.chunk(3)
    keys.copy_(queries)
