"""Furniture and clutter in their own frame, as groups of parts (B, K, n).

Furniture frame: x to the right, +y towards the wall behind, z up, origin on the floor (or on the
supporting surface) under the middle. Sizes are full (width, depth, height) in metres.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..draw import Draw
from ..surface.materials import pick
from .solids import Solids, place, tilt_rotation

Length = Tensor | float


class Parts:
    """Collects parts (B, K) one by one; ``build`` stacks them to (B, K, n)."""

    def __init__(self, like: Tensor) -> None:
        self._like = like
        self._rows: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []

    def add(
        self, center: tuple[Length, ...], half: tuple[Length, ...], material: Tensor, present: Tensor | bool = True
    ) -> None:
        """One part from (x, y, z) and half sizes, each a tensor (B, K) or a number."""
        stack = lambda values: torch.stack([self._like * 0 + value for value in values], dim=-1)  # noqa: E731
        mask = torch.ones_like(self._like, dtype=torch.bool) & present
        self._rows.append((stack(center), stack(half).clamp(min=0.001), mask, material + mask * 0))

    def build(self) -> Solids:
        center, half, present, material = (torch.stack(x, dim=2) for x in zip(*self._rows, strict=True))
        rotation = torch.eye(3, device=half.device).expand(*half.shape, 3)
        return Solids(center, rotation, half, present, material)


def table(size: Tensor, top: Tensor, legs: Tensor, style: Tensor) -> Solids:
    """A top on four legs or on two side panels: sizes (B, K, 3), materials (B, K), style in [0, 1)."""
    w, d, h = size.unbind(-1)
    thick = 0.012 + 0.025 * style
    leg = torch.where(style < 0.75, 0.018 + 0.035 * style, 0.02)
    deep = torch.where(style < 0.75, leg, 0.5 * d - 0.03)
    parts = Parts(w)
    parts.add((0, 0, h - thick), (w / 2, d / 2, thick), top)
    for x in (-1, 1):
        for y in (-1, 1):
            center = (x * (w / 2 - leg - 0.03), y * (d / 2 - deep - 0.02), h / 2 - thick)
            parts.add(center, (leg, deep, h / 2 - thick), legs, (style < 0.75) | (y > 0))
    return parts.build()


def chair(size: Tensor, frame: Tensor, seat: Tensor, style: Tensor) -> Solids:
    """A chair facing -y: seat, four legs, a back of two posts and three slats, or of one board."""
    w, d, h = size.unbind(-1)
    seat_z, leg = 0.5 * h, 0.012 + 0.014 * style
    parts = Parts(w)
    parts.add((0, 0, seat_z), (w / 2, d / 2, 0.02 + 0.02 * style), seat)
    for x in (-1, 1):
        parts.add((x * (w / 2 - leg), -d / 2 + leg, seat_z / 2), (leg, leg, seat_z / 2), frame)
        parts.add((x * (w / 2 - leg), d / 2 - leg, h / 2), (leg, leg, h / 2), frame)
    slats = style < 0.6
    for i, height in enumerate((0.65, 0.79, 0.94)):
        board = torch.where(slats, 0.045 * h, 0.18 * h)
        center = (0, d / 2 - leg, torch.where(slats, height * h, 0.8 * h))
        parts.add(center, (w / 2 - leg, 0.011, board), frame, slats | (i == 0))
    return parts.build()


def shelf(size: Tensor, wood: Tensor, levels: int = 5) -> Solids:
    """Two sides, a back and ``levels`` boards."""
    w, d, h = size.unbind(-1)
    parts = Parts(w)
    for i in range(levels):
        parts.add((0, 0, shelf_height(h, i, levels)), (w / 2, d / 2, 0.012), wood)
    for x in (-1, 1):
        parts.add((x * (w / 2 - 0.012), 0, h / 2), (0.012, d / 2, h / 2), wood)
    parts.add((0, d / 2 - 0.006, h / 2), (w / 2, 0.006, h / 2), wood, (w * 37).long() % 3 > 0)
    return parts.build()


def shelf_height(height: Tensor, level: int | Tensor, levels: int) -> Tensor:
    """Height (B, K) of a board's middle."""
    return 0.03 + (height - 0.045) * level / (levels - 1)


