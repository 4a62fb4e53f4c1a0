"""Correspondences as a training aid: where global attention should look, and what it should bring back.

The published recipe starts from an encoder whose features match across views. A network that starts from nothing has
to find out that matching pays, from losses that hardly say so: most of a ray is known without any other view. Poses
and depth tell which patches of two views see the same point, so one head of global attention can be asked to look
there, and the state to carry how far away it found it. Off by default: not part of the published losses.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from dvlt_ros.geometry import every, homogeneous, invert_pose, pixel_centers, project, rotate, transform_points
from dvlt_ros.model import Dvlt, Features
from dvlt_ros.model.config import PATCH_SIZE
from dvlt_ros.model.correlation import Correlation
from dvlt_ros.model.dvlt import NUM_SPECIAL
from dvlt_ros.model.loop import LoopBlock, SubBlock

from ..data.types import Views
from .published import per_sample

DEPTH_TOLERANCE = 0.05  # relative; a point that far from what the other view sees there is hidden from it
NEAREST = 0.02  # metres in front of the other camera
DISPLACEMENT_UNIT = 0.25  # image widths; about one standard deviation of the state


@dataclass(frozen=True)
class Matches:
    """Where the other views see the point at the centre of each of the n patches of a view."""

    share: Tensor  # (B, S * n, S, n): of patch centres around the point's image; 0 where a view does not see it
    seen: Tensor  # (B, S * n, S), bool; never by the view itself
    displacement: Tensor  # (B, S, n, 2): from the patch to its point's image in the first view, in image widths

    @property
    def in_first(self) -> Tensor:
        """Patches (B, S, n) whose point the first view sees."""
        return self.seen[..., 0].view(self.displacement.shape[:3])


def find_matches(views: Views) -> Matches:
    """True correspondences between patches, from depth and poses; ``share`` is bilinear in the point's position."""
    height, width = views.depth.shape[-2:]
    rows, columns = height // PATCH_SIZE, width // PATCH_SIZE
    depth, valid = (maps[(..., *every(PATCH_SIZE))].flatten(2) for maps in (views.depth, views.valid))  # (B, S, n)
    pixels = pixel_centers(height, width, like=depth)[every(PATCH_SIZE)].flatten(0, 1)  # (n, 2)
    rays = rotate(torch.linalg.inv(views.intrinsics), homogeneous(pixels).expand(*depth.shape, 3))
    points = transform_points(views.world_from_cam, depth.unsqueeze(-1) * rays)  # (B, S, n, 3)
    found = transform_points(invert_pose(views.world_from_cam)[:, None], points[:, :, None])  # (B, S, view, n, 3)
    z = found[..., 2]
    image = project(found, views.intrinsics[:, None])  # (B, S, view, n, 2)
    inside = (z > NEAREST) & (image > 0).all(-1) & (image[..., 0] < width) & (image[..., 1] < height)
    column, row = (image[..., i].nan_to_num().clamp(0, n - 1).long() for i, n in enumerate((width, height)))
    there = views.depth.flatten(2)[:, None].expand(-1, depth.shape[1], -1, -1).gather(-1, row * width + column)
    other = ~torch.eye(depth.shape[1], dtype=torch.bool, device=depth.device)[:, :, None]
    seen = inside & ((there - z).abs() < DEPTH_TOLERANCE * z) & valid[:, :, None] & other
    share = _bilinear(image[..., 1], rows).unsqueeze(-1) * _bilinear(image[..., 0], columns).unsqueeze(-2)
    share = torch.where(seen[..., None], share.flatten(-2), 0.0)  # (B, S, view, n, n)
    displacement = torch.where(seen[:, :, 0, :, None], image[:, :, 0] - pixels, 0.0) / width
    return Matches(share.transpose(2, 3).flatten(1, 2), seen.transpose(2, 3).flatten(1, 2), displacement)


def _bilinear(position: Tensor, count: int) -> Tensor:
    """Weights (..., count) of patch centres on an axis for positions (...) in pixels."""
    at = (position.nan_to_num() / PATCH_SIZE - 0.5).clamp(0, count - 1)
    return (1 - (at.unsqueeze(-1) - torch.arange(count, device=at.device)).abs()).clamp(min=0)


@dataclass(frozen=True)
class MatchTerms:
    """Means over the steps of a forward pass."""

    match: Tensor  # cross-entropy of the head's attention and true correspondences, nats; theirs is its floor
    displacement: Tensor  # L1, quarters of an image width
    found: Tensor  # share of patches whose most attended patch of all other views is next to a true one

    def named(self) -> dict[str, Tensor]:
        """All terms by name, detached, for logging."""
        return {name: value.detach() for name, value in vars(self).items()}


