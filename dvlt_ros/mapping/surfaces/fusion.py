"""One depth map into the volume, by projection (Curless and Levoy 1996).

Distances are taken to the plane that a pixel sees, not along its ray: a floor under a flat angle is as sharp as a wall.
Inverse depth is linear over the pixels of a plane, so its gradient gives the plane, and where it bends there is an
edge, whose pixels say only what is free before them.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np

from ...geometry import every, pixel_axes
from .volume import (
    DISTANCE_UNIT,
    EDGE,
    MAX_SUPPORT,
    MIN_WEIGHT,
    UNSEEN,
    VOXEL_BITS,
    VOXELS,
    WEIGHT_UNIT,
    Volume,
    voxel_places,
)

TRUNCATION = 3.0  # voxels before a surface
BEHIND = 2.0  # voxels behind it: walls of four voxels keep both of their sides
MAX_RANGE = 100.0  # voxels; what is farther away is free until there
FULL_WEIGHT = 60.0  # voxels; surfaces at this distance count half
MAX_WEIGHT = 30.0  # new observations keep changing the field
BEND = 0.04  # of the inverse depth over three pixels, relative: an edge
DOUBT = 0.5  # of the weight stays where something is seen through: what moves away is gone after a few frames
AT_SURFACE = 0.5  # voxels: a surface passes through a voxel whose centre is half of one before it
HELD = np.float32(0.5 * DISTANCE_UNIT)  # below this mean a voxel belongs to a surface
OFFSETS = voxel_places() + 0.5
FREE_RAYS = 12  # along the shorter side of the image, which look for free blocks
CORNERS_OF_BLOCK = np.array(list(product((-0.5, 0.5), repeat=3)))
CHUNK = 64  # blocks whose voxels are projected together: their arrays stay in the processor's cache
TINY = np.float32(1e-9)


@dataclass(frozen=True, eq=False)
class DepthView:
    """A depth map in the map; lengths in the map's unit."""

    depth: np.ndarray  # (h, w) float32 along the optical axis; NaN where not trusted
    colors: np.ndarray  # (h, w, 3) uint8
    intrinsics: np.ndarray  # (3, 3) pixels, pixel (0, 0) centred at (0.5, 0.5)
    map_from_cam: np.ndarray  # (4, 4), rigid


@dataclass(frozen=True, eq=False)
class _Pixels:
    """What every pixel says: of a surface both its sides, of anything else what is free before it."""

    depth: np.ndarray  # (h, w) float32, at most the range; NaN where not trusted
    is_surface: np.ndarray  # (h, w) bool
    planes: np.ndarray  # (h, w, 4) float32: normal (camera) and distance; a point is `distance - normal @ point` before

    @classmethod
    def of(cls, view: DepthView, farthest: float) -> _Pixels:
        """A pixel without a surface has a plane parallel to the image; one without depth has NaN."""
        inverse = 1 / view.depth
        is_surface = _is_smooth(inverse) & (view.depth <= farthest)
        depth = np.minimum(view.depth, np.float32(farthest))
        inverse = 1 / depth
        du, dv = np.zeros_like(inverse), np.zeros_like(inverse)
        du[:, 1:-1], dv[1:-1] = (inverse[:, 2:] - inverse[:, :-2]) / 2, (inverse[2:] - inverse[:-2]) / 2
        du[~is_surface], dv[~is_surface] = 0.0, 0.0
        (fx, _, cx), (_, fy, cy) = view.intrinsics[:2].astype(np.float32)
        u, v = (axis.astype(np.float32) for axis in pixel_axes(inverse.shape))
        normal = np.stack([fx * du, fy * dv, inverse - du * (u - cx) - dv * (v - cy)[:, None]], axis=-1)
        length = np.linalg.norm(normal, axis=-1, keepdims=True)
        return cls(depth, is_surface, np.concatenate([normal / length, 1 / length], axis=-1, dtype=np.float32))


def fuse(volume: Volume, view: DepthView) -> None:
    """Adds a view: blocks at its surfaces are allocated, all blocks that it sees are updated."""
    volume.count_view()
    pixels = _Pixels.of(view, MAX_RANGE * volume.voxel_size)
    volume.add_free(*_free_blocks(volume, view, pixels))
    volume.allocate(volume.keys_at(_points_beside(volume, view, pixels)))
    keys = _seen_blocks(volume, view, pixels.depth)
    if len(keys):
        _update(volume, keys, view, pixels)
    volume.drop_farthest(view.map_from_cam[:3, 3])


