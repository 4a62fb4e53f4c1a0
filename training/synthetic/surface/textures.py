"""Procedural textures, evaluated at the hit points and filtered by the pixel's footprint.

All patterns are computed for every pixel and one is kept: branches would cost a GPU more.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .materials import Materials, Pattern
from .noise import cell_hash, fract, rehash, step, value_noise, visible


@dataclass(frozen=True)
class Surface:
    """Where on a solid's face each pixel (T, P) lies."""

    u: Tensor  # metres along the face
    v: Tensor
    s: Tensor  # the same in [0, 1] over the face
    t: Tensor
    face: Tensor  # int64 in 0..5
    footprint: Tensor  # metres on the surface that one pixel covers


def albedo(material: Materials, surface: Surface) -> Tensor:
    """Linear colours (T, P, 3) of the surface."""
    m = material
    seed = (m.seed + 7919.0 * surface.face).to(torch.int32)
    shift = m.seed * 0.37  # no two materials share a phase
    u, v = surface.u + fract(shift) * 8.0, surface.v
    coarse = value_noise(u * 1.3, v * 1.3, seed)
    middle = value_noise(u * 6.0, v * 6.0, seed + 11)
    fine = value_noise(u * 45.0, v * 45.0, seed + 23) * visible(1 / 45.0, surface.footprint)
    finest = value_noise(u * 170.0, v * 170.0, seed + 31) * visible(1 / 170.0, surface.footprint)
    mix, third, tone = _pattern(m, surface, u, v, seed, coarse, middle)
    detail = 0.45 * middle * visible(1 / 6.0, surface.footprint) + 0.6 * fine + 0.5 * finest
    tone = tone * (1 + m.grain * detail) * (1 + m.stain * (0.7 * coarse + 0.5 * middle * coarse.abs()))
    color = torch.lerp(m.color_a, m.color_b, mix.unsqueeze(-1))
    color = torch.lerp(color, m.color_c, third.unsqueeze(-1))
    return color * tone.clamp(0.1, 2.0).unsqueeze(-1)


