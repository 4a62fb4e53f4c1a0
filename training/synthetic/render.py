"""Windows from seeds: scene, cameras, rays, light, image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from dvlt_ros.errors import ConfigError
from dvlt_ros.geometry import camera_directions, rotate

from ..data.types import Views
from .augment import augment
from .config import SyntheticConfig
from .draw import Draw
from .scene.layouts import FAMILIES, VARIANTS, LayoutTable
from .scene.paths import clear_the_way, draw_cameras, weighted
from .scene.raycast import Caster
from .scene.scenes import Scene, build_scenes
from .surface.atlas import Photos
from .surface.shading import SurfaceTable, shade, trace

BENCHMARK_SEED = 1 << 40  # seeds from here on are the benchmark's, those below are for training
_CHUNK = 1 << 14  # rays rendered at once on the CPU; keeps intermediates in the cache
_MAX_TILE = 21  # pixels; the side of a culling tile on the CPU


def sample_windows(
    seeds: Sequence[int],
    config: SyntheticConfig,
    device: torch.device | str = "cpu",
    families: Sequence[str] | None = None,
    views: int | None = None,
    size: tuple[int, int] | None = None,
    photos: Photos | None = None,
    render: Callable | None = None,
) -> Views:
    """Windows of the given seeds; window i depends on (split, family, seed i) and the sizes alone.

    ``families`` names each window's family (default: drawn from its seed), ``views`` and ``size``
    (height, width) override the configuration, ``render`` is a compiled `render_views`.
    """
    seed = _checked(seeds, config.split, torch.device(device))
    views, size = views or config.views, size or (config.height, config.width)
    with torch.inference_mode():
        scene, poses, intrinsics = place_cameras(seed, config, families, views, size)
        images, depth, valid = (render or render_views)(scene, poses, intrinsics, size, config, photos)
        if config.augment is not None:
            images = augment(images, seed, config.augment)
    synthetic = torch.ones(len(seed), dtype=torch.bool, device=seed.device)
    # Clones made outside inference mode can enter a training graph.
    return Views(*(x.clone() for x in (images, poses, intrinsics, depth, valid, synthetic)))


def place_cameras(
    seed: Tensor, config: SyntheticConfig, families: Sequence[str] | None, views: int, size: tuple[int, int]
) -> tuple[Scene, Tensor, Tensor]:
    """Scenes with poses (B, S, 4, 4) and intrinsics (B, S, 3, 3) of seeds (B,), nothing rendered yet."""
    draw = Draw(seed, stream=0)
    names = torch.tensor([FAMILIES.index(f) for f in config.families], device=seed.device)
    family = names[weighted(draw, config.family_weights)]
    if families is not None:
        family = torch.tensor([FAMILIES.index(f) for f in families], device=seed.device)
    variant = draw.choice(torch.tensor(VARIANTS[config.split], device=seed.device), 1).squeeze(-1)
    layout = LayoutTable(family, variant)
    scene = build_scenes(seed, layout, config.split)
    poses, intrinsics, _ = draw_cameras(seed, scene, layout, config, views, size)
    return clear_the_way(scene, poses), poses, intrinsics


def depth_windows(
    seeds: Sequence[int],
    config: SyntheticConfig,
    device: torch.device | str = "cpu",
    families: Sequence[str] | None = None,
) -> Views:
    """`sample_windows` without light: black images, everything else the same; to measure geometry."""
    seed, size = _checked(seeds, config.split, torch.device(device)), (config.height, config.width)
    with torch.inference_mode():
        scene, poses, intrinsics = place_cameras(seed, config, families, config.views, size)
        depth, valid = render_depth(scene, poses, intrinsics, size)
    black = torch.zeros(1, device=seed.device).expand(*depth.shape[:2], 3, *size)
    synthetic = torch.ones(len(seed), dtype=torch.bool, device=seed.device)
    return Views(black, poses.clone(), intrinsics.clone(), depth.clone(), valid.clone(), synthetic)


def render_views(
    scene: Scene,
    poses: Tensor,
    intrinsics: Tensor,
    size: tuple[int, int],
    config: SyntheticConfig,
    photos: Photos | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Display images (B, S, 3, H, W) in [0, 1], z-depth (B, S, H, W) in metres, validity (B, S, H, W)."""
    batch, views = poses.shape[:2]
    color, depth, valid = _trace_image(scene, poses, intrinsics, size, config, photos)
    if config.supersample > 1:
        fine_size = (size[0] * config.supersample, size[1] * config.supersample)
        scaled = intrinsics * torch.tensor([config.supersample] * 2 + [1.0], device=poses.device)[:, None]
        color = _trace_image(scene, poses, scaled, fine_size, config, photos)[0]
        color = F.avg_pool2d(color.flatten(0, 1), config.supersample).unflatten(0, (batch, views))
    elif config.smooth_edges:
        color = _smooth_outlines(color, depth)
    return _expose(color), depth * valid, valid