def _is_smooth(inverse: np.ndarray) -> np.ndarray:
    """(h, w) bool of inverse depths: whether a pixel and its four neighbours are on one surface."""
    smooth = np.zeros(inverse.shape, bool)
    bend = np.maximum(_bend(inverse)[1:-1], _bend(inverse.T).T[:, 1:-1])
    smooth[1:-1, 1:-1] = bend < BEND * inverse[1:-1, 1:-1]  # False beside NaN
    return smooth


def _bend(inverse: np.ndarray) -> np.ndarray:
    """(h, w - 2): second difference along the rows."""
    bend: np.ndarray = np.abs(inverse[:, 2:] + inverse[:, :-2] - 2 * inverse[:, 1:-1])
    return bend


def _points_beside(volume: Volume, view: DepthView, pixels: _Pixels) -> np.ndarray:
    """(N, 3) in the map: points just before and just behind the surfaces, where blocks are needed."""
    (fx, _, cx), (_, fy, cy) = view.intrinsics[:2]
    spacing = MAX_RANGE * volume.voxel_size / fx  # of the pixels, where they are farthest
    stride = max(1, int(volume.block_size / 2 / spacing))
    thin = every(stride)
    u, v = pixel_axes(pixels.depth.shape, stride)
    rows, columns = np.nonzero(pixels.is_surface[thin])
    depth = pixels.depth[thin][rows, columns]
    points = np.stack([(u[columns] - cx) / fx * depth, (v[rows] - cy) / fy * depth, depth], axis=-1)
    steps = volume.voxel_size * pixels.planes[thin][rows, columns, :3]
    both = np.concatenate([points - 2 * steps, points + steps])
    return both @ view.map_from_cam[:3, :3].T + view.map_from_cam[:3, 3]


