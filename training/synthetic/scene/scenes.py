"""Scenes of one window each: a room, furniture on its walls and in its middle, clutter, lights."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..draw import Draw
from ..surface.materials import Materials, draw_materials, pick, rows
from . import furniture
from .furniture import Parts
from .layouts import LayoutTable
from .solids import Solids, concat, place, signed_distance, yaw_rotation

CAPACITY = (128, 28, 16)  # boxes, cylinders, ellipsoids of a scene; static, so that a renderer compiles once
UNITS, CHAIRS, DECORATIONS = 6, 3, 12


@dataclass(frozen=True)
class Scene:
    """B scenes with padded solids; the room is the box |x| <= half x, |y| <= half y, 0 <= z <= 2 half z."""

    room_half: Tensor  # (B, 3), metres
    room_material: Tensor  # (B, 6), rows for the faces -x +x -y +y floor ceiling
    solids: tuple[Solids, Solids, Solids]  # boxes, cylinders, ellipsoids, (B, CAPACITY[kind])
    materials: Materials  # (B, ROWS)
    lights: Lights
    targets: Tensor  # (B, T, 3), points worth looking at, metres
    target_size: Tensor  # (B, T), extent of what is there, metres


@dataclass(frozen=True)
class Lights:
    """Three point lights; only the first throws shadows."""

    position: Tensor  # (B, 3, 3), metres
    color: Tensor  # (B, 3, 3), linear
    reach: Tensor  # (B, 3), metres at which the intensity is halved
    ambient: Tensor  # (B, 3), linear
    fog: Tensor  # (B,), 1 / metres
    shadow: Tensor  # (B,), share of the main light that a shadow takes


def build_scenes(seeds: Tensor, layout: LayoutTable, split: str) -> Scene:
    """Scenes of seeds (B,); each depends on its own seed, layout and split alone."""
    draw = Draw(seeds, stream=1)
    device = seeds.device
    room_half = torch.stack([layout.between(n, draw.uniform()) for n in ("length", "width", "height")], dim=-1) / 2
    units, unit_position, unit_yaw, unit_size = _units(draw, layout, room_half)
    middle, table_top, table_yaw, table_size = _middle_group(draw, layout, room_half)
    clutter = _clutter(draw, layout, (unit_position, unit_yaw, unit_size), (table_top, table_yaw, table_size))
    walls, cables = _decoration(draw, layout, room_half)
    blocks = _blocks(draw, layout, room_half)
    boxes = [middle, blocks, clutter[0], units, walls, _floor_boxes(draw, layout, room_half)]
    every = (concat(boxes), concat([clutter[1], cables]), clutter[2])
    solids = tuple(s.take(n) for s, n in zip(every, CAPACITY, strict=True))
    top_of_units = unit_position + unit_size * torch.tensor([0.0, 0.0, 0.7], device=device)
    return Scene(
        room_half, _room_materials(draw), (solids[0], solids[1], solids[2]),
        draw_materials(Draw(seeds, stream=2), split, device), _lights(Draw(seeds, stream=3), room_half),
        torch.cat([table_top[:, :1], top_of_units], dim=1),
        torch.cat([table_size[:, :1, :2].amax(-1), unit_size[..., :2].amax(-1)], dim=1),
    )  # fmt: skip


def clearance(scene: Scene, points: Tensor) -> Tensor:
    """Distance (B, P) in metres from points (B, P, 3) to the nearest surface, negative inside."""
    x, y, z = points.unbind(-1)
    hx, hy, hz = (h[:, None] for h in scene.room_half.unbind(-1))
    nearest = torch.stack([hx - x.abs(), hy - y.abs(), z, 2 * hz - z], dim=-1).amin(dim=-1)
    for kind, solids in enumerate(scene.solids):
        nearest = torch.minimum(nearest, solid_distance(kind, solids, points).amin(dim=-1))
    return nearest


def solid_distance(kind: int, solids: Solids, points: Tensor) -> Tensor:
    """Signed distances (B, P, N) in metres of points (B, P, 3); infinite for absent solids."""
    affine = solids.local_from_world()[:, None]  # (B, 1, N, 3, 4)
    local = (affine[..., :3] @ points[:, :, None, :, None]).squeeze(-1) + affine[..., 3]
    distance = signed_distance(kind, local, solids.half[:, None])
    return torch.where(solids.present[:, None], distance, math.inf)


def on_wall(room_half: Tensor, wall: Tensor, along: Tensor, gap: Tensor | float) -> tuple[Tensor, Tensor, Tensor]:
    """Positions (B, K, 3) on the floor at ``gap`` from walls (B, K), their yaw (B, K), wall half lengths (B, K).

    Walls 0..3 are +y, +x, -y, -x; ``along`` in [-1, 1] runs over the wall; +y of the result faces the wall.
    """
    yaw = -wall * math.pi / 2
    odd = wall.long() % 2 == 1
    hx, hy = room_half[:, :1], room_half[:, 1:2]
    reach = torch.where(odd, hx, hy) - gap
    length = torch.where(odd, hy, hx)
    local = torch.stack([along * length, reach, torch.zeros_like(reach)], dim=-1)
    return (yaw_rotation(yaw) @ local.unsqueeze(-1)).squeeze(-1), yaw, length


def _units(draw: Draw, layout: LayoutTable, room_half: Tensor) -> tuple[Solids, Tensor, Tensor, Tensor]:
    """Six pieces of furniture along the walls: solids (B, .), positions and sizes (B, 6, 3), yaw (B, 6)."""
    wall, along = layout.slots[..., 0], layout.slots[..., 1]
    depth = layout.between("unit_depth", draw.uniform(UNITS))
    height = layout.between("unit_height", draw.uniform(UNITS))
    share = layout.aisles[:, None] * draw.uniform(UNITS, low=0.3)
    *_, length = on_wall(room_half, wall, along, 0.0)
    spacing = torch.where(along.abs() == 0.5, 1.0, torch.where((wall == 1) | (wall == 3), 1.6, 0.66))
    width = (layout.unit_width[:, None] * length * spacing * draw.uniform(UNITS, low=0.5)).clamp(0.5, 6.0)
    across = torch.where(wall.long() % 2 == 1, room_half[:, :1], room_half[:, 1:2])
    gap = depth / 2 + 0.01 + share * (across - depth).clamp(min=0)
    position, yaw, _ = on_wall(room_half, wall, along + draw.uniform(UNITS, low=-0.06, high=0.06), gap)
    slack = draw.normal(UNITS, std=0.02) + draw.chance(0.15, UNITS) * draw.normal(UNITS, std=0.2)
    size = torch.stack([width, depth, torch.minimum(height, 2 * room_half[:, 2:] - 0.1)], dim=-1)
    size[..., 0] = torch.minimum(size[..., 0], 1.9 * length)
    edges = layout.unit_kinds.cumsum(-1)[:, None]  # (B, 1, 5)
    kind = (draw.uniform(UNITS, 1) > edges).sum(-1)
    low = kind.eq(2) | kind.eq(3)  # tables and sofas are low
    size[..., 2] = torch.where(low, (0.3 + 0.4 * draw.uniform(UNITS)) * size[..., 2].clamp(max=1.6), size[..., 2])
    wood, top = pick(draw, "wood", UNITS), pick(draw, "wood", UNITS)
    shared = pick(draw, "paint", 1).expand(-1, UNITS)  # kitchens repeat one front
    front = torch.where(draw.chance(0.6, UNITS), shared, pick(draw, "paint", UNITS))
    options = [
        furniture.shelf(size, torch.where(draw.chance(0.6, UNITS), wood, front)),
        furniture.cabinet(size, front, top, pick(draw, "metal", UNITS)),
        furniture.table(size, wood, top, draw.uniform(UNITS)),
        furniture.sofa(size, pick(draw, "fabric", UNITS), pick(draw, "fabric", UNITS)),
        furniture.stack(size, pick(draw, "object", UNITS, 6), draw.uniform(UNITS, 6)),
    ]
    solids = place(furniture.select(kind.clamp(max=4), options).where((kind < 5)[..., None]), position, yaw + slack)
    size = torch.cat([size, kind.unsqueeze(-1).float()], dim=-1)
    return solids.flat(), position, yaw + slack, size[..., :3] * (kind < 5)[..., None]


def _middle_group(draw: Draw, layout: LayoutTable, room_half: Tensor) -> tuple[Solids, Tensor, Tensor, Tensor]:
    """A table with chairs: solids, the top's middle (B, 1, 3), its yaw (B, 1), its size (B, 1, 3)."""
    present = draw.uniform(1) < layout.table[:, None]
    long_side = layout.between("table_size", draw.uniform(1))
    size = torch.stack(
        [long_side, long_side * draw.uniform(1, low=0.45), layout.between("table_height", draw.uniform(1))], dim=-1
    )
    floor = torch.zeros_like(size)
    floor[..., :2] = draw.uniform(1, 2, low=-0.3, high=0.3) * room_half[:, None, :2]
    yaw = draw.integers(4, 1) * (math.pi / 2) + draw.normal(1, std=0.25)
    legs = torch.where(draw.chance(0.6, 1), pick(draw, "wood", 1), pick(draw, "metal", 1))
    top = torch.where(draw.chance(0.75, 1), pick(draw, "wood", 1), pick(draw, "paint", 1))
    table = place(furniture.table(size, top, legs, draw.uniform(1)).where(present[..., None]), floor, yaw)
    around = yaw + math.pi / 2 * torch.tensor([0.0, 1.0, 2.0], device=yaw.device) + draw.normal(CHAIRS, std=0.3)
    side = torch.where(torch.arange(CHAIRS, device=yaw.device) == 1, size[..., 0], size[..., 1])
    reach = side / 2 + draw.uniform(CHAIRS, low=0.05, high=0.6)
    outward = torch.stack([-torch.sin(around), torch.cos(around), torch.zeros_like(around)], dim=-1)
    chair_size = torch.stack(
        [draw.uniform(CHAIRS, low=0.38, high=0.5), draw.uniform(CHAIRS, low=0.38, high=0.5),
         draw.uniform(CHAIRS, low=0.8, high=1.05)], dim=-1
    )  # fmt: skip
    seat = torch.where(draw.chance(0.5, 1), pick(draw, "fabric", 1), legs).expand(-1, CHAIRS)
    chairs = furniture.chair(chair_size, legs.expand(-1, CHAIRS), seat, draw.uniform(1).expand(-1, CHAIRS))
    chairs = chairs.where((draw.uniform(CHAIRS) < layout.chairs[:, None])[..., None])
    chairs = place(chairs, floor + outward * reach.unsqueeze(-1), around)
    surface = floor + size * torch.tensor([0.0, 0.0, 1.0], device=yaw.device) * present[..., None]
    return concat([table.flat(), chairs.flat()]), surface, yaw, size