def cabinet(size: Tensor, body: Tensor, top: Tensor, handle: Tensor) -> Solids:
    """A plinth, a body, a worktop, three doors or drawers with gaps, three handles."""
    w, d, h = size.unbind(-1)
    drawers = (w * 53).long() % 2 == 0
    parts = Parts(w)
    parts.add((0, 0.02, h - 0.018), (w / 2 + 0.01, d / 2 + 0.01, 0.018), top)
    parts.add((0, 0.02, 0.54 * h), (w / 2, d / 2 - 0.02, 0.46 * h - 0.03), body)
    parts.add((0, 0.05, 0.05 * h), (w / 2, d / 2 - 0.05, 0.05 * h), handle)
    for i in range(3):
        x = torch.where(drawers, 0.0, (i - 1) * w / 3)
        z = torch.where(drawers, (0.23 + 0.27 * i) * h, 0.51 * h)
        half_x = torch.where(drawers, w / 2 - 0.01, w / 6 - 0.006)
        half_z = torch.where(drawers, 0.13 * h - 0.006, 0.41 * h)
        parts.add((x, -d / 2 + 0.012, z), (half_x, 0.012, half_z), body)
        bar = (torch.where(drawers, 0.07, 0.008), 0.012, torch.where(drawers, 0.008, 0.07))
        parts.add((x + torch.where(drawers, 0.0, half_x * 0.8), -d / 2 - 0.012, z + half_z * 0.75), bar, handle)
    return parts.build()


def sofa(size: Tensor, fabric: Tensor, cushion: Tensor) -> Solids:
    """Seat, back, two arms, two cushions."""
    w, d, h = size.unbind(-1)
    parts = Parts(w)
    parts.add((0, 0, 0.22 * h), (w / 2, d / 2, 0.22 * h), fabric)
    parts.add((0, 0.38 * d, 0.5 * h), (w / 2, 0.12 * d, 0.5 * h), fabric)
    for x in (-1, 1):
        parts.add((x * (w / 2 - 0.07), 0, 0.35 * h), (0.07, d / 2, 0.35 * h), fabric)
        parts.add((x * w / 4, 0.2 * d, 0.6 * h), (0.16 * h + 0.05, 0.06, 0.2 * h), cushion)
    return parts.build()


def stack(size: Tensor, materials: Tensor, turn: Tensor) -> Solids:
    """Up to six crates, three below and shrinking above; materials (B, K, 6), turn (B, K, 6)."""
    w, d, h = size.unbind(-1)
    parts = Parts(w)
    for i in range(6):
        level, column = divmod(i, 3)
        shrink = 0.75 + 0.25 * turn[..., i]
        height = h * (0.5 if level == 0 else 0.25 + 0.25 * turn[..., 5])
        z = height / 2 if level == 0 else h * 0.5 + height / 2
        keep = turn[..., i] > (0.1 if level == 0 else 0.4)
        keep = keep & (turn[..., i - 3] > 0.1) if level else keep
        parts.add(((column - 1) * w / 3, 0, z), (w / 6 * shrink, d / 2 * shrink, height / 2), materials[..., i], keep)
    return parts.build()


def select(kind: Tensor, options: list[Solids]) -> Solids:
    """For each group (B, K) the option that ``kind`` names; options are padded to equal part counts."""
    count = max(option.present.shape[-1] for option in options)
    stacked = []
    for name in ("center", "rotation", "half", "present", "material"):
        padded = [_pad_parts(getattr(option, name), count) for option in options]
        every = torch.stack(padded, dim=2)  # (B, K, options, n, ...)
        index = kind.reshape(*kind.shape, *(1,) * (every.dim() - 2)).expand(*kind.shape, 1, *every.shape[3:])
        stacked.append(every.gather(2, index).squeeze(2))
    return Solids(*stacked)