def _free_blocks(volume: Volume, view: DepthView, pixels: _Pixels) -> tuple[np.ndarray, np.ndarray]:
    """Keys (B,) of blocks that lie before all surfaces as a whole, and the weight (B,) of this observation."""
    (fx, _, cx), (_, fy, cy) = view.intrinsics[:2]
    rotation, position = view.map_from_cam[:3, :3], view.map_from_cam[:3, 3]
    stride = max(1, min(pixels.depth.shape) // FREE_RAYS)
    depth = pixels.depth[every(stride)].reshape(-1, 1)
    u, v = np.meshgrid(*pixel_axes(pixels.depth.shape, stride))
    reach = np.arange(1, int(MAX_RANGE / EDGE)) * volume.block_size  # (R,)
    z = np.broadcast_to(reach, (len(depth), len(reach)))
    on_ray = z < depth
    x, y = ((u.reshape(-1, 1) - cx) / fx * z)[on_ray], ((v.reshape(-1, 1) - cy) / fy * z)[on_ray]
    keys = volume.keys_at(np.stack([x, y, z[on_ray]], axis=-1) @ rotation.T + position)
    keys = keys[volume.rows_of(keys) == UNSEEN]
    keys = keys[_are_free(volume, keys, view, pixels.depth)]
    far = (volume.centers(keys) - position) @ rotation[:, 2] / (FULL_WEIGHT * volume.voxel_size)
    return keys, WEIGHT_UNIT / (1 + far * far)


def _are_free(volume: Volume, keys: np.ndarray, view: DepthView, depth: np.ndarray) -> np.ndarray:
    """(B,) bool: whether all corners of a block are in the image and before what is seen there."""
    (fx, _, cx), (_, fy, cy) = view.intrinsics[:2]
    rotation, position = view.map_from_cam[:3, :3], view.map_from_cam[:3, 3]
    corners = (volume.centers(keys)[:, None] + volume.block_size * CORNERS_OF_BLOCK - position) @ rotation  # (B, 8, 3)
    x, y, z = np.moveaxis(corners, -1, 0)
    inverse = 1 / np.maximum(z, TINY)
    columns, rows = np.floor(fx * x * inverse + cx), np.floor(fy * y * inverse + cy)
    height, width = depth.shape
    inside = (z > 0) & (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    seen = depth[np.where(inside, rows, 0).astype(np.intp), np.where(inside, columns, 0).astype(np.intp)]
    is_free: np.ndarray = (inside & (seen > z + TRUNCATION * volume.voxel_size)).all(axis=1)  # no NaN
    return is_free


def _seen_blocks(volume: Volume, view: DepthView, depth: np.ndarray) -> np.ndarray:
    """Keys of the blocks that may be before a surface of the image or close behind it."""
    rotation, position = view.map_from_cam[:3, :3], view.map_from_cam[:3, 3]
    centers = (volume.centers(volume.keys) - position) @ rotation
    radius = 0.87 * volume.block_size  # half of a cube's diagonal
    nearest = np.maximum(centers[:, 2] - radius, 1e-6)
    deepest = np.nanmax(depth, initial=0.0) + BEHIND * volume.voxel_size
    seen = (centers[:, 2] > -radius) & (nearest <= deepest)
    height, width = depth.shape
    (fx, _, cx), (_, fy, cy) = view.intrinsics[:2]
    for axis, focal, center, size in ((0, fx, cx, width), (1, fy, cy, height)):
        for edge, sign in ((0, 1), (size, -1)):  # on the inner side of the plane through that edge of the image
            slope = (edge - center) / focal
            seen &= sign * (centers[:, axis] - slope * centers[:, 2]) > -radius * np.hypot(1, slope)
    return volume.keys[seen]


@dataclass(frozen=True, eq=False)
class _Table:
    """`_Pixels` to be looked up by flat index; a border of one pixel, where nothing is seen, is around the image.

    A voxel at (x, y, z) of the camera is at (fx x + cx z, fy y + cy z, z) here, which over z is its pixel, in voxels.
    """

    camera: np.ndarray  # (3, 3) float64: voxels of the camera to such places, with the border
    size: tuple[int, int]  # rows and columns with the border
    reach: np.ndarray  # (P,) float32 inverse depth: what is closer has something to learn from the pixel; inf: nothing
    planes: np.ndarray  # (P, 4) float32: those of `_Pixels` for such places, and the distance
    trust: np.ndarray  # (P,) float32, in WEIGHT_UNIT
    is_surface: np.ndarray  # (P,) bool
    colors: np.ndarray  # (P, 3) uint8

    @classmethod
    def of(cls, view: DepthView, pixels: _Pixels, voxel_size: float) -> _Table:
        camera = view.intrinsics.astype(np.float64)
        camera[:2, 2] += 1
        normals, offset = pixels.planes[..., :3], pixels.planes[..., 3:] / np.float32(voxel_size)
        planes = np.concatenate([normals @ np.linalg.inv(camera).astype(np.float32), offset], axis=-1)
        limit = np.where(pixels.is_surface, np.float32(-BEHIND), np.float32(TRUNCATION))
        depth = pixels.depth / np.float32(voxel_size)
        farther = 1 - limit / planes[..., 3]  # of the way to the plane, along any ray
        slope = (np.abs(planes[..., 0]) + np.abs(planes[..., 1])) / (2 * planes[..., 3])  # to the pixel's corner
        with np.errstate(divide="ignore", invalid="ignore"):
            reach = np.where(farther > 0, np.maximum(1 / depth - slope, 0) / farther, np.float32(np.inf))
        trust = WEIGHT_UNIT / (1 + np.square(depth / np.float32(FULL_WEIGHT)))
        reach[np.isnan(depth)] = np.inf
        bordered = np.pad(reach, 1, constant_values=np.inf)
        flat = (_bordered(values) for values in (planes, trust, pixels.is_surface, view.colors))
        return cls(camera, bordered.shape, bordered.reshape(-1), *flat)


def _bordered(values: np.ndarray) -> np.ndarray:
    """(P, ...) of values (h, w, ...), with zeros around the image."""
    height, width, *rest = values.shape
    padded = np.zeros((height + 2, width + 2, *rest), values.dtype)  # `np.pad` takes many times as long
    padded[1:-1, 1:-1] = values
    return padded.reshape(-1, *rest)


def _update(volume: Volume, keys: np.ndarray, view: DepthView, pixels: _Pixels) -> None:
    """The weighted mean of distances and, close to surfaces, of colours in the voxels of these blocks."""
    table = _Table.of(view, pixels, volume.voxel_size)
    camera_from_map = table.camera @ view.map_from_cam[:3, :3].T
    offsets = (camera_from_map @ OFFSETS.T).astype(np.float32)
    corners = (volume.centers(keys) - volume.block_size / 2 - view.map_from_cam[:3, 3]) / volume.voxel_size
    corners, rows = (camera_from_map @ corners.T).astype(np.float32), volume.rows_of(keys)
    for start in range(0, len(keys), CHUNK):
        chunk = slice(start, start + CHUNK)
        observed, seen_by, distance = _observed(table, corners[:, chunk], offsets)
        if len(observed):
            _average(volume, rows[chunk], observed, seen_by, distance, table)


def _observed(table: _Table, corners: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of blocks with corners (3, B): the voxels (N,) that the view observes, counted over the blocks, the pixel (N,) of
    each, and its distance (N,) before the plane there.
    """
    a, b, z = (corners[:, :, None] + offsets[:, None]).reshape(3, -1)
    rows, columns = table.size
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):  # behind the camera
        inverse = 1 / z
        pixels = _within(b * inverse, rows)
        pixels *= np.int32(columns)
        pixels += _within(a * inverse, columns)
    observed = np.flatnonzero(inverse > table.reach.take(pixels, mode="clip"))
    seen_by = pixels.take(observed)
    of_a, of_b, of_z, offset = np.ascontiguousarray(table.planes.take(seen_by, axis=0).T)
    of_a *= a.take(observed)
    of_b *= b.take(observed)
    of_z *= z.take(observed)
    return observed, seen_by, offset - of_a - of_b - of_z


def _within(places: np.ndarray, count: int) -> np.ndarray:
    """(N,) int32 of places (N,), which are overwritten: the row or column, the border where it is outside."""
    return _clipped(places, 0, count - 1).astype(np.int32)


def _clipped(values: np.ndarray, low: float | np.float32, high: float) -> np.ndarray:
    """The same float32 array; `np.clip` takes twice as long."""
    np.maximum(values, np.float32(low), out=values)
    return np.minimum(values, np.float32(high), out=values)


def _average(
    volume: Volume, rows: np.ndarray, observed: np.ndarray, seen_by: np.ndarray, distance: np.ndarray, table: _Table
) -> None:
    distances, weights, colors = volume.distance.reshape(-1), volume.weight.reshape(-1), volume.color.reshape(-1, 3)
    block = observed >> VOXEL_BITS
    voxels = rows.take(block) * VOXELS + (observed & (VOXELS - 1))
    weight = table.trust.take(seen_by) * _clipped((distance + np.float32(BEHIND)) / np.float32(BEHIND - 1), TINY, 1)
    before, mean = weights.take(voxels).astype(np.float32), distances.take(voxels).astype(np.float32)
    through = np.flatnonzero((distance > TRUNCATION) & (mean < HELD))
    through = through[table.is_surface.take(seen_by.take(through))]
    before[through] *= np.float32(DOUBT)
    held = np.flatnonzero(distance < np.float32(AT_SURFACE))
    is_news = _count_support(volume, voxels.take(through), voxels.take(held))
    weight += before
    share = 1 - before / weight
    change = np.minimum(distance * np.float32(DISTANCE_UNIT / TRUNCATION), DISTANCE_UNIT)
    change -= mean
    change *= share
    mean += change
    distances[voxels] = mean.astype(np.int16)
    np.abs(change, out=change)
    change *= np.abs(mean) <= np.float32(DISTANCE_UNIT / TRUNCATION)
    change += np.float32(DISTANCE_UNIT) * ((before < MIN_WEIGHT) & (weight >= MIN_WEIGHT))
    change[held] += np.float32(DISTANCE_UNIT) * is_news
    first = np.concatenate([[0], 1 + np.flatnonzero(block[1:] != block[:-1])])  # voxel of each block
    volume.change[rows.take(block.take(first))] += np.add.reduceat(change, first)
    np.minimum(weight, np.float32(WEIGHT_UNIT * MAX_WEIGHT), out=weight)
    weights[voxels] = weight.astype(np.uint16)
    near = np.flatnonzero(np.abs(distance) < 1)
    voxels, share = voxels.take(near), share.take(near)
    shade = colors.take(voxels, axis=0).astype(np.float32)
    shade += share[:, None] * (table.colors.take(seen_by.take(near), axis=0) - shade)
    colors[voxels] = (shade + np.float32(0.5)).astype(np.uint8)


def _count_support(volume: Volume, through: np.ndarray, held: np.ndarray) -> np.ndarray:
    """(N,) bool: which of the flat voxels ``held`` (N,) are believed from now on; ``through``: those looked through."""
    support = volume.support.reshape(-1)
    support[through] >>= 1
    count = np.minimum(support.take(held), np.uint8(MAX_SUPPORT - 1)) + np.uint8(1)
    support[held] = count
    return (count == volume.beside_support) | (count == volume.sure_support)