def _clutter(draw: Draw, layout: LayoutTable, units: tuple[Tensor, ...], middle: tuple[Tensor, ...]) -> list[Solids]:
    """Objects on the table, on the units and inside shelves, by kind."""
    scale = layout.between("object_scale", draw.uniform(1))
    density = layout.between("density", draw.uniform(1))
    top, yaw, size = middle
    on_table = furniture.clutter(draw, top, yaw, size[..., :2], scale, (14, 7, 6), density)
    position, yaw, size = units
    there = density * (size[..., 2] > 0) * (size[..., 2] < 1.7)
    lift = torch.tensor([0.0, 0.0, 1.0], device=yaw.device)
    spread = scale * draw.log_uniform(UNITS, low=0.7, high=1.6)
    on_units = furniture.clutter(draw, position + size * lift, yaw, size[..., :2], spread, (4, 2, 1), there)
    level = draw.integers(4, UNITS)
    board = furniture.shelf_height(size[..., 2], level, 5) + 0.012
    stored = furniture.clutter(
        draw, position + board.unsqueeze(-1) * lift, yaw, size[..., :2], spread * 1.3, (5, 2, 0),
        density * (size[..., 2] > 1.0),
    )  # fmt: skip
    return [concat([on_table[k], on_units[k], stored[k]]) for k in range(3)]


