"""Scene families and their layout variants; variant 2 of every family is the benchmark's alone."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

Range = tuple[float, float]
Slots = tuple[tuple[int, float], ...]  # (wall 0..3, position along it in [-1, 1]) of six units

_AROUND: Slots = ((0, -0.5), (0, 0.5), (1, 0.0), (2, -0.5), (2, 0.5), (3, 0.0))
_LONG: Slots = ((0, -0.68), (0, 0.0), (0, 0.68), (2, -0.68), (2, 0.0), (2, 0.68))
_KITCHEN: Slots = ((0, -0.66), (0, 0.0), (0, 0.66), (1, 0.5), (1, -0.3), (3, 0.0))
_ENDS: Slots = ((1, -0.5), (1, 0.5), (3, -0.5), (3, 0.5), (0, 0.0), (2, 0.0))


@dataclass(frozen=True)
class Layout:
    """Ranges and probabilities of one layout variant; lengths in metres."""

    length: Range
    width: Range
    height: Range
    slots: Slots
    unit_width: float  # at most this share of the slot's wall
    unit_depth: Range
    unit_height: Range
    unit_kinds: tuple[float, float, float, float, float]  # shelf, cabinet, table, sofa, stack; the rest is empty
    table: float  # chance of a table in the middle
    table_size: Range
    table_height: Range
    chairs: float  # chance of each of three chairs
    object_scale: Range
    density: Range  # share of the clutter that is there
    floor_boxes: float
    floor_box_size: Range
    pillars: float
    blocks: float  # chance of each of two wall blocks that break the rectangle
    decoration: float  # chance of each picture, window, door, screen or board on the walls
    aisles: float  # units stand this share of the way from their wall to the middle
    orbit: float  # share of handheld windows that circle an object


LAYOUTS: dict[str, tuple[Layout, Layout, Layout]] = {
    "room": (
        Layout((3.0, 7.0), (2.8, 5.5), (2.3, 3.0), _AROUND, 0.85, (0.3, 0.75), (0.4, 2.1), (0.3, 0.25, 0.1, 0.2, 0.1),
               0.7, (0.7, 1.8), (0.42, 0.78), 0.55, (0.7, 1.6), (0.3, 0.9), 0.35, (0.15, 0.5), 0.1, 0.25, 0.6, 0.0,
               0.5),
        Layout((2.6, 5.5), (2.5, 4.5), (2.3, 2.8), _KITCHEN, 0.95, (0.45, 0.7), (0.8, 1.0),
               (0.1, 0.75, 0.05, 0.0, 0.05), 0.75, (0.8, 1.8), (0.7, 0.8), 0.75,
               (0.7, 1.4), (0.4, 1.0), 0.2, (0.15, 0.4), 0.0, 0.2, 0.75, 0.0,
               0.5),
        Layout((4.0, 8.0), (3.0, 5.0), (2.6, 3.6), _ENDS, 0.7, (0.3, 0.6), (0.5, 2.3), (0.25, 0.2, 0.25, 0.1, 0.15),
               0.8, (0.6, 1.4), (0.5, 1.1), 0.45, (0.6, 2.0), (0.3, 0.9), 0.5, (0.2, 0.7), 0.5, 0.6, 0.65, 0.25,
               0.5),
    ),
    "corridor": (
        Layout((6.0, 18.0), (1.6, 3.0), (2.3, 3.2), _LONG, 0.45, (0.2, 0.45), (0.5, 2.0), (0.25, 0.25, 0.1, 0.05, 0.15),
               0.0, (0.4, 0.8), (0.4, 0.8), 0.15, (0.8, 1.8), (0.2, 0.7), 0.35, (0.15, 0.4), 0.3, 0.3, 0.85, 0.0,
               0.2),
        Layout((5.0, 12.0), (2.2, 4.0), (2.4, 4.0), _AROUND, 0.4, (0.25, 0.6), (0.6, 1.8), (0.1, 0.35, 0.2, 0.15, 0.1),
               0.15, (0.5, 1.0), (0.4, 0.9), 0.3, (0.8, 1.8), (0.2, 0.7), 0.3, (0.2, 0.5), 0.5, 0.6, 0.8, 0.0,
               0.2),
        Layout((6.0, 14.0), (2.0, 3.4), (2.2, 3.0), _LONG, 0.3, (0.3, 0.7), (0.8, 2.2), (0.1, 0.1, 0.2, 0.2, 0.3),
               0.25, (0.4, 0.8), (0.4, 1.1), 0.3, (0.8, 2.0), (0.2, 0.8), 0.6, (0.2, 0.6), 0.8, 0.9, 0.7, 0.15,
               0.3),
    ),
    "warehouse": (
        Layout((10.0, 20.0), (7.0, 14.0), (4.0, 7.0), _LONG, 0.6, (0.8, 1.3), (1.8, 4.5), (0.7, 0.0, 0.0, 0.0, 0.25),
               0.3, (1.0, 2.0), (0.15, 0.9), 0.0, (2.0, 4.5), (0.4, 1.0), 0.6, (0.3, 1.0), 0.5, 0.2, 0.5, 0.45,
               0.2),
        Layout((8.0, 15.0), (6.0, 10.0), (3.5, 6.0), _AROUND, 0.8, (0.7, 1.3), (1.2, 3.5), (0.45, 0.1, 0.1, 0.0, 0.3),
               0.6, (1.0, 2.2), (0.15, 1.0), 0.15, (1.5, 4.0), (0.4, 1.0), 0.75, (0.3, 1.1), 0.4, 0.5, 0.5, 0.15,
               0.25),
        Layout((9.0, 18.0), (8.0, 14.0), (3.5, 6.5), _ENDS, 0.75, (0.8, 1.4), (1.0, 4.0), (0.4, 0.1, 0.1, 0.0, 0.4),
               0.5, (1.2, 2.5), (0.3, 1.2), 0.1, (2.0, 5.0), (0.4, 1.0), 0.8, (0.4, 1.3), 0.8, 0.6, 0.4, 0.6,
               0.25),
    ),
    "tabletop": (
        Layout((2.6, 5.0), (2.5, 4.5), (2.3, 2.9), _AROUND, 0.8, (0.3, 0.7), (0.5, 2.0), (0.35, 0.3, 0.1, 0.1, 0.05),
               1.0, (0.7, 1.5), (0.6, 0.85), 0.4, (0.6, 1.3), (0.6, 1.0), 0.2, (0.15, 0.4), 0.05, 0.15, 0.75, 0.0,
               0.9),
        Layout((2.6, 4.5), (2.5, 4.0), (2.3, 2.8), _KITCHEN, 0.9, (0.4, 0.7), (0.75, 1.0), (0.1, 0.7, 0.1, 0.0, 0.05),
               1.0, (0.6, 1.3), (0.4, 0.95), 0.25, (0.5, 1.1), (0.6, 1.0), 0.3, (0.15, 0.4), 0.1, 0.15, 0.8, 0.0,
               0.85),
        Layout((3.0, 5.5), (2.8, 5.0), (2.4, 3.2), _ENDS, 0.7, (0.3, 0.6), (0.5, 2.0), (0.2, 0.2, 0.3, 0.1, 0.15),
               1.0, (0.5, 1.2), (0.35, 1.1), 0.5, (0.6, 1.6), (0.5, 1.0), 0.4, (0.2, 0.5), 0.4, 0.4, 0.65, 0.1,
               0.9),
    ),
}  # fmt: skip
FAMILIES = tuple(LAYOUTS)
VARIANTS = {"train": (0, 1), "benchmark": (2,)}


class LayoutTable:
    """The layout of every window: ``table.width`` is (B, 2), ``table.chairs`` (B,)."""

    def __init__(self, family: Tensor, variant: Tensor) -> None:
        """``family`` (B,) indexes `FAMILIES`, ``variant`` (B,) its layouts."""
        row = family * 3 + variant
        every = [layout for variants in LAYOUTS.values() for layout in variants]
        self._values = {
            field.name: torch.tensor([getattr(x, field.name) for x in every], device=row.device)[row]
            for field in fields(Layout)
        }

    def __getattr__(self, name: str) -> Tensor:
        if name.startswith("_") or name not in self._values:
            raise AttributeError(name)
        return self._values[name]

    def between(self, name: str, unit: Tensor) -> Tensor:
        """Values of a range at ``unit`` (B, ...) in [0, 1]."""
        bounds = self._values[name]
        low, high = (bounds[:, i].reshape(-1, *(1,) * (unit.dim() - 1)) for i in (0, 1))
        return low + (high - low) * unit
