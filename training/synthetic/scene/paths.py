"""Camera paths of wheeled, legged and handheld robots, collision-free and with overlapping views."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dvlt_ros.geometry import pose_matrix

from ..config import SyntheticConfig
from ..draw import Draw
from .layouts import LayoutTable
from .raycast import Caster, room_exit
from .scenes import Scene, clearance, solid_distance

_COARSE = (6, 8)  # rays of the preview that rates a candidate path
_MIN_CLEARANCE = 0.12  # metres between the camera and any surface


@dataclass(frozen=True)
class Path:
    """Camera positions and angles (B, C, S) of C candidate paths; radians, metres, world z up."""

    position: Tensor  # (B, C, S, 3)
    yaw: Tensor  # 0 looks along world x
    pitch: Tensor  # positive looks up
    roll: Tensor


def draw_cameras(
    seeds: Tensor, scene: Scene, layout: LayoutTable, config: SyntheticConfig, views: int, size: tuple[int, int]
) -> tuple[Tensor, Tensor, Tensor]:
    """world_from_cam (B, S, 4, 4), intrinsics (B, S, 3, 3) and camera clearance (B,) in metres."""
    draw = Draw(seeds, stream=4)
    motion = weighted(draw, config.motion_weights)
    names = torch.tensor([["wheeled", "legged", "handheld"].index(m) for m in config.motions], device=seeds.device)
    intrinsics = _intrinsics(draw, config, size).unsqueeze(1).expand(-1, views, -1, -1)
    path = _candidates(Draw(seeds, stream=5), scene, layout, names[motion], config.candidates, views)
    poses = pose_matrix(_rotation(path), path.position)  # (B, C, S, 4, 4)
    space = clearance(scene, path.position.flatten(1, 2)).unflatten(1, path.yaw.shape[1:]).amin(-1)  # (B, C)
    best = _rate(Draw(seeds, stream=6), scene, poses, intrinsics, size, space).argmin(dim=1)
    rows = torch.arange(len(best), device=best.device)
    return poses[rows, best], intrinsics.contiguous(), space[rows, best]


def clear_the_way(scene: Scene, world_from_cam: Tensor, keep: float = _MIN_CLEARANCE) -> Scene:
    """Removes solids closer than ``keep`` metres to a camera (B, S, 4, 4): the guarantee behind the rating."""
    points = world_from_cam[..., :3, 3]
    solids = tuple(s.where(solid_distance(kind, s, points).amin(dim=1) >= keep) for kind, s in enumerate(scene.solids))
    return replace(scene, solids=(solids[0], solids[1], solids[2]))


def weighted(draw: Draw, weights: tuple[float, ...]) -> Tensor:
    """Index (B,) with the given weights."""
    unit = draw.uniform(1)
    edges = torch.tensor(weights, device=unit.device).cumsum(0) / sum(weights)
    return (unit >= edges[None, :-1]).sum(-1)


def _intrinsics(draw: Draw, config: SyntheticConfig, size: tuple[int, int]) -> Tensor:
    """One pinhole camera (B, 3, 3) per window, in pixels."""
    height, width = size
    fov = torch.deg2rad(draw.uniform(low=config.min_fov_deg, high=config.max_fov_deg))
    focal = width / 2 / torch.tan(fov / 2)
    shift = draw.uniform(2, low=-config.principal_shift, high=config.principal_shift)
    matrix = torch.zeros(*focal.shape, 3, 3, device=focal.device)
    matrix[:, 0, 0] = focal
    matrix[:, 1, 1] = focal * draw.uniform(low=0.98, high=1.02)
    matrix[:, 0, 2] = (0.5 + shift[:, 0]) * width
    matrix[:, 1, 2] = (0.5 + shift[:, 1]) * height
    matrix[:, 2, 2] = 1.0
    return matrix


def _candidates(draw: Draw, scene: Scene, layout: LayoutTable, motion: Tensor, count: int, views: int) -> Path:
    """Paths of every candidate: driving for robots on the ground, circling or wandering for hands."""
    time = _times(draw, views)[:, None].expand(-1, count, -1)  # (B, C, S)
    drive = _drive(draw, scene, motion, time)
    circle = _circle(draw, scene, time)
    wander = _wander(draw, scene, time)
    handheld = (motion == 2)[:, None]
    circles = handheld & (draw.uniform(1) < layout.orbit[:, None]).expand(-1, count)
    pick = torch.where(circles, 1, torch.where(handheld, 2, 0))[..., None]  # (B, C, 1)

    def choose(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
        index = pick.reshape(*pick.shape, *(1,) * (a.dim() - 3))
        return torch.where(index == 0, a, torch.where(index == 1, b, c))

    names = ("position", "yaw", "pitch", "roll")
    path = Path(*(choose(*(getattr(p, n) for p in (drive, circle, wander))) for n in names))
    return Path(_inside(path.position, scene.room_half), path.yaw, path.pitch, path.roll)


def _times(draw: Draw, views: int) -> Tensor:
    """Sorted instants (B, S) in [0, 1] with uneven gaps; some windows use a short piece of their path."""
    gaps = draw.uniform(views, low=0.3)
    time = gaps.cumsum(-1) - gaps
    time = time / gaps.sum(-1, keepdim=True)
    return time * draw.log_uniform(1, low=0.35, high=1.0)


def _smooth(draw: Draw, time: Tensor, amplitude: float, waves: float = 1.5) -> Tensor:
    """A smooth random curve (B, C, S) of about the given amplitude."""
    count = time.shape[1]
    total = torch.zeros_like(time)
    for k in (0.5, 1.0, 2.0):
        phase = draw.uniform(count, 1, high=2 * math.pi)
        total = total + draw.normal(count, 1) / (1 + k) * torch.sin(2 * math.pi * waves * k * time + phase)
    return amplitude * total


def _inside(position: Tensor, room_half: Tensor) -> Tensor:
    """Positions moved into the room, 0.2 m from its faces."""
    half = room_half[:, None, None] - 0.2
    lift = torch.zeros_like(half)
    lift[..., 2] = room_half[:, None, None, 2]
    return torch.minimum(torch.maximum(position - lift, -half), half) + lift


def _start(draw: Draw, scene: Scene, count: int) -> Tensor:
    """Points (B, C, 2) on the floor, anywhere but at the walls."""
    return draw.uniform(count, 2, low=-0.85, high=0.85) * scene.room_half[:, None, :2]


def _drive(draw: Draw, scene: Scene, motion: Tensor, time: Tensor) -> Path:
    """Wheeled and legged robots: forward or backward along an arc, sometimes turning on the spot."""
    count = time.shape[1]
    legged = (motion == 1).float()[:, None, None]
    height = draw.uniform(1, 1, low=0.12, high=1.25) * (1 - legged) + draw.uniform(1, 1, low=0.3, high=0.7) * legged
    limit = scene.room_half.amax(-1)[:, None, None]
    length = draw.log_uniform(count, 1, low=0.4, high=1.6) * (0.6 + 0.4 * limit.clamp(max=3.0))
    turn = draw.normal(count, 1, std=0.7)
    heading = draw.uniform(count, 1, low=-math.pi, high=math.pi) + turn * time
    middle = heading - 0.5 * turn * time  # chord of a circular arc
    ahead = length * time * torch.where(draw.chance(0.2, count, 1), -1.0, 1.0)
    mount = torch.where(draw.chance(0.35, 1, 1), draw.normal(1, 1, std=0.9), draw.normal(1, 1, std=0.1))
    step = 2 * math.pi * (ahead.abs() / 0.35) + draw.uniform(count, 1, high=6.28)
    start = _start(draw, scene, count)[:, :, None]
    xy = start + torch.stack([ahead * torch.cos(middle), ahead * torch.sin(middle)], dim=-1)
    bob = 0.03 * torch.sin(step) * legged + 0.002 * draw.normal(*time.shape[1:]) * (1 - legged)
    z = height + bob
    tilt = 0.01 * (1 - legged) + 0.05 * legged
    pitch = (
        draw.uniform(1, 1, low=-0.45, high=0.15) + tilt * torch.cos(step) + tilt * 0.3 * draw.normal(*time.shape[1:])
    )
    roll = tilt * torch.sin(0.5 * step) + tilt * 0.3 * draw.normal(*time.shape[1:])
    return Path(torch.cat([xy, z.unsqueeze(-1).expand(*time.shape, 1)], dim=-1), heading + mount, pitch, roll)


def _circle(draw: Draw, scene: Scene, time: Tensor) -> Path:
    """A hand that moves around an object or a piece of furniture and keeps it in view."""
    count = time.shape[1]
    first = draw.chance(0.6, count)
    index = torch.where(first, 0, draw.integers(scene.targets.shape[1], count))
    rows = torch.arange(len(index), device=index.device)[:, None]
    extent = scene.target_size[rows, index].clamp(0.4, 1.6)[..., None]
    target = scene.targets[rows, index][:, :, None] + draw.normal(count, 1, 3) * 0.2 * extent[..., None]
    radius = extent * draw.uniform(count, 1, low=0.5, high=1.8) + 0.25
    radius = radius * (1 + 0.25 * _smooth(draw, time, 1.0))
    azimuth = draw.uniform(count, 1, low=-math.pi, high=math.pi) + draw.normal(count, 1, std=1.1) * time
    elevation = draw.uniform(count, 1, low=0.1, high=1.15) + 0.15 * _smooth(draw, time, 1.0)
    flat = radius * torch.cos(elevation)
    offset = torch.stack([flat * torch.cos(azimuth), flat * torch.sin(azimuth), radius * torch.sin(elevation)], dim=-1)
    position = _inside(target + offset, scene.room_half)
    aim = target + torch.stack([_smooth(draw, time, 0.2) for _ in range(3)], dim=-1) * extent[..., None]
    look = aim - position
    yaw = torch.atan2(look[..., 1], look[..., 0])
    pitch = torch.atan2(look[..., 2], look[..., :2].norm(dim=-1).clamp(min=0.05)).clamp(-1.35, 0.5)
    return Path(position, yaw + _smooth(draw, time, 0.08), pitch, _roll(draw, time))


def _wander(draw: Draw, scene: Scene, time: Tensor) -> Path:
    """A hand that walks, leans and pans: free position, large rotations."""
    count = time.shape[1]
    start = torch.cat([_start(draw, scene, count), draw.uniform(count, 1, low=0.7, high=1.8)], dim=-1)
    drift = draw.normal(count, 1, 3) * torch.tensor([0.6, 0.6, 0.2], device=time.device) * time.unsqueeze(-1)
    sway = torch.stack([_smooth(draw, time, 0.15) for _ in range(3)], dim=-1)
    inward = torch.atan2(-start[..., 1], -start[..., 0]).unsqueeze(-1)
    yaw = inward + draw.normal(count, 1, std=1.0) + draw.normal(count, 1, std=0.7) * time + _smooth(draw, time, 0.12)
    pitch = draw.uniform(count, 1, low=-0.95, high=0.15) + _smooth(draw, time, 0.15)
    return Path(start[:, :, None] + drift + sway, yaw, pitch, _roll(draw, time))


def _roll(draw: Draw, time: Tensor) -> Tensor:
    """Handheld roll (B, C, S): small, now and then a strong tilt."""
    count = time.shape[1]
    lean = torch.where(draw.chance(0.15, count, 1), draw.normal(count, 1, std=0.5), draw.normal(count, 1, std=0.08))
    return lean + _smooth(draw, time, 0.06)


def _rotation(path: Path) -> Tensor:
    """world_from_cam rotations (B, C, S, 3, 3) with OpenCV axes."""
    cy, sy, cp, sp = torch.cos(path.yaw), torch.sin(path.yaw), torch.cos(path.pitch), torch.sin(path.pitch)
    forward = torch.stack([cy * cp, sy * cp, sp], dim=-1)
    right = torch.stack([sy, -cy, torch.zeros_like(cy)], dim=-1)
    down = torch.cross(forward, right, dim=-1)
    cr, sr = torch.cos(path.roll)[..., None], torch.sin(path.roll)[..., None]
    return torch.stack([right * cr + down * sr, down * cr - right * sr, forward], dim=-1)


def _rate(draw: Draw, scene: Scene, poses: Tensor, intrinsics: Tensor, size: tuple[int, int], space: Tensor) -> Tensor:
    """Cost (B, C) of candidates: collisions, views into walls, flat depth, too little or too much overlap."""
    batch, count, views = poses.shape[:3]
    v, u = torch.meshgrid(*(torch.arange(n, device=poses.device) + 0.5 for n in _COARSE), indexing="ij")
    pixels = torch.stack([u * size[1] / _COARSE[1], v * size[0] / _COARSE[0], torch.ones_like(u)], dim=-1).flatten(0, 1)
    rays = (torch.linalg.inv(intrinsics[:, 0]) @ pixels.T).transpose(-1, -2)  # (B, P, 3)
    world = torch.einsum("bcsij,bpj->bcspi", poses[..., :3, :3], rays).flatten(0, 2)
    origin = poses[..., :3, 3].flatten(0, 2)
    tile = torch.arange(batch, device=poses.device).repeat_interleave(count * views)
    caster = Caster(scene.solids, tile, cull=not torch.compiler.is_compiling())
    wall, face = room_exit(scene.room_half[tile], origin, world)
    entry, solid = caster.cast(origin, world)
    t = torch.minimum(wall, entry)  # (B * C * S, P)
    seen = torch.where(entry < wall, solid + 6, face).view(batch, count, -1)
    kinds = seen.sort(dim=-1).values.diff(dim=-1).ne(0).sum(dim=-1)  # distinct surfaces in the preview
    points = (origin[:, None] + t.unsqueeze(-1) * world).view(batch, count, views, -1, 3)
    overlap = _overlap(points, poses, intrinsics[:, 0], size)
    depth = t.view(batch, count, -1)
    median = depth.median(dim=-1, keepdim=True).values
    spread = ((depth - median).abs() / depth).mean(dim=-1)
    near = (depth < 0.3).float().mean(dim=-1)
    cost = 20 * (space < 0.2).float() + 20 * (0.2 - space).clamp(min=0) + 5 * near
    cost = cost + 4 * (0.35 - spread).clamp(min=0) + 4 * (spread - 0.5).clamp(min=0)
    cost = cost + 6 * (0.45 - overlap).clamp(min=0) + 2 * (overlap - 0.85).clamp(min=0)
    cost = cost + 0.15 * (18 - kinds).clamp(min=0)
    return cost + 0.4 * draw.uniform(count)


def _overlap(points: Tensor, poses: Tensor, intrinsics: Tensor, size: tuple[int, int]) -> Tensor:
    """Mean share (B, C) of preview points (B, C, S, P, 3) that the other views have in their image."""
    views = points.shape[2]
    relative = points[:, :, :, None] - poses[:, :, None, :, None, :3, 3]  # (B, C, S, S, P, 3)
    local = relative @ poses[:, :, None, :, :3, :3]
    image = local @ intrinsics[:, None, None, None].transpose(-1, -2)
    u, v, z = image.unbind(-1)
    seen = (z > 0.05) & (u > 0) & (v > 0) & (u < size[1] * z) & (v < size[0] * z)
    others = ~torch.eye(views, dtype=torch.bool, device=points.device)
    return (seen.float().mean(-1) * others).sum((-1, -2)) / max(1, views * (views - 1))