def render_depth(scene: Scene, poses: Tensor, intrinsics: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Only the z-depth (B, S, H, W) in metres, 0 where invalid, and its validity; a fraction of the cost."""
    rays = _pixel_rays(poses, intrinsics, size)
    table, parts = SurfaceTable(scene), []
    sky = scene.materials.sky
    for piece in rays.pieces():
        owner = rays.owner[piece]
        caster = Caster(scene.solids, owner, cull=not torch.compiler.is_compiling())
        hits = trace(caster, scene.room_half[owner], rays.origin[piece], rays.direction[piece])
        solid = sky[owner[:, None], table.material[owner[:, None], hits.index]] < 0.5
        parts.append(torch.stack([hits.t * solid, solid.to(hits.t.dtype)], dim=-1))
    image = _from_tiles(torch.cat(parts), rays.tile, size).unflatten(0, poses.shape[:2])
    return image[..., 0], image[..., 1] > 0.5


@dataclass(frozen=True)
class _Rays:
    """Rays of all pixels, in tiles of neighbours."""

    origin: Tensor  # (T, 3)
    direction: Tensor  # (T, P, 3), z = 1 in the camera
    owner: Tensor  # (T,), scene of the tile
    pixel_angle: Tensor  # (T,), radians
    tile: tuple[int, int]

    def pieces(self) -> list[slice]:
        """Runs of tiles that are rendered together; one run when compiled."""
        count = len(self.owner)
        limit = _CHUNK if self.origin.device.type == "cpu" else 1 << 21
        step = count if torch.compiler.is_compiling() else max(1, limit // self.direction.shape[1])
        return [slice(i, i + step) for i in range(0, count, step)]


def _pixel_rays(poses: Tensor, intrinsics: Tensor, size: tuple[int, int]) -> _Rays:
    """Rays through pixel centres of cameras (B, S, 4, 4), (B, S, 3, 3)."""
    batch, views = poses.shape[:2]
    whole = torch.compiler.is_compiling() or poses.is_cuda
    tile = size if whole else (_divisor(size[0]), _divisor(size[1]))
    direction = _to_tiles(rotate(poses[..., :3, :3], camera_directions(intrinsics, *size)).flatten(0, 1), tile)
    per_view = direction.shape[0] // (batch * views)
    owner = torch.arange(batch, device=poses.device).repeat_interleave(views * per_view)
    origin = poses[..., :3, 3].flatten(0, 1).repeat_interleave(per_view, dim=0)
    angle = (1.0 / intrinsics[..., 0, 0]).flatten().repeat_interleave(per_view)
    return _Rays(origin, direction, owner, angle, tile)


def compiled_renderer() -> Callable:
    """`render_views` as one compiled graph per shape: every reduction over solids fused with its operands."""
    return torch.compile(render_views, dynamic=False)


def _trace_image(
    scene: Scene,
    poses: Tensor,
    intrinsics: Tensor,
    size: tuple[int, int],
    config: SyntheticConfig,
    photos: Photos | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Linear radiance (B, S, 3, H, W), depth and validity (B, S, H, W)."""
    rays = _pixel_rays(poses, intrinsics, size)
    table, parts = SurfaceTable(scene), []
    for piece in rays.pieces():
        owner, origin, direction = rays.owner[piece], rays.origin[piece], rays.direction[piece]
        caster = Caster(scene.solids, owner, cull=not torch.compiler.is_compiling())
        hits = trace(caster, scene.room_half[owner], origin, direction)
        color, solid = shade(
            scene, table, caster, photos, hits, origin, direction, rays.pixel_angle[piece],
            config.shadows, config.occlusion,
        )  # fmt: skip
        parts.append(torch.cat([color, hits.t.unsqueeze(-1), solid.to(color.dtype).unsqueeze(-1)], dim=-1))
    image = _from_tiles(torch.cat(parts), rays.tile, size).unflatten(0, poses.shape[:2])
    return image[..., :3].permute(0, 1, 4, 2, 3), image[..., 3], image[..., 4] > 0.5


def _divisor(length: int) -> int:
    """The largest divisor of ``length`` that is at most `_MAX_TILE`."""
    return max(n for n in range(1, _MAX_TILE + 1) if length % n == 0)


def _to_tiles(image: Tensor, tile: tuple[int, int]) -> Tensor:
    """(V, H, W, C) -> (V * tiles, tile pixels, C)."""
    rows, columns = image.shape[1] // tile[0], image.shape[2] // tile[1]
    split = image.reshape(len(image), rows, tile[0], columns, tile[1], -1)
    return split.transpose(2, 3).reshape(-1, tile[0] * tile[1], image.shape[-1])


def _from_tiles(tiles: Tensor, tile: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """(V * tiles, tile pixels, C) -> (V, H, W, C)."""
    rows, columns = size[0] // tile[0], size[1] // tile[1]
    split = tiles.reshape(-1, rows, columns, tile[0], tile[1], tiles.shape[-1])
    return split.transpose(2, 3).reshape(-1, *size, tiles.shape[-1])


def _smooth_outlines(color: Tensor, depth: Tensor) -> Tensor:
    """Colours (B, S, 3, H, W) blended with their neighbours where depth (B, S, H, W) jumps."""
    flat, z = color.flatten(0, 1), depth.flatten(0, 1).unsqueeze(1)
    inverse = 1.0 / z
    bend = F.avg_pool2d(F.pad(inverse, (1, 1, 1, 1), mode="replicate"), 3, stride=1) - inverse
    edge = (bend.abs() * z * 20.0).clamp(max=1.0)
    soft = F.avg_pool2d(F.pad(flat, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    return torch.lerp(flat, soft, 0.6 * edge).unflatten(0, color.shape[:2])


def _expose(color: Tensor) -> Tensor:
    """Linear radiance to display values: automatic exposure per window, a soft shoulder, gamma."""
    luminance = color.mean(dim=2).clamp(max=4.0).flatten(1)
    key = torch.exp(torch.log(luminance + 1e-3).mean(dim=1))
    level = 0.5 * (key + luminance.mean(dim=1))
    scaled = color * (0.22 / level)[:, None, None, None, None]
    mapped = torch.where(scaled < 0.6, scaled, 1.0 - 0.4 * torch.exp(-(scaled - 0.6) / 0.4))
    return mapped.clamp(1e-5, 1.0) ** (1 / 2.2)


def _checked(seeds: Sequence[int], split: str, device: torch.device) -> Tensor:
    for seed in seeds:
        if seed < 0 or (seed >= BENCHMARK_SEED) != (split == "benchmark"):
            wanted = f"at least {BENCHMARK_SEED}" if split == "benchmark" else f"in [0, {BENCHMARK_SEED})"
            raise ConfigError(f"seeds of the {split} split are {wanted}, got {seed}")
    return torch.tensor(list(seeds), dtype=torch.int64, device=device)
