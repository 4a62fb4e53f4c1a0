"""Solids of a scene: boxes, cylinders and ellipsoids as affine images of unit shapes.

The unit box is [-1, 1]^3, the unit cylinder x^2 + y^2 <= 1 with |z| <= 1, the unit ellipsoid the
ball of radius 1. A ray keeps its parameter under affine maps, so every test happens in unit shapes.
World axes: z up, the floor at z = 0, the room centred on x = y = 0; metres.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from torch import Tensor

BOXES, CYLINDERS, ELLIPSOIDS = 0, 1, 2


@dataclass(frozen=True)
class Solids:
    """Solids of one kind in any leading dimensions (B, N) or (B, groups, parts)."""

    center: Tensor  # (..., 3), metres
    rotation: Tensor  # (..., 3, 3), world_from_local
    half: Tensor  # (..., 3), half sizes or radii in metres
    present: Tensor  # (...), bool
    material: Tensor  # (...), int64 row of the material table

    def flat(self) -> Solids:
        """(B, groups, parts) -> (B, groups * parts)."""
        return self._map(lambda x: x.flatten(1, 2))

    def where(self, keep: Tensor) -> Solids:
        """Solids that stay present only where ``keep`` (broadcast to ``present``) is true."""
        return Solids(self.center, self.rotation, self.half, self.present & keep, self.material)

    def take(self, count: int) -> Solids:
        """The first ``count`` present solids of (B, N), in order; absent ones fill the rest."""
        missing = count - self.present.shape[1]
        solids = self if missing <= 0 else concat([self, absent_like(self, missing)])
        order = torch.argsort((~solids.present).byte(), dim=1, stable=True)[:, :count]
        rows = torch.arange(len(order), device=order.device)[:, None]
        return solids._map(lambda x: x[rows, order])

    def _map(self, function: Callable[[Tensor], Tensor]) -> Solids:
        return Solids(*(function(getattr(self, field.name)) for field in fields(self)))

    def local_from_world(self) -> Tensor:
        """(..., 3, 4) maps to the unit shape; absent solids get one that no ray and no point meets."""
        linear = self.rotation.transpose(-1, -2) / self.half.unsqueeze(-1)
        offset = -(linear @ self.center.unsqueeze(-1))
        affine = torch.cat([linear, offset], dim=-1)
        nowhere = torch.tensor([[0.0, 0.0, 0.0, 1e4]], device=affine.device).expand(3, 4)
        return torch.where(self.present[..., None, None], affine, nowhere)


def concat(solids: list[Solids]) -> Solids:
    """Solids (B, N_i) as one (B, sum N_i)."""
    names = [field.name for field in fields(Solids)]
    return Solids(*(torch.cat([getattr(s, name) for s in solids], dim=1) for name in names))


def absent_like(solids: Solids, count: int) -> Solids:
    """``count`` absent solids per scene."""
    batch, device = solids.present.shape[0], solids.present.device
    return Solids(
        torch.zeros(batch, count, 3, device=device),
        torch.eye(3, device=device).expand(batch, count, 3, 3),
        torch.ones(batch, count, 3, device=device),
        torch.zeros(batch, count, dtype=torch.bool, device=device),
        torch.zeros(batch, count, dtype=torch.int64, device=device),
    )


def yaw_rotation(yaw: Tensor) -> Tensor:
    """Rotations (..., 3, 3) about world z by ``yaw`` (...), radians."""
    cos, sin, zero = torch.cos(yaw), torch.sin(yaw), torch.zeros_like(yaw)
    rows = [cos, -sin, zero, sin, cos, zero, zero, zero, zero + 1]
    return torch.stack(rows, dim=-1).unflatten(-1, (3, 3))


def tilt_rotation(yaw: Tensor, tilt: Tensor, about: Tensor) -> Tensor:
    """Rotations (..., 3, 3): a tilt (radians) about the horizontal axis at angle ``about``, then a yaw."""
    cos, sin, zero = torch.cos(tilt), torch.sin(tilt), torch.zeros_like(tilt)
    rows = [zero + 1, zero, zero, zero, cos, -sin, zero, sin, cos]
    roll = torch.stack(rows, dim=-1).unflatten(-1, (3, 3))
    return yaw_rotation(about) @ roll @ yaw_rotation(yaw - about)


def place(parts: Solids, position: Tensor, yaw: Tensor) -> Solids:
    """Moves groups of parts (B, K, n) from their own frame to position (B, K, 3) and yaw (B, K)."""
    turn = yaw_rotation(yaw).unsqueeze(-3)  # (B, K, 1, 3, 3)
    center = (turn @ parts.center.unsqueeze(-1)).squeeze(-1) + position.unsqueeze(-2)
    return Solids(center, turn @ parts.rotation, parts.half, parts.present, parts.material)


def signed_distance(kind: int, local: Tensor, half: Tensor) -> Tensor:
    """Distance in metres (...) of unit-shape coordinates ``local`` (..., 3), negative inside.

    Exact for boxes and round cylinders, a lower bound for ellipsoids (their smallest radius counts).
    """
    if kind == ELLIPSOIDS:
        return (local.norm(dim=-1) - 1.0) * half.amin(dim=-1)
    if kind == CYLINDERS:
        radial = (local[..., :2].norm(dim=-1) - 1.0) * half[..., :2].amin(dim=-1)
        axial = (local[..., 2].abs() - 1.0) * half[..., 2]
        outside = torch.hypot(radial.clamp(min=0), axial.clamp(min=0))
        return outside + torch.maximum(radial, axial).clamp(max=0)
    excess = (local.abs() - 1.0) * half
    return excess.clamp(min=0).norm(dim=-1) + excess.amax(dim=-1).clamp(max=0)


def bounding_radius(kind: int, half: Tensor) -> Tensor:
    """Radius (...) in metres of the sphere about the centre that holds the solid."""
    if kind == ELLIPSOIDS:
        return half.amax(dim=-1)
    if kind == CYLINDERS:
        return torch.hypot(half[..., :2].amax(dim=-1), half[..., 2])
    return half.norm(dim=-1)
