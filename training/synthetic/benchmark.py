"""The frozen benchmark, and how hard a set of windows is for predictors that see nothing.

The list in ``benchmark.json`` is the benchmark: seeds, families, views and size. Its seeds, layout
variants, palettes and patterns never occur in training.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from dvlt_ros.errors import DataError
from dvlt_ros.geometry import invert_pose, project, transform_points, unproject

from ..data.types import Views
from .config import SyntheticConfig
from .render import BENCHMARK_SEED, depth_windows, sample_windows
from .scene.layouts import FAMILIES

_FILE = Path(__file__).with_name("benchmark.json")


@dataclass(frozen=True)
class Benchmark:
    """What to render, read from the committed list."""

    seeds: tuple[int, ...]
    families: tuple[str, ...]
    median_depths: tuple[float, ...]  # metres, of each window when it was frozen; a changed renderer shows
    config: SyntheticConfig

    def batches(self, batch: int = 4, device: torch.device | str = "cpu", count: int | None = None) -> Iterator[Views]:
        """The first ``count`` windows (default: all) in order, ``batch`` at a time.

        Raises:
            DataError: there are not so many.
        """
        count = count or len(self.seeds)
        if count > len(self.seeds):
            raise DataError(f"the frozen benchmark has {len(self.seeds)} windows, {count} were asked for")
        for i in range(0, count, batch):
            piece = slice(i, min(i + batch, count))
            yield sample_windows(self.seeds[piece], self.config, device, families=self.families[piece])


def load_benchmark(path: Path = _FILE) -> Benchmark:
    """The benchmark as committed."""
    data = json.loads(path.read_text())
    config = replace(
        SyntheticConfig(split="benchmark"), views=data["views"], height=data["height"], width=data["width"]
    )
    windows = data["windows"]
    seeds, families, medians = (tuple(w[key] for w in windows) for key in ("seed", "family", "median_depth"))
    return Benchmark(seeds, families, medians, config)


def freeze(path: Path, count: int = 200, views: int = 6, height: int = 126, width: int = 168) -> None:
    """Writes the list: families in turn, seeds from the first one that training never uses."""
    config = SyntheticConfig(split="benchmark", views=views, height=height, width=width)
    seeds = [BENCHMARK_SEED + i for i in range(count)]
    families = [FAMILIES[i % len(FAMILIES)] for i in range(count)]
    lines = []
    for i in range(0, count, 8):
        windows = depth_windows(seeds[i : i + 8], config, families=families[i : i + 8])
        for k, (depth, valid) in enumerate(zip(windows.depth, windows.valid, strict=True)):
            median = round(float(depth[valid].median()), 3)
            lines.append(json.dumps({"seed": seeds[i + k], "family": families[i + k], "median_depth": median}))
    head = json.dumps({"views": views, "height": height, "width": width})[1:-1]
    path.write_text("{" + head + ', "windows": [\n' + ",\n".join(lines) + "\n]}\n")


def measure(train_windows: int = 200) -> Difficulty:
    """`difficulty` of the committed benchmark, its mean depth map taken from training windows."""
    benchmark = load_benchmark()
    config = replace(benchmark.config, split="train")
    train = gather([depth_windows(range(i, i + 8), config) for i in range(0, train_windows, 8)])
    pieces = [slice(i, i + 8) for i in range(0, len(benchmark.seeds), 8)]
    frozen = [depth_windows(benchmark.seeds[p], benchmark.config, families=benchmark.families[p]) for p in pieces]
    return difficulty(gather(frozen), mean_depth_map(train))


def gather(batches: list[Views]) -> Views:
    """Several batches as one."""
    return Views(*(torch.cat([getattr(b, name) for b in batches]) for name in Views.__dataclass_fields__))


@dataclass(frozen=True)
class Difficulty:
    """Errors of predictors that do not look at the image, and how much the views have in common."""

    constant: float  # AbsRel of a constant depth
    mean_map: float  # AbsRel of one mean depth map
    covisible: float  # mean share of a view's valid pixels that another view of the window sees
    baseline: float  # mean distance of two cameras over the window's median depth


def difficulty(windows: Views, mean_map: Tensor) -> Difficulty:
    """Each figure as the mean over windows; ``mean_map`` (H, W) comes from `mean_depth_map`."""
    flat = torch.ones_like(mean_map)
    rows = range(len(windows.depth))
    constant = [abs_rel(flat.expand_as(windows.depth[i]), windows.depth[i], windows.valid[i]) for i in rows]
    mapped = [abs_rel(mean_map.expand_as(windows.depth[i]), windows.depth[i], windows.valid[i]) for i in rows]
    mean = lambda values: float(torch.stack(values).mean())  # noqa: E731
    return Difficulty(
        mean(constant), mean(mapped), float(covisibility(windows).mean()), float(baselines(windows).mean())
    )


def abs_rel(predicted: Tensor, depth: Tensor, valid: Tensor) -> Tensor:
    """Mean |s p - d| / d over a window's valid pixels after one median scale s = median(d / p)."""
    p, d = predicted[valid], depth[valid]
    return ((d / p).median() * p - d).abs().div(d).mean()


