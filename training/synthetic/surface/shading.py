"""Light on surfaces: from hits to linear radiance."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..scene.raycast import Caster, room_exit
from ..scene.scenes import Scene
from .atlas import Photos
from .materials import Materials, unpack
from .textures import Surface, albedo

_OCCLUSION_REACH = 0.3  # metres over which corners darken
_FACES = 6


@dataclass(frozen=True)
class Hits:
    """The first surface along rays (T, P)."""

    t: Tensor  # metres along the optical axis, as directions have z = 1 in the camera
    index: Tensor  # 0..5: faces of the room, then all solids


class SurfaceTable:
    """What shading looks up by hit index: unit-shape maps, half sizes and material rows of B scenes."""

    def __init__(self, scene: Scene) -> None:
        batch, device = scene.room_half.shape[0], scene.room_half.device
        room = torch.zeros(batch, 3, 4, device=device)
        room[:, :, :3] = torch.diag_embed(1.0 / scene.room_half)
        room[:, 2, 3] = -1.0
        affine = [room[:, None].expand(-1, _FACES, -1, -1), *(s.local_from_world() for s in scene.solids)]
        half = [scene.room_half[:, None].expand(-1, _FACES, -1), *(s.half for s in scene.solids)]
        kind = torch.cat(
            [torch.full((_FACES,), 3.0)]
            + [torch.full((s.half.shape[1],), float(k)) for k, s in enumerate(scene.solids)]
        )
        self.geometry = torch.cat(
            [torch.cat(affine, 1).flatten(2), torch.cat(half, 1), kind.to(device)[None, :, None].expand(batch, -1, 1)],
            -1,
        )  # (B, G, 16)
        self.material = torch.cat([scene.room_material, *(s.material for s in scene.solids)], dim=1)  # (B, G)
        self.packed = scene.materials.pack()  # (B, ROWS, FIELDS)


def trace(caster: Caster, room_half: Tensor, origin: Tensor, direction: Tensor) -> Hits:
    """Hits of rays origin (T, 3), direction (T, P, 3) in rooms (T, 3)."""
    wall, face = room_exit(room_half, origin, direction)
    t, index = caster.cast(origin, direction)
    return Hits(torch.minimum(wall, t), torch.where(t < wall, index + _FACES, face))


def shade(
    scene: Scene,
    table: SurfaceTable,
    caster: Caster,
    photos: Photos | None,
    hits: Hits,
    origin: Tensor,
    direction: Tensor,
    pixel_angle: Tensor,
    shadows: bool,
    occlusion: bool,
) -> tuple[Tensor, Tensor]:
    """Linear radiance (T, P, 3) and the mask (T, P) of hits on something solid; pixel_angle (T,), radians."""
    tile = caster.scene
    geometry = table.geometry[tile[:, None], hits.index]  # (T, P, 16)
    material = unpack(table.packed[tile[:, None], table.material[tile[:, None], hits.index]])
    points = origin[:, None] + hits.t.unsqueeze(-1) * direction
    distance = hits.t * direction.norm(dim=-1)
    view = -F.normalize(direction, dim=-1)
    normal, surface = _surface(geometry, points, view, distance * pixel_angle[:, None])
    color = albedo(material, surface)
    if photos is not None:
        color = _dressed(color, material, surface, photos)
    ambient = _occlusion(scene, caster, points, normal, hits.index) if occlusion else torch.ones_like(hits.t)
    light, mirror = _lighting(scene, caster, material, points, normal, view, ambient, shadows)
    radiance = color * light + mirror + color * material.emission.unsqueeze(-1)
    haze = 1 - torch.exp(-scene.lights.fog[tile][:, None] * distance)
    radiance = torch.lerp(radiance, scene.lights.ambient[tile][:, None] * 0.9, haze.unsqueeze(-1))
    return radiance, material.sky < 0.5


def _surface(geometry: Tensor, points: Tensor, view: Tensor, pixel: Tensor) -> tuple[Tensor, Surface]:
    """Normals (T, P, 3) facing the viewer and face coordinates; ``pixel`` (T, P) is metres per pixel there."""
    rows = geometry[..., :12].unflatten(-1, (3, 4))
    half, kind = geometry[..., 12:15], geometry[..., 15]
    local = (rows[..., :3] * points.unsqueeze(-2)).sum(-1) + rows[..., 3]
    magnitude = local.abs()
    radial = torch.sqrt(local[..., 0] ** 2 + local[..., 1] ** 2)
    boxy = (kind == 0) | (kind == 3)
    cap = (kind == 1) & (magnitude[..., 2] > radial)
    biggest = torch.where(cap, 2, magnitude.argmax(dim=-1))
    axis = F.one_hot(biggest, 3).to(local.dtype)
    sign = torch.sign(local)
    tube = torch.stack([local[..., 0], local[..., 1], torch.zeros_like(radial)], dim=-1)
    flat = boxy | cap
    local_normal = torch.where(flat.unsqueeze(-1), axis * sign, torch.where((kind == 1).unsqueeze(-1), tube, local))
    normal = F.normalize((rows[..., :3] * local_normal.unsqueeze(-1)).sum(-2), dim=-1)
    facing = (normal * view).sum(-1, keepdim=True)
    normal = normal * torch.where(facing < 0, -1.0, 1.0)
    metric = local * half
    around = torch.atan2(local[..., 1], local[..., 0] + 1e-9)
    u = torch.where(flat, torch.where(biggest == 0, metric[..., 1], metric[..., 0]), around * half[..., 0])
    v = torch.where(flat & (biggest == 2), metric[..., 1], metric[..., 2])
    unit_u = torch.where(flat, torch.where(biggest == 0, local[..., 1], local[..., 0]), around / 3.1416)
    unit_v = torch.where(flat & (biggest == 2), local[..., 1], local[..., 2])
    face = torch.where(boxy, 2 * biggest + (sign * axis).sum(-1).gt(0), 0)
    slant = facing.squeeze(-1).abs().clamp(min=0.15) ** 0.5
    surface = Surface(u, -v, 0.5 + 0.5 * unit_u, 0.5 - 0.5 * unit_v, face, pixel / slant + 1e-5)
    return normal, surface


def _dressed(color: Tensor, material: Materials, surface: Surface, photos: Photos) -> Tensor:
    """Procedural colours, replaced by photographs where the material names one."""
    index = (material.photo.clamp(min=0) * photos.count).long().clamp(max=photos.count - 1)
    tiled = material.photo_scale > 0
    period = torch.where(tiled, material.photo_scale, 1.0)
    x = torch.where(tiled, surface.u / period, surface.s)
    y = torch.where(tiled, surface.v / period, surface.t)
    photo = photos.sample(index, x, y, surface.footprint / torch.where(tiled, period, 0.3))
    tone = color / color.mean(dim=-1, keepdim=True).clamp(min=1e-3)
    photo = photo * torch.where(tiled, 0.5, 0.0).unsqueeze(-1) * tone + photo * torch.where(tiled, 0.5, 1.0).unsqueeze(
        -1
    )
    return torch.where((material.photo >= 0).unsqueeze(-1), photo, color)


def _occlusion(scene: Scene, caster: Caster, points: Tensor, normal: Tensor, index: Tensor) -> Tensor:
    """Share (T, P) of the ambient light that reaches points: free space above them, and room corners."""
    probe = points + _OCCLUSION_REACH * 0.6 * normal
    free = caster.distance(probe, _OCCLUSION_REACH * 0.6) / (_OCCLUSION_REACH * 0.6)
    half = scene.room_half[caster.scene][:, None]
    x, y, z = points.unbind(-1)
    gaps = [half[..., 0] + x, half[..., 0] - x, half[..., 1] + y, half[..., 1] - y, z, 2 * half[..., 2] - z]
    corner = torch.ones_like(free)
    for face, gap in enumerate(gaps):
        corner = corner * torch.where(index == face, 1.0, 1 - 0.4 * torch.exp(-gap.clamp(min=0) / 0.25))
    return (0.35 + 0.65 * free.clamp(0, 1)) * corner


def _lighting(
    scene: Scene,
    caster: Caster,
    material: Materials,
    points: Tensor,
    normal: Tensor,
    view: Tensor,
    ambient: Tensor,
    shadows: bool,
) -> tuple[Tensor, Tensor]:
    """Diffuse light to multiply with the colour, and mirrored light, both (T, P, 3)."""
    tile, lights = caster.scene, scene.lights
    sky = lights.ambient[tile][:, None]
    hemisphere = (0.7 + 0.3 * normal[..., 2:]) * ambient.unsqueeze(-1)
    diffuse, mirror = sky * hemisphere, torch.zeros_like(points)
    for i in range(lights.position.shape[1]):
        to = lights.position[tile, i][:, None] - points
        distance = to.norm(dim=-1, keepdim=True).clamp(min=1e-3)
        toward = to / distance
        fall = 1.0 / (1.0 + (distance / lights.reach[tile, i][:, None, None]) ** 2)
        lit = lights.color[tile, i][:, None] * fall
        if i == 0 and shadows:
            dark = _shadow(caster, lights.position[tile, i], points, normal)
            lit = lit * (1 - lights.shadow[tile][:, None] * dark).unsqueeze(-1)
        else:
            lit = lit * (0.4 + 0.6 * ambient.unsqueeze(-1))
        cosine = (normal * toward).sum(-1, keepdim=True).clamp(min=0)
        diffuse = diffuse + lit * cosine
        half_way = F.normalize(toward + view, dim=-1)
        peak = (normal * half_way).sum(-1).clamp(min=0) ** material.gloss
        mirror = mirror + lit * (peak * (material.gloss + 8) * 0.03 * material.specular).unsqueeze(-1) * (cosine > 0)
    facing = (normal * view).sum(-1, keepdim=True).clamp(0, 1)
    bounced_z = (2 * facing * normal - view)[..., 2:]
    fresnel = material.specular.unsqueeze(-1) * (0.25 + 0.75 * (1 - facing) ** 4)
    return diffuse, mirror + fresnel * sky * (1.1 + 0.9 * bounced_z) * ambient.unsqueeze(-1)


def _shadow(caster: Caster, light: Tensor, points: Tensor, normal: Tensor) -> Tensor:
    """1 where a solid lies between the light (T, 3) and points (T, P, 3), else 0, as float (T, P)."""
    direction = points + 2e-3 * normal - light[:, None]
    t, _ = caster.cast(light, direction, limit=1.0)
    return (t < 1 - 4e-3 / direction.norm(dim=-1)).to(t.dtype)
