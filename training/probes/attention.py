"""Where a patch looks in the other views: attention of every step, against the true match."""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from dvlt_ros.model import Dvlt
from dvlt_ros.model.dvlt import NUM_SPECIAL
from dvlt_ros.model.layers import Attention
from dvlt_ros.model.loop import LoopBlock

from ..losses.matching import Matches


class GlobalAttention:
    """Inputs of global attention while it is entered; the network's outputs stay what they were."""

    def __init__(self, network: Dvlt) -> None:
        self._blocks = cast("list[LoopBlock]", network.recurrent_blocks)
        self._handles: list[Any] = []
        self._entered: list[tuple[Attention, Tensor]] = []

    def __enter__(self) -> GlobalAttention:
        self._entered.clear()
        for block in self._blocks:
            self._handles.append(
                block.global_attn.attn.register_forward_pre_hook(lambda part, x: self._entered.append((part, x[0])))
            )
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def weights(self, step: int) -> Tensor:
        """Attention (B, heads, N, N) of step 0 .. K - 1 over all tokens of a scene."""
        return attention_weights(*self._entered[step])


def attention_weights(part: Attention, x: Tensor) -> Tensor:
    """What scaled dot product attention multiplies the values with, (B, heads, N, N)."""
    q, k, _ = part.qkv(x).unflatten(-1, (3, part.num_heads, -1)).permute(2, 0, 3, 1, 4)
    q, k = part.q_norm(q), part.k_norm(k)
    return (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(-1)


def of_first_view(weights: Tensor, views: int) -> tuple[Tensor, Tensor]:
    """Attention (B, N, N) of the first view's patches to each view's patches, which sums to 1 in each view.

    Returns:
        (B, n, S, n), and the share (B, n) of attention that special tokens had.
    """
    per_view = weights.shape[-1] // views
    rows = weights[:, NUM_SPECIAL:per_view].unflatten(-1, (views, per_view))
    patches = rows[..., NUM_SPECIAL:]
    return patches / patches.sum(-1, keepdim=True).clamp(min=1e-30), 1 - patches.sum((-1, -2))


def entropy(share: Tensor) -> Tensor:
    """Of distributions (..., n), relative to the uniform one: 1 there, 0 where all lies in one place."""
    return -torch.special.xlogy(share, share).sum(-1) / torch.log(torch.tensor(float(share.shape[-1])))


@dataclass(frozen=True)
class Concentration:
    """Means over patches of the first view that another view sees."""

    entropy: float
    match_mass: float  # attention within 3 x 3 patches of the true match
    match_distance: float  # from the most attended patch to the true match, patches
    special_mass: float  # attention to camera and register tokens
    best_head_mass: float  # match_mass of the head that has the largest


def concentration(weights: Tensor, matches: Matches, grid: tuple[int, int]) -> Concentration | None:
    """Of one step's attention (B, heads, N, N); None: no patch is seen twice."""
    batch, views, patches = matches.displacement.shape[:3]
    share = matches.share.unflatten(1, (views, patches))[:, 0]  # (B, n, S, n)
    seen = matches.seen.unflatten(1, (views, patches))[:, 0]  # (B, n, S)
    if not seen.any():
        return None
    match = share.argmax(-1)
    near = F.one_hot(match, patches).float().flatten(0, 2).view(-1, 1, *grid)
    near = F.max_pool2d(near, 3, stride=1, padding=1).view(batch, patches, views, patches)
    mean, special = of_first_view(weights.mean(1), views)
    mass = torch.stack([(of_first_view(head, views)[0] * near).sum(-1)[seen].mean() for head in weights.unbind(1)])
    where = mean.argmax(-1)
    apart = torch.stack([where // grid[1] - match // grid[1], where % grid[1] - match % grid[1]]).float().norm(dim=0)
    return Concentration(
        float(entropy(mean)[seen].mean()),
        float((mean * near).sum(-1)[seen].mean()),
        float(apart[seen].mean()),
        float(special.mean()),
        float(mass.max()),
    )