def _decoration(draw: Draw, layout: LayoutTable, room_half: Tensor) -> tuple[Solids, Solids]:
    """Pictures, posters, windows, doors, screens, wall cabinets and boards as boxes; cables as cylinders."""
    k = DECORATIONS
    wall, along = draw.integers(4, k).float(), draw.uniform(k, low=-0.9, high=0.9)
    form = draw.uniform(k)
    kinds = [  # upper edge of the chance, role, half width, half height, depth, bottom (negative: hung at eye level)
        (0.42, "printed", (0.08, 0.6), (0.1, 0.5), (0.004, 0.03), -1.0),
        (0.55, "sky", (0.3, 0.9), (0.35, 0.8), (0.01, 0.02), 0.9),
        (0.67, "paint", (0.35, 0.5), (0.95, 1.1), (0.02, 0.05), 0.0),
        (0.75, "screen", (0.2, 0.6), (0.15, 0.35), (0.02, 0.08), -1.0),
        (0.88, "paint", (0.3, 1.0), (0.25, 0.45), (0.15, 0.2), 1.45),
        (1.01, "wood", (0.2, 0.9), (0.012, 0.03), (0.08, 0.18), -1.0),
    ]
    half, bottom, material = torch.zeros_like(room_half[:, None].expand(-1, k, -1)), form * 0, pick(draw, "lamp", k)
    lower = 0.0
    for upper, role, width, height, depth, low in kinds:
        chosen = (form >= lower) & (form < upper)
        size = torch.stack([draw.uniform(k, low=a, high=b) for a, b in (width, depth, height)], dim=-1)
        half = torch.where(chosen[..., None], size, half)
        base = draw.uniform(k, low=0.8, high=1.9) if low < 0 else torch.full_like(form, low)
        bottom = torch.where(chosen, base, bottom)
        material = torch.where(chosen, pick(draw, role, k), material)
        lower = upper
    half[..., 2] = torch.minimum(half[..., 2], (room_half[:, 2:] - bottom / 2 - 0.02).clamp(min=0.01))
    position, yaw, _ = on_wall(room_half, wall, along, 0.0)
    parts = Parts(form)
    present = draw.uniform(k) < layout.decoration[:, None]
    parts.add((0, 0, bottom + half[..., 2]), tuple(half.unbind(-1)), material, present)
    frame = pick(draw, "paint", 1).expand(-1, k)
    thick = 0.02 + 0.05 * draw.uniform(k)
    framed = present & (form < 0.75) & draw.chance(0.6, k)
    parts.add(
        (0, 0, bottom + half[..., 2]), (half[..., 0] + thick, half[..., 1] * 0.7, half[..., 2] + thick), frame, framed
    )
    cables = Parts(form[:, :4])
    length = draw.uniform(4, low=0.2, high=1.2)
    dark = pick(draw, "metal", 4)
    there = draw.uniform(4) < layout.decoration[:, None] * 0.7
    radius = draw.log_uniform(4, low=0.005, high=0.04)
    cables.add((0, -radius, draw.uniform(4, low=0.2, high=1.4) + length), (radius, radius, length), dark, there)
    cable_position, cable_yaw, _ = on_wall(room_half, wall[:, 4:8], -along[:, 4:8], 0.0)
    return place(parts.build(), position, yaw).flat(), place(cables.build(), cable_position, cable_yaw).flat()


