"""Analytic ray casting against batches of padded solids; exact depth, no mesh, no Python loop over scenes.

Rays come in tiles: T tiles of P rays that start at one point. On the CPU, solids that no ray of a
tile can meet are dropped first (`cull`); under torch.compile all of them are tested in one fused
reduction, so that nothing of size rays x solids is ever stored and every shape is static.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .solids import BOXES, CYLINDERS, ELLIPSOIDS, Solids, bounding_radius

FAR = 1e6  # metres; no hit
_TINY = 1e-12  # keeps 1 / direction finite; far below any direction in unit-shape coordinates


class Caster:
    """The solids of B scenes, ready for rays of T tiles; ``scene`` (T,) names each tile's scene."""

    def __init__(self, solids: tuple[Solids, Solids, Solids], scene: Tensor, cull: bool) -> None:
        self.solids, self.scene, self.cull = solids, scene, cull
        self.affine = [s.local_from_world() for s in solids]  # (B, N, 3, 4)
        self.radius = [torch.where(s.present, bounding_radius(k, s.half), -FAR) for k, s in enumerate(solids)]

    def cast(self, origin: Tensor, direction: Tensor, limit: float = FAR) -> tuple[Tensor, Tensor]:
        """Nearest entry of rays origin (T, 3) + t * direction (T, P, 3) with 0 < t < limit.

        Returns t (T, P), `FAR` where nothing is met, and the index (T, P) among all solids.
        """
        nearest = torch.full_like(direction[..., 0], FAR)
        index = torch.zeros_like(nearest, dtype=torch.int64)
        first = 0
        for kind, solids in enumerate(self.solids):
            chosen = self._along(kind, origin, direction, limit) if self.cull else None
            t, best = _nearest(kind, self._affine(kind, chosen), origin, direction)
            best = best if chosen is None else chosen.gather(1, best)
            index = torch.where(t < nearest, best + first, index)
            nearest = torch.minimum(t, nearest)
            first += solids.present.shape[1]
        return nearest, index

    def distance(self, points: Tensor, reach: float) -> Tensor:
        """Distance (T, P) in metres from points (T, P, 3) to the nearest solid: 0 inside, at most ``reach``."""
        nearest = torch.full_like(points[..., 0], reach * reach)
        for kind, solids in enumerate(self.solids):
            chosen = self._around(kind, points, reach) if self.cull else None
            half = [h[:, None] for h in _rows(solids.half, self.scene, chosen).unbind(-1)]  # (T, 1, K)
            affine = self._affine(kind, chosen)
            local = [x + affine[:, None, :, i, 3] for i, x in enumerate(_turn(affine, points))]  # (T, P, K)
            nearest = torch.minimum(nearest, _squared_gap(kind, local, half).amin(dim=-1))
        return torch.sqrt(nearest)

    def _affine(self, kind: int, chosen: Tensor | None) -> Tensor:
        return _rows(self.affine[kind], self.scene, chosen)

    def _along(self, kind: int, origin: Tensor, direction: Tensor, limit: float) -> Tensor:
        """Solids (T, K) whose bounding sphere touches the cone about a tile's rays."""
        unit = torch.nn.functional.normalize(direction, dim=-1)
        axis = torch.nn.functional.normalize(unit.mean(dim=1), dim=-1)  # (T, 3)
        spread = torch.acos((unit @ axis.unsqueeze(-1)).squeeze(-1).amin(dim=1).clamp(-1, 1))
        reach = direction.norm(dim=-1).amax(dim=1) * limit
        radius = self.radius[kind][self.scene]  # (T, N)
        to = self.solids[kind].center[self.scene] - origin[:, None]
        distance = to.norm(dim=-1).clamp(min=1e-6)
        angle = torch.acos(((to @ axis.unsqueeze(-1)).squeeze(-1) / distance).clamp(-1, 1))
        widest = torch.asin((radius / distance).clamp(0, 1)) + spread[:, None] + 1e-3
        inside = distance <= radius
        return _compact((radius > 0) & (inside | (angle <= widest)) & (distance - radius < reach[:, None]))

    def _around(self, kind: int, points: Tensor, reach: float) -> Tensor:
        """Solids (T, K) whose bounding sphere comes within ``reach`` of the box about a tile's points."""
        low, high = points.amin(dim=1)[:, None], points.amax(dim=1)[:, None]
        center = self.solids[kind].center[self.scene]
        outside = (torch.maximum(low - center, center - high)).clamp(min=0).norm(dim=-1)
        radius = self.radius[kind][self.scene]
        return _compact((radius > 0) & (outside < radius + reach))