def _pad_parts(values: Tensor, count: int) -> Tensor:
    missing = count - values.shape[2]
    if not missing:
        return values
    filler = torch.zeros_like(values[:, :, :1]) if values.dtype == torch.bool else values[:, :, :1]
    return torch.cat([values, filler.expand(-1, -1, missing, *values.shape[3:])], dim=2)


def clutter(
    draw: Draw,
    surface: Tensor,
    yaw: Tensor,
    extent: Tensor,
    scale: Tensor,
    counts: tuple[int, int, int],
    density: Tensor,
) -> list[Solids]:
    """Boxes, cylinders and ellipsoids lying on surfaces; the three kinds as (B, K * count) solids.

    surface (B, K, 3) middles and yaw (B, K) of rectangles with full sizes extent (B, K, 2); scale (B, K)
    times the size of household objects; density (B, K), the share of the objects that are there.
    """
    result = []
    for kind, count in enumerate(counts):
        shape = (*yaw.shape[1:], count)
        xy = draw.uniform(*shape, 2, low=-0.5, high=0.5) * extent.unsqueeze(-2) * 0.9
        half = _object_halves(draw, kind, shape) * scale[..., None, None]
        half = torch.minimum(half, 0.45 * extent.amin(dim=-1)[..., None, None].clamp(min=0.02))
        angle, tilt = draw.uniform(*shape, high=2 * math.pi), draw.normal(*shape, std=0.4)
        tilt = torch.where(draw.chance(0.12, *shape), tilt, torch.zeros_like(tilt))
        if kind == 1:  # some cylinders lie on their side
            lying = draw.chance(0.2, *shape)
            tilt = torch.where(lying, math.pi / 2, tilt)
            height = torch.where(lying, half[..., 0], half[..., 2])
        else:
            height = half[..., 2] + half[..., 1] * torch.sin(tilt).abs()
        parts = Solids(
            torch.cat([xy, height.unsqueeze(-1)], dim=-1),
            tilt_rotation(angle, tilt, torch.zeros_like(angle)),
            half,
            draw.uniform(*shape) < density.unsqueeze(-1),
            _object_materials(draw, half, shape),
        )
        result.append(place(parts, surface, yaw).flat())
    return result


def _object_halves(draw: Draw, kind: int, shape: tuple[int, ...]) -> Tensor:
    """Half sizes (B, *shape, 3) in metres of household objects."""
    if kind == 0:
        half = draw.log_uniform(*shape, 3, low=0.02, high=0.16)
        flat = draw.log_uniform(*shape, low=0.001, high=0.02)
        tall = draw.log_uniform(*shape, low=0.08, high=0.2)
        form = draw.uniform(*shape)
        height = torch.where(form < 0.45, flat, torch.where(form < 0.65, tall, half[..., 2]))
        return torch.stack([half[..., 0].clamp(min=0.05), half[..., 1], height], dim=-1)
    radius = draw.log_uniform(*shape, low=0.02, high=0.09)
    height = draw.log_uniform(*shape, low=0.02, high=0.16)
    if kind == 1:
        return torch.stack([radius, radius, height], dim=-1)
    squash = draw.uniform(*shape, 3, low=0.6, high=1.2)
    squash = torch.where(draw.chance(0.5, *shape, 1), torch.ones_like(squash), squash)
    return radius.unsqueeze(-1) * squash


def _object_materials(draw: Draw, half: Tensor, shape: tuple[int, ...]) -> Tensor:
    printed, plain = pick(draw, "printed", *shape), pick(draw, "object", *shape)
    thin = half.amin(dim=-1) < 0.012
    return torch.where(thin | draw.chance(0.35, *shape), printed, plain)