def _blocks(draw: Draw, layout: LayoutTable, room_half: Tensor) -> Solids:
    """Two wall blocks that make the room an L or a niche, three pillars, two ceiling lamps."""
    hx, hy, hz = (h[:, None] for h in room_half.unbind(-1))
    parts = Parts(hx)
    wall = rows("wall").start
    for i in range(2):
        size = [draw.uniform(1, low=0.12, high=0.45) * h for h in (hx, hy)]
        sign = [draw.integers(2, 1) * 2 - 1 for _ in range(2)]
        center = (sign[0] * (hx - size[0]), sign[1] * (hy - size[1]), hz)
        row = torch.full_like(sign[0], wall + 1 + i)
        parts.add(center, (size[0], size[1], hz), row, draw.uniform(1) < layout.blocks[:, None])
    for _ in range(3):
        radius = draw.uniform(1, low=0.08, high=0.3)
        x, y = (draw.uniform(1, low=-0.85, high=0.85) * h for h in (hx, hy))
        keep = draw.uniform(1) < layout.pillars[:, None]
        parts.add((x, y, hz), (radius, radius, hz), pick(draw, "wall", 1), keep)
    lamp = torch.full((len(hx), 1), rows("lamp").start, device=hx.device)
    for _ in range(2):
        x, y = (draw.uniform(1, low=-0.6, high=0.6) * h for h in (hx, hy))
        half = (draw.uniform(1, low=0.08, high=0.6), draw.uniform(1, low=0.08, high=0.3), 0.02)
        parts.add((x, y, 2 * hz - 0.03), half, lamp, draw.chance(0.6, 1))
    return parts.build().flat()