def mean_depth_map(windows: Views) -> Tensor:
    """Mean over windows and views of depth over the window's median, per pixel (H, W)."""
    total, count = torch.zeros_like(windows.depth[0, 0]), torch.zeros_like(windows.depth[0, 0])
    for depth, valid in zip(windows.depth, windows.valid, strict=True):
        total += (depth / depth[valid].median() * valid).sum(0)
        count += valid.sum(0)
    return total / count.clamp(min=1)


def covisibility(windows: Views, tolerance: float = 0.02) -> Tensor:
    """Share (B,) of valid pixels of view i that view j sees unoccluded, mean over pairs i != j."""
    views = windows.depth.shape[1]
    shares = []
    for offset in range(1, views):
        other = torch.arange(views).roll(-offset)
        error, seen = reprojection(windows, other)
        shares.append(((error < tolerance) & seen).flatten(1).sum(1) / windows.valid.flatten(1).sum(1).clamp(min=1))
    return torch.stack(shares).mean(0) if shares else torch.ones(len(windows.depth))


def reprojection(windows: Views, other: Tensor) -> tuple[Tensor, Tensor]:
    """Relative depth error (B, S, H, W) of each view's pixels in view ``other`` (S,), and where it is defined.

    A pixel is unprojected, moved, projected, and its depth compared with the other view's there,
    interpolated in inverse depth (exact on planes).
    """
    world = transform_points(windows.world_from_cam, unproject(windows.depth, windows.intrinsics))
    local = transform_points(invert_pose(windows.world_from_cam[:, other]), world)
    z = local[..., 2]
    pixel = project(local, windows.intrinsics[:, other])
    found, whole = _inverse_depth_at(windows.depth[:, other], windows.valid[:, other], pixel)
    seen = windows.valid & (z > 0.05) & whole
    return torch.where(seen, (found * z - 1).abs(), torch.inf), seen


def _inverse_depth_at(depth: Tensor, valid: Tensor, pixel: Tensor) -> tuple[Tensor, Tensor]:
    """Inverse depth (B, S, H, W) at pixels (B, S, H, W, 2), and where all four neighbours are valid."""
    height, width = depth.shape[-2:]
    x, y = (pixel - 0.5).nan_to_num(-9.0, -9.0, -9.0).clamp(-9, 4 * max(height, width)).unbind(-1)
    inside = (x >= 0) & (y >= 0) & (x < width - 1) & (y < height - 1)
    x0, y0 = x.floor().long().clamp(0, width - 2), y.floor().long().clamp(0, height - 2)
    tx, ty = x - x0, y - y0
    inverse = torch.where(valid, 1.0 / depth.clamp(min=1e-6), 0.0).flatten(2)
    total, whole = torch.zeros_like(x), inside
    for dx, dy in ((0, 0), (1, 0), (0, 1), (1, 1)):
        index = ((y0 + dy) * width + x0 + dx).flatten(2)
        weight = (tx if dx else 1 - tx) * (ty if dy else 1 - ty)
        value = inverse.gather(2, index).view_as(x)
        total, whole = total + weight * value, whole & (value > 0)
    return total, whole


def baselines(windows: Views) -> Tensor:
    """Mean distance (B,) between two cameras of a window over its median depth."""
    position = windows.world_from_cam[..., :3, 3]
    distance = (position[:, :, None] - position[:, None]).norm(dim=-1)
    views = position.shape[1]
    mean = distance.sum((1, 2)) / max(1, views * (views - 1))
    median = torch.stack([d[v].median() for d, v in zip(windows.depth, windows.valid, strict=True)])
    return mean / median


if __name__ == "__main__":
    print(measure())