class MatchingLoss:
    """Watches a network's looped block from now on; call it after every forward pass, with what was passed.

    The first head of global attention is the one that is asked to match, and the first two channels of the
    normalised state carry the displacement to the first view. A copy made of the network from here on would be
    watched, too.
    """

    def __init__(self, network: Dvlt) -> None:
        self._entered: list[tuple[SubBlock, Tensor]] = []  # global attention and its input, per step
        self._states: list[Tensor] = []
        for block in cast("list[LoopBlock]", network.recurrent_blocks):
            block.global_attn.register_forward_pre_hook(lambda part, given: self._entered.append((part, given[0])))
            block.register_forward_hook(lambda part, given, state: self._states.append(state))

    def __call__(self, views: Views) -> MatchTerms:
        entered, states = list(self._entered), list(self._states)
        self._entered.clear()
        self._states.clear()
        matches = find_matches(views)
        with torch.autocast(views.depth.device.type, enabled=False):
            looked = [_attention_error(part, x.float(), matches) for part, x in entered]
            carried = [_displacement_error(state.float(), matches) for state in states]
        match, found = (torch.stack(values).mean() for values in zip(*looked, strict=True))
        return MatchTerms(match, torch.stack(carried).mean(), found)


def _attention_error(part: SubBlock, x: Tensor, matches: Matches) -> tuple[Tensor, Tensor]:
    """Cross-entropy and share of patches found, of the first head, for the input (B, S * P, C) of global attention."""
    views, patches = matches.displacement.shape[1:3]
    attends = first_head(part, x).unflatten(1, (views, -1))[:, :, NUM_SPECIAL:].flatten(1, 2)
    attends = attends.unflatten(-1, (views, -1))[..., NUM_SPECIAL:]  # (B, S * n, S, n)
    seen = matches.seen.any(-1)
    error = -(matches.share * attends).sum((-1, -2)) / matches.share.sum((-1, -2)).clamp(min=1e-6)
    with torch.no_grad():
        own = torch.eye(views, dtype=torch.bool, device=x.device).repeat_interleave(patches, dim=0)
        best = attends.masked_fill(own[..., None], -torch.inf).flatten(-2).argmax(-1, keepdim=True)
        found = matches.share.flatten(-2).gather(-1, best).squeeze(-1) > 0
    return per_sample(error, seen), per_sample(found.float(), seen)


def first_head(part: SubBlock, x: Tensor) -> Tensor:
    """Logarithm of the first head's attention (B, N, N) on an input (B, N, C) of global attention."""
    attention, x = part.attn, part.norm1(x)
    head = x.shape[-1] // attention.num_heads
    weight, bias = attention.qkv.weight.unflatten(0, (3, -1)), attention.qkv.bias.unflatten(0, (3, -1))
    queries = attention.q_norm(F.linear(x, weight[0, :head], bias[0, :head]))
    keys = attention.k_norm(F.linear(x, weight[1, :head], bias[1, :head]))
    return (queries @ keys.transpose(-1, -2) / head**0.5).log_softmax(-1)


def correlation_error(correlation: Correlation, features: Features, views: Views) -> Tensor:
    """Cross-entropy, nats, of where descriptors find a patch in the first view and where it truly is, or nowhere."""
    matches, descriptors = find_matches(views), features.tokens[..., correlation.dim :]
    num_views, patches = descriptors.shape[1:3]
    with torch.autocast(descriptors.device.type, enabled=False):
        found = correlation.log_share(descriptors, descriptors[:, 0])[:, 1:]
    share = matches.share.unflatten(1, (num_views, patches))[:, 1:, :, 0]  # (B, S - 1, n, n)
    share = share / share.sum(-1, keepdim=True).clamp(min=1e-6)
    truth = torch.cat([share, (~matches.in_first[:, 1:]).to(share.dtype).unsqueeze(-1)], dim=-1)
    return -(truth * found).sum(-1).mean() if num_views > 1 else descriptors.sum() * 0.0


def _displacement_error(state: Tensor, matches: Matches) -> Tensor:
    """L1 of what the state (B, S, P, C) carries, over the patches whose point the first view sees."""
    carried = F.layer_norm(state, state.shape[-1:])[:, :, NUM_SPECIAL:, :2]
    return per_sample((carried - matches.displacement / DISPLACEMENT_UNIT).abs().sum(-1), matches.in_first)