def _floor_boxes(draw: Draw, layout: LayoutTable, room_half: Tensor) -> Solids:
    """Five crates standing anywhere, at any yaw."""
    size = [layout.between("floor_box_size", draw.uniform(5)) * draw.uniform(5, low=0.6, high=1.3) for _ in range(3)]
    x, y = (draw.uniform(5, low=-0.9, high=0.9) * h for h in (room_half[:, :1], room_half[:, 1:2]))
    parts = Parts(x)
    material = torch.where(draw.chance(0.4, 5), pick(draw, "wood", 5), pick(draw, "object", 5))
    keep = draw.uniform(5) < layout.floor_boxes[:, None]
    parts.add((0, 0, size[2] / 2), tuple(s / 2 for s in size), material, keep)
    yaw = draw.uniform(5, high=math.pi)
    return place(parts.build(), torch.stack([x, y, torch.zeros_like(x)], dim=-1), yaw).flat()


def _room_materials(draw: Draw) -> Tensor:
    """Table rows (B, 6) of the faces: most rooms have one wall colour and now and then an accent."""
    wall = pick(draw, "wall", 4)
    same = draw.chance(0.7, 4)
    wall = torch.where(same, wall[:, :1], wall)
    floor = torch.full_like(wall[:, :1], rows("floor").start)
    return torch.cat([wall, floor, torch.full_like(floor, rows("ceiling").start)], dim=1)


def _lights(draw: Draw, room_half: Tensor) -> Lights:
    """A main light under the ceiling or a low sun far outside, two weaker ones anywhere, a tinted ambient."""
    spot = draw.uniform(3, 3, low=-0.8, high=0.8) * room_half[:, None]
    height = room_half[:, None, 2] * draw.uniform(3, low=1.4, high=1.97)
    position = torch.cat([spot[..., :2], height.unsqueeze(-1)], dim=-1)
    azimuth, elevation = draw.uniform(high=2 * math.pi), draw.uniform(low=0.35, high=1.3)
    flat = torch.cos(elevation)
    sun = 40.0 * torch.stack([flat * torch.cos(azimuth), flat * torch.sin(azimuth), torch.sin(elevation)], dim=-1)
    outside = draw.chance(0.25)
    main = torch.arange(3, device=sun.device) == 0
    position = torch.where((outside[:, None] & main)[..., None], sun[:, None], position)
    warmth = draw.uniform(3, 1, low=-0.25, high=0.25)
    tint = 1.0 + warmth * torch.tensor([1.0, 0.1, -1.0], device=sun.device)
    power = draw.uniform(3, low=0.4, high=1.0) * torch.tensor([1.6, 0.6, 0.5], device=sun.device)
    reach = draw.uniform(3, low=0.7, high=2.0) * room_half.amax(-1, keepdim=True)
    reach = torch.where(outside[:, None] & main, 1e4, reach)
    ambient = draw.uniform(1, low=0.12, high=0.6) * (1 + 0.5 * (tint.mean(1) - 1))
    fog = torch.where(draw.chance(0.3), draw.uniform(high=0.04), 0.0)
    return Lights(position, tint * power.unsqueeze(-1), reach, ambient, fog, draw.uniform(low=0.5, high=1.0))