def room_exit(half: Tensor, origin: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
    """Where rays leave rooms: t (T, P) and the face (T, P) in the order -x +x -y +y floor ceiling.

    half (T, 3), origin (T, 3), direction (T, P, 3).
    """
    lift = torch.zeros_like(half)
    lift[:, 2] = half[:, 2]
    wall = torch.sign(direction) * half[:, None]
    t = (wall - (origin - lift)[:, None]) / (direction + _TINY)
    t = torch.where(direction.abs() > 1e-9, t, FAR)
    nearest, axis = t.min(dim=-1)
    positive = direction.gather(-1, axis.unsqueeze(-1)).squeeze(-1) > 0
    return nearest, 2 * axis + positive


def _compact(mask: Tensor) -> Tensor:
    """Indices (T, K) of the true entries of (T, N), padded with false ones; K is the largest count."""
    count = max(1, int(mask.sum(dim=1).max()))
    return torch.argsort((~mask).byte(), dim=1, stable=True)[:, :count]


def _rows(table: Tensor, scene: Tensor, chosen: Tensor | None) -> Tensor:
    """Per-solid data (B, N, ...) of each tile's scene and chosen solids, (T, K, ...)."""
    return table[scene] if chosen is None else table[scene[:, None], chosen]


def _turn(affine: Tensor, vectors: Tensor) -> list[Tensor]:
    """The linear part of affine (T, K, 3, 4) on vectors (T, P, 3): x, y and z of (T, P, K)."""
    if torch.compiler.is_compiling():  # elementwise, so that it fuses into the reduction over solids
        x, y, z = (v.unsqueeze(-1) for v in vectors.unbind(-1))
        rows = [affine[:, None, :, i, :3].unbind(-1) for i in range(3)]
        return [x * a + y * b + z * c for a, b, c in rows]
    return [vectors @ affine[:, :, i, :3].transpose(-1, -2) for i in range(3)]


def _nearest(kind: int, affine: Tensor, origin: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
    """t and column (T, P) of the nearest entry among the solids (T, K, 3, 4) of one kind."""
    start = (affine[..., :3] @ origin[:, None, :, None]).squeeze(-1) + affine[..., 3]  # (T, K, 3)
    o = [s[:, None] for s in start.unbind(-1)]  # (T, 1, K)
    d = _turn(affine, direction)  # (T, P, K)
    entry = {BOXES: _box_entry, CYLINDERS: _cylinder_entry, ELLIPSOIDS: _ball_entry}[kind](o, d)
    best = entry.min(dim=-1)
    return best.values, best.indices


def _slab(o: Tensor, d: Tensor) -> tuple[Tensor, Tensor]:
    """Ray parameters at which one coordinate enters and leaves [-1, 1]."""
    inverse = 1.0 / (d + _TINY)
    middle, width = -o * inverse, inverse.abs()
    return middle - width, middle + width


def _box_entry(o: list[Tensor], d: list[Tensor]) -> Tensor:
    (x0, x1), (y0, y1), (z0, z1) = (_slab(a, b) for a, b in zip(o, d, strict=True))
    near = torch.maximum(torch.maximum(x0, y0), z0)
    far = torch.minimum(torch.minimum(x1, y1), z1)
    return torch.where((near < far) & (near > 0), near, FAR)


def _ball_entry(o: list[Tensor], d: list[Tensor]) -> Tensor:
    speed = d[0] * d[0] + d[1] * d[1] + d[2] * d[2] + _TINY
    closest = -(o[0] * d[0] + o[1] * d[1] + o[2] * d[2]) / speed
    x, y, z = (a + closest * b for a, b in zip(o, d, strict=True))
    inside = 1.0 - (x * x + y * y + z * z)
    near = closest - torch.sqrt(inside.clamp(min=0) / speed)
    return torch.where((inside > 0) & (near > 0), near, FAR)


def _cylinder_entry(o: list[Tensor], d: list[Tensor]) -> Tensor:
    speed = d[0] * d[0] + d[1] * d[1] + _TINY
    closest = -(o[0] * d[0] + o[1] * d[1]) / speed
    x, y = o[0] + closest * d[0], o[1] + closest * d[1]
    inside = 1.0 - (x * x + y * y)
    half = torch.sqrt(inside.clamp(min=0) / speed)
    z0, z1 = _slab(o[2], d[2])
    near, far = torch.maximum(closest - half, z0), torch.minimum(closest + half, z1)
    return torch.where((inside > 0) & (near < far) & (near > 0), near, FAR)


def _squared_gap(kind: int, local: list[Tensor], half: list[Tensor]) -> Tensor:
    """Squared distance (T, P, K) in metres to solids from unit-shape coordinates, 0 inside."""
    if kind == BOXES:
        x, y, z = (((a.abs() - 1.0) * h).clamp(min=0) for a, h in zip(local, half, strict=True))
        return x * x + y * y + z * z
    radial = local[0] * local[0] + local[1] * local[1]
    if kind == CYLINDERS:
        x, z = (torch.sqrt(radial) - 1.0).clamp(min=0) * half[0], (local[2].abs() - 1.0).clamp(min=0) * half[2]
        return x * x + z * z
    smallest = torch.minimum(torch.minimum(half[0], half[1]), half[2])
    gap = (torch.sqrt(radial + local[2] * local[2]) - 1.0).clamp(min=0) * smallest
    return gap * gap