def _pattern(
    m: Materials, surface: Surface, u: Tensor, v: Tensor, seed: Tensor, coarse: Tensor, middle: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Share of the second colour, of the third colour, and a tone factor, each (T, P)."""
    pixel = surface.footprint / m.scale  # in cells
    x = (m.cos * u + m.sin * v) / m.scale
    y = (m.cos * v - m.sin * u) / m.scale
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    grid = _grid_patterns(m, x, y, pixel, seed)
    text = _text_patterns(m, x, y, pixel, seed, surface)
    blotch = value_noise(x, y, seed + 5) + 0.5 * value_noise(2 * x, 2 * y, seed + 6)
    warp = x + 1.5 * coarse + 0.8 * middle
    vein = (1 - (fract(warp) * 2 - 1).abs()) ** 6
    specks = value_noise(3 * x, 3 * y, seed + 7)
    ridges = 1 - value_noise(x, y, seed + 8).abs() ** 0.5
    center = (x - torch.round(x)) ** 2 + (y - torch.round(y)) ** 2
    rings = fract(torch.sqrt((x * 0.3) ** 2 + (y * 2.0 + coarse) ** 2))
    fade = visible(one, pixel)
    table: dict[int, tuple[Tensor, Tensor, Tensor]] = {
        **grid,
        **text,
        Pattern.PLAIN: (zero, zero, one + 0.06 * blotch),
        Pattern.STRIPES: (_faded(step(0.25 - (fract(x) - 0.5).abs(), pixel), fade, 0.5), zero, one),
        Pattern.SPECKLE: (
            _faded(step(specks - 0.45, 2 * pixel), fade, 0.2), _faded(step(-0.55 - specks, 2 * pixel), fade, 0.15), one,
        ),
        Pattern.CAMOUFLAGE: (step(blotch - 0.15, pixel + 0.05), step(-0.5 - blotch, pixel + 0.05), one),
        Pattern.GRADIENT: (surface.t.clamp(0, 1), zero, one),
        Pattern.RIDGED: (zero, zero, 0.8 + 0.25 * ridges),
        Pattern.DOTS: (_faded(step(0.09 - center, pixel), fade, 0.28), zero, one),
        Pattern.MARBLE: (vein, zero, one + 0.1 * coarse),
        Pattern.RINGS: (0.7 * _faded(rings, visible(one, 2 * pixel), 0.5), zero, one),
    }  # fmt: skip
    mix, third, tone = zero, zero, one
    for pattern, (a, b, c) in table.items():
        chosen = m.pattern == pattern
        mix, third, tone = torch.where(chosen, a, mix), torch.where(chosen, b, third), torch.where(chosen, c, tone)
    return mix, third, tone


def _faded(signal: Tensor, fade: Tensor, mean: float) -> Tensor:
    """A signal that tends to its mean as pixels grow beyond its period."""
    return mean + (signal - mean) * fade


def _share(mask: Tensor, fade: Tensor, mean: float) -> Tensor:
    """`_faded` for a mask with the given mean."""
    return _faded(mask.to(fade.dtype), fade, mean)


def _grid_patterns(m: Materials, x: Tensor, y: Tensor, pixel: Tensor, seed: Tensor) -> dict:
    """Checkers, bricks, tiles, planks, carpet, hexagons, chevrons, weave and cells."""
    zero = torch.zeros_like(x)
    fade = visible(zero + 1, pixel)
    row = torch.floor(y)
    even = fract(row * 0.5) * 2  # 0 or 1
    is_brick = (m.pattern == Pattern.BRICK) | (m.pattern == Pattern.PLANKS)
    along = x * torch.where(is_brick | (m.pattern == Pattern.CARPET), m.aspect, 1.0)
    stagger = cell_hash(row.to(torch.int32), row.to(torch.int32), seed + 3)
    shifted = along + torch.where(m.pattern == Pattern.PLANKS, stagger, 0.5 * even * is_brick)
    column = torch.floor(shifted)
    tint = cell_hash(column.to(torch.int32), row.to(torch.int32), seed)
    fx, fy = shifted - column, y - row
    edge_x = (0.5 - (fx - 0.5).abs()) / torch.where(is_brick, m.aspect, 1.0)
    edge_y = 0.5 - (fy - 0.5).abs()
    joint = 1 - step(torch.minimum(edge_x, edge_y) - 0.035, pixel)
    tone = 1 + 0.35 * (tint - 0.5)
    parity = fract((column + row) * 0.5) * 2
    band = 0.5 + 0.5 * torch.sin(6.2832 * y + 4.0 * torch.sin(0.9 * x + 6 * tint))
    fold = fract(y + (fract(x) - 0.5).abs() * 1.5)
    weave = torch.where(parity > 0.5, fx, fy)
    wobble = value_noise(x, y, seed + 9)
    wobble_y = value_noise(x, y, seed + 10)
    cell = cell_hash(torch.floor(x + wobble).to(torch.int32), torch.floor(y + wobble_y).to(torch.int32), seed)
    return {
        Pattern.CHECKER: (_faded(parity, fade, 0.5), zero, zero + 1),
        Pattern.BRICK: (zero, 0.8 * _faded(joint, fade, 0.1), tone),
        Pattern.TILE: (0.5 * _share(tint > 0.8, fade, 0.2), 0.6 * _faded(joint, fade, 0.07), 0.9 + 0.2 * tint),
        Pattern.PLANKS: (0.6 * _faded(band * tint, fade, 0.25), zero, (tone - 0.2 * joint * fade)),
        Pattern.CARPET: (_share(tint > 0.5, fade, 0.5), _share(rehash(tint) > 0.85, fade, 0.15), zero + 1),
        Pattern.HEXAGONS: _hexagons(x, y, pixel, seed, fade),
        Pattern.CHEVRON: (_faded(step(0.25 - (fold - 0.5).abs(), pixel), fade, 0.5), zero, zero + 1),
        Pattern.WEAVE: (_faded(parity, fade, 0.5), zero, 1 + 0.35 * _faded(weave, fade, 0.5) - 0.17),
        Pattern.CELLS: (_faded(cell, fade, 0.5), _share(rehash(cell) > 0.8, fade, 0.2), zero + 1),
    }  # fmt: skip


def _hexagons(x: Tensor, y: Tensor, pixel: Tensor, seed: Tensor, fade: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Hexagonal tiles: the nearer of two interleaved rectangular lattices owns the point."""
    root = 1.7320508
    ax, ay = torch.round(x), torch.round(y / root)
    bx, by = torch.floor(x) + 0.5, torch.floor(y / root) + 0.5
    to_a = (x - ax) ** 2 + (y - ay * root) ** 2
    to_b = (x - bx) ** 2 + (y - by * root) ** 2
    first = to_a < to_b
    cx, cy = torch.where(first, ax, bx), torch.where(first, ay, by)
    tint = cell_hash((2 * cx).to(torch.int32), (2 * cy).to(torch.int32), seed)
    px, py = (x - cx).abs(), (y - cy * root).abs()
    edge = 0.5 - torch.maximum(px, 0.5 * px + 0.8660254 * py)
    joint = 1 - step(edge - 0.03, pixel)
    return 0.8 * _share(tint > 0.7, fade, 0.3), 0.7 * _faded(joint, fade, 0.1), 1 + 0.3 * (tint - 0.5) * fade


def _text_patterns(m: Materials, x: Tensor, y: Tensor, pixel: Tensor, seed: Tensor, surface: Surface) -> dict:
    """Pages of glyph-like marks in lines with words, ragged ends, a headline and a picture block."""
    row = torch.floor(y)
    glyph_x = x * m.aspect
    column = torch.floor(glyph_x)
    r, c = row.to(torch.int32), column.to(torch.int32)
    letter = cell_hash(c, r, seed)
    fx, fy = glyph_x - column, y - row
    sub_x, sub_y = torch.floor(fx * 4.0), torch.floor(fy * 6.0)
    code = (letter * 40.0).to(torch.int32)
    ink = cell_hash(sub_x.to(torch.int32) + 5 * code, sub_y.to(torch.int32), seed * 0 + 77) > 0.42
    body = (sub_x < 3) & (sub_y > 0.5) & (sub_y < 4.5) & (letter > 0.17)
    page_end = 0.55 + 0.4 * cell_hash(r, r, seed + 41)
    margin = (surface.s > 0.08) & (surface.s < page_end) & (surface.t > 0.07) & (surface.t < 0.93)
    paragraph = cell_hash(torch.floor(row / 5).to(torch.int32), seed * 0, seed + 43) > 0.15
    text = (margin & paragraph).float()
    glyphs = torch.lerp(text * 0.35, text * (ink & body).float(), visible(torch.ones_like(x), 3 * pixel))
    blocks_x, blocks_y = torch.floor(surface.s * 3), torch.floor(surface.t * 4)
    block = cell_hash(blocks_x.to(torch.int32), blocks_y.to(torch.int32), seed + 47)
    picture = ((block > 0.72) & margin).float()
    bars = (fract(x * 0.5) > 0.3) & (fract(y) > 0.4) & (letter > 0.3)
    cards = torch.lerp(text * 0.4, text * bars.float(), visible(torch.ones_like(x), 2 * pixel))
    tone = torch.ones_like(x)
    dark = 0.9 * (1 - picture)
    return {
        Pattern.TEXT: (dark * glyphs, picture, tone),
        Pattern.BLOCK_TEXT: (dark * cards, ((block < 0.25) & margin).float() * 0.9, tone),
    }
