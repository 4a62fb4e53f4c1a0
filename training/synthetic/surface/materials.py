"""The material table of a scene: which colours, pattern and gloss each role gets.

A table has `ROWS` rows per scene, grouped by role; solids and room faces refer to rows. Patterns are
split like palettes: the benchmark's patterns never occur in training and the other way round.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from ..draw import Draw
from .palettes import anchors

ROLES = {
    "floor": 1, "ceiling": 1, "wall": 4, "wood": 6, "paint": 8, "metal": 4, "fabric": 6, "object": 16,
    "printed": 12, "screen": 2, "lamp": 1, "sky": 1,
}  # fmt: skip
ROWS = sum(ROLES.values())


class Pattern:
    """What `textures` can draw; plain numbers, because torch.compile cannot trace an enum."""

    PLAIN = 0
    CHECKER = 1
    BRICK = 2
    TILE = 3
    STRIPES = 4
    PLANKS = 5
    SPECKLE = 6
    TEXT = 7
    CAMOUFLAGE = 8
    GRADIENT = 9
    CARPET = 10
    RIDGED = 11
    HEXAGONS = 12
    CHEVRON = 13
    DOTS = 14
    WEAVE = 15
    MARBLE = 16
    CELLS = 17
    BLOCK_TEXT = 18
    RINGS = 19
    COUNT = 20


_P = Pattern
PATTERNS: dict[str, dict[str, list[int]]] = {
    "train": {
        "floor": [_P.PLANKS] * 3 + [_P.TILE] * 2 + [_P.CHECKER, _P.CARPET, _P.CARPET, _P.SPECKLE, _P.CAMOUFLAGE],
        "ceiling": [_P.PLAIN, _P.PLAIN, _P.TILE],
        "wall": [_P.PLAIN] * 4 + [_P.TILE, _P.BRICK, _P.STRIPES, _P.SPECKLE, _P.GRADIENT],
        "wood": [_P.PLANKS],
        "paint": [_P.PLAIN] * 4 + [_P.SPECKLE, _P.GRADIENT],
        "metal": [_P.PLAIN, _P.STRIPES, _P.GRADIENT],
        "fabric": [_P.CARPET, _P.CHECKER, _P.STRIPES, _P.PLAIN, _P.CAMOUFLAGE],
        "object": [_P.PLAIN] * 3 + [_P.STRIPES, _P.CHECKER, _P.CAMOUFLAGE, _P.GRADIENT, _P.SPECKLE, _P.TEXT],
        "printed": [_P.TEXT] * 5 + [_P.GRADIENT, _P.CHECKER, _P.CAMOUFLAGE],
        "screen": [_P.TEXT, _P.GRADIENT],
    },
    "benchmark": {
        "floor": [_P.HEXAGONS, _P.CHEVRON, _P.CHEVRON, _P.WEAVE, _P.MARBLE, _P.CELLS],
        "ceiling": [_P.RIDGED, _P.MARBLE, _P.HEXAGONS],
        "wall": [_P.RIDGED] * 3 + [_P.HEXAGONS, _P.CHEVRON, _P.CELLS, _P.DOTS, _P.MARBLE],
        "wood": [_P.RINGS],
        "paint": [_P.RIDGED, _P.RIDGED, _P.MARBLE, _P.RINGS],
        "metal": [_P.RIDGED, _P.WEAVE, _P.RINGS],
        "fabric": [_P.WEAVE, _P.DOTS, _P.CHEVRON, _P.CELLS],
        "object": [_P.RIDGED, _P.RIDGED, _P.DOTS, _P.RINGS, _P.CELLS, _P.CHEVRON, _P.BLOCK_TEXT],
        "printed": [_P.BLOCK_TEXT] * 4 + [_P.DOTS, _P.CELLS, _P.RINGS],
        "screen": [_P.BLOCK_TEXT, _P.RINGS],
    },
}

# Pattern period in metres (low, high) for large surfaces, and the side ratio of one cell.
_SCALES = {
    _P.PLAIN: (0.1, 1.0), _P.CHECKER: (0.04, 0.5), _P.BRICK: (0.06, 0.2), _P.TILE: (0.08, 0.5),
    _P.STRIPES: (0.04, 0.4), _P.PLANKS: (0.06, 0.25), _P.SPECKLE: (0.02, 0.1), _P.TEXT: (0.012, 0.06),
    _P.CAMOUFLAGE: (0.05, 0.6), _P.GRADIENT: (0.3, 2.0), _P.CARPET: (0.02, 0.08), _P.RIDGED: (0.1, 0.8),
    _P.HEXAGONS: (0.06, 0.4), _P.CHEVRON: (0.05, 0.3), _P.DOTS: (0.04, 0.25), _P.WEAVE: (0.03, 0.15),
    _P.MARBLE: (0.2, 1.0), _P.CELLS: (0.05, 0.4), _P.BLOCK_TEXT: (0.02, 0.08), _P.RINGS: (0.06, 0.3),
}  # fmt: skip
_ASPECTS = {_P.BRICK: 0.35, _P.PLANKS: 0.12, _P.TEXT: 1.6, _P.BLOCK_TEXT: 1.3, _P.CARPET: 0.15}
_ROLE_SCALE = {"object": 0.3, "printed": 0.6, "screen": 0.6, "wood": 0.8, "fabric": 0.5, "metal": 0.5}
_SPECULAR = {"metal": 0.5, "object": 0.35, "paint": 0.3, "floor": 0.22, "wood": 0.18, "printed": 0.15, "screen": 0.4}


@dataclass(frozen=True)
class Materials:
    """Material properties; (B, ROWS) in a table, (..., pixels) after a look-up. Colours are linear light."""

    color_a: Tensor  # (..., 3)
    color_b: Tensor  # (..., 3)
    color_c: Tensor  # (..., 3)
    pattern: Tensor  # one of `Pattern`, as float32 like everything else
    scale: Tensor  # metres per pattern cell
    aspect: Tensor  # cell width over cell height is 1 / aspect
    cos: Tensor  # direction of the pattern on the surface
    sin: Tensor
    seed: Tensor  # integer below 2^20
    grain: Tensor  # amplitude of fine noise
    stain: Tensor  # amplitude of coarse noise
    specular: Tensor  # mirror-like share
    gloss: Tensor  # Blinn exponent
    emission: Tensor  # times the colour
    photo: Tensor  # atlas index in [0, 1), negative for none
    photo_scale: Tensor  # metres per photograph, 0: fitted to the face
    sky: Tensor  # 1: no surface at all, invalid depth

    def pack(self) -> Tensor:
        """(..., FIELDS) float32."""
        columns = [getattr(self, field.name) for field in fields(self)]
        return torch.cat([c if i < 3 else c.unsqueeze(-1) for i, c in enumerate(columns)], dim=-1)


def unpack(packed: Tensor) -> Materials:
    """Inverse of `Materials.pack`."""
    colors = [packed[..., 3 * i : 3 * i + 3] for i in range(3)]
    return Materials(*colors, *packed[..., 9:].unbind(-1))


def rows(role: str) -> range:
    """The table rows of a role."""
    start = 0
    for name, count in ROLES.items():
        if name == role:
            return range(start, start + count)
        start += count
    raise KeyError(role)


def pick(draw: Draw, role: str, *shape: int) -> Tensor:
    """Random rows (B, *shape) of a role."""
    span = rows(role)
    return draw.integers(len(span), *shape) + span.start


def draw_materials(draw: Draw, split: str, device: torch.device) -> Materials:
    """The table (B, ROWS) of every window."""
    parts = [_draw_role(draw, role, count, split, device) for role, count in ROLES.items()]
    columns = [torch.cat([getattr(part, f.name) for part in parts], dim=1) for f in fields(Materials)]
    return Materials(*columns)


def _draw_role(draw: Draw, role: str, count: int, split: str, device: torch.device) -> Materials:
    source = {"lamp": "ceiling", "sky": "ceiling"}.get(role, role)
    pattern = draw.choice(torch.tensor(PATTERNS[split][source]), count)
    colors = [_jittered(draw, anchors(split, source, device), count) for _ in range(3)]
    near = draw.uniform(count, 1, low=0.35, high=1.25)  # the second colour is often a shade of the first
    shade = torch.where(draw.chance(0.6, count, 1), colors[0] * near, colors[1]).clamp(max=0.95)
    bounds = torch.tensor([_SCALES[p] for p in range(Pattern.COUNT)], device=device).log()[pattern]
    scale = torch.exp(draw.uniform(count, low=bounds[..., 0], high=bounds[..., 1])) * _ROLE_SCALE.get(role, 1.0)
    aspect = torch.tensor([_ASPECTS.get(p, 1.0) for p in range(Pattern.COUNT)], device=device)[pattern]
    quarter = draw.integers(2, count) * 1.5708
    angle = torch.where(draw.chance(0.7, count), quarter, draw.uniform(count, high=6.28))
    angle = angle * (role != "printed") * (role != "screen")
    specular = _SPECULAR.get(role, 0.06) * draw.uniform(count, high=2.0) * (draw.chance(0.7, count))
    glow = {"lamp": 6.0, "sky": 5.0, "screen": 1.2}.get(role, 0.0)
    photo = torch.where(draw.chance(0.5, count), draw.uniform(count), -1.0)
    fitted = draw.chance(0.7 if role in ("printed", "screen") else 0.1, count)
    return Materials(
        *(colors[0], shade, colors[2]),
        pattern.float(), scale, aspect * draw.uniform(count, low=0.7, high=1.3),
        torch.cos(angle), torch.sin(angle), draw.integers(1 << 20, count).float(),
        draw.uniform(count, low=0.03, high=0.35), draw.uniform(count, low=0.0, high=0.35),
        specular, draw.log_uniform(count, low=8.0, high=150.0),
        glow * draw.uniform(count, low=0.3, high=1.0) * (draw.chance(0.7, count) if role == "screen" else 1.0),
        photo if role not in ("lamp", "sky") else -torch.ones_like(photo),
        draw.log_uniform(count, low=0.15, high=2.0) * ~fitted,
        torch.full_like(scale, float(role == "sky")),
    )  # fmt: skip


def _jittered(draw: Draw, palette: Tensor, count: int) -> Tensor:
    """Palette colours (B, count, 3) with varied brightness and a slight tint."""
    gain = draw.uniform(count, 1, low=0.6, high=1.2) * draw.uniform(count, 3, low=0.88, high=1.12)
    return (draw.choice(palette, count) * gain).clamp(0.004, 0.95)
