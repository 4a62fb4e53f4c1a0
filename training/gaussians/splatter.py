"""A differentiable renderer of 3D Gaussians behind one interface: plain PyTorch anywhere, gsplat on a GPU.

A Gaussian is projected by the first-order expansion of the camera at its centre (EWA splatting, Zwicker et al. 2001);
each pixel blends the Gaussians over it from front to back.
"""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass, fields
from typing import Any, Protocol

import torch
from torch import Tensor

from dvlt_ros.errors import ConfigError
from dvlt_ros.geometry import invert_pose, matrix_from_quaternion, rotate, transform_points

NEAR = 0.01  # world's unit; nearer centres are not drawn
BLUR = 0.1  # pixels squared, added to every projected covariance: no Gaussian falls between pixels
FAINTEST = 1 / 255  # of a Gaussian at a pixel; less is left out
DENSEST = 0.999
WIDEST = 64  # pixels around a centre that a Gaussian may reach


@dataclass(frozen=True, eq=False)
class Gaussians:
    """N of them, of one world."""

    centers: Tensor  # (N, 3)
    colors: Tensor  # (N, 3), RGB in [0, 1]
    opacities: Tensor  # (N,), in (0, 1)
    deviations: Tensor  # (N, 3), standard deviations along the own axes, world's unit
    rotations: Tensor  # (N, 4), quaternions xyzw, world from own axes

    def __len__(self) -> int:
        return len(self.centers)

    def __getitem__(self, kept: Tensor) -> Gaussians:
        return Gaussians(*(getattr(self, field.name)[kept] for field in fields(self)))

    def to(self, device: torch.device | str) -> Gaussians:
        return Gaussians(*(getattr(self, field.name).to(device) for field in fields(self)))

    @property
    def covariances(self) -> Tensor:
        """(N, 3, 3), world."""
        axes = matrix_from_quaternion(self.rotations) * self.deviations.unsqueeze(-2)
        return axes @ axes.transpose(-1, -2)


class Splatter(Protocol):
    """Renders Gaussians into one camera; gradients go to all of their parts."""

    def __call__(
        self, gaussians: Gaussians, world_from_cam: Tensor, intrinsics: Tensor, size: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        """Colours (H, W, 3) before a black background, and how much of each pixel is covered (H, W), from 0 to 1.

        Args:
            world_from_cam: (4, 4), OpenCV axes.
            intrinsics: (3, 3), pixels.
            size: (height, width).
        """
        ...


def choose_splatter(device: torch.device) -> Splatter:
    """gsplat where there is a GPU and it is installed, else plain PyTorch."""
    if device.type == "cuda" and importlib.util.find_spec("gsplat") is not None:
        return GsplatSplatter()
    return torch_splatter


def torch_splatter(
    gaussians: Gaussians, world_from_cam: Tensor, intrinsics: Tensor, size: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """See `Splatter`. Time and memory grow with the pixels under all Gaussians together."""
    cam_from_world = invert_pose(world_from_cam)
    in_camera = transform_points(cam_from_world, gaussians.centers)
    order = in_camera[:, 2].detach().argsort()
    order = order[in_camera[order, 2] > NEAR]
    seen, in_camera = gaussians[order], in_camera[order]
    pixels = rotate(intrinsics, in_camera)[:, :2] / in_camera[:, 2:]
    covariances = _projected(seen.covariances, in_camera, cam_from_world, intrinsics)
    which, row, column = _pairs(pixels.detach(), covariances.detach(), seen.opacities.detach(), size)
    offset = torch.stack([column, row], dim=-1) + 0.5 - pixels[which]
    squared = torch.einsum("pi,pij,pj->p", offset, torch.linalg.inv(covariances)[which], offset)  # Mahalanobis, squared
    alpha = seen.opacities[which] * torch.exp(-0.5 * squared)
    kept = alpha.detach() > FAINTEST
    return _blended(alpha[kept].clamp(max=DENSEST), which[kept], (row * size[1] + column)[kept], seen.colors, size)


def _projected(covariances: Tensor, in_camera: Tensor, cam_from_world: Tensor, intrinsics: Tensor) -> Tensor:
    """Covariances (N, 2, 2) in the image, pixels squared, of those (N, 3, 3) in the world."""
    x, y, z = in_camera.unbind(-1)
    zero = torch.zeros_like(z)
    jacobian = torch.stack([1 / z, zero, -x / z**2, zero, 1 / z, -y / z**2], dim=-1).unflatten(-1, (2, 3))
    flat = intrinsics[:2, :2] @ jacobian @ cam_from_world[:3, :3]
    return flat @ covariances @ flat.transpose(-1, -2) + BLUR * torch.eye(2, dtype=z.dtype, device=z.device)


def _pairs(
    pixels: Tensor, covariances: Tensor, opacities: Tensor, size: tuple[int, int]
) -> tuple[Tensor, Tensor, Tensor]:
    """Every Gaussian with every pixel that it reaches: indices of Gaussians, rows and columns, (P,) each.

    The Gaussians' order stays.
    """
    reach = (2 * (opacities / FAINTEST).clamp(min=1).log()).sqrt()  # standard deviations
    half = reach.unsqueeze(-1) * covariances.diagonal(dim1=-2, dim2=-1).sqrt()
    half = half.clamp(max=WIDEST)
    limits = pixels.new_tensor([size[1], size[0]])
    low = (pixels - half - 0.5).ceil().clamp(min=0).minimum(limits).long()
    high = (pixels + half - 0.5).floor().add(1).clamp(min=0).minimum(limits).long()  # behind the last
    width, height = (high - low).clamp(min=0).unbind(-1)
    count = width * height
    which = torch.repeat_interleave(count)
    within = torch.arange(len(which), device=which.device) - (count.cumsum(0) - count)[which]
    across = width[which].clamp(min=1)
    return which, low[which, 1] + within // across, low[which, 0] + within % across


def _blended(
    alpha: Tensor, which: Tensor, pixel: Tensor, colors: Tensor, size: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Front to back: each Gaussian's alpha times what those before it at its pixel let through."""
    pixel, order = pixel.sort(stable=True)  # they came from front to back
    alpha, which = alpha[order], which[order]
    passing = torch.log1p(-alpha.double())  # sums over all pairs need the digits
    before = passing.cumsum(0) - passing  # of all pairs before, those of other pixels among them
    first = torch.searchsorted(pixel, pixel)  # of each pixel's pairs
    weight = alpha * (before - before[first]).exp().to(alpha.dtype)
    image = colors.new_zeros(size[0] * size[1], 3).index_add(0, pixel, weight.unsqueeze(-1) * colors[which])
    covered = colors.new_zeros(size[0] * size[1]).index_add(0, pixel, weight)
    return image.view(*size, 3), covered.view(size)


class GsplatSplatter:
    """The same by gsplat's kernels. Raises ConfigError: gsplat is not installed."""

    def __init__(self) -> None:
        try:
            self._gsplat: Any = importlib.import_module("gsplat")
        except ImportError as error:
            raise ConfigError(f"gsplat cannot be imported: {error}; pip install 'gsplat>=1.5,<2'") from error

    def __call__(
        self, gaussians: Gaussians, world_from_cam: Tensor, intrinsics: Tensor, size: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        colors, alphas, _ = self._gsplat.rasterization(
            gaussians.centers, gaussians.rotations[:, [3, 0, 1, 2]], gaussians.deviations, gaussians.opacities,
            gaussians.colors, invert_pose(world_from_cam)[None], intrinsics[None], size[1], size[0],
            near_plane=NEAR, eps2d=BLUR,
        )  # fmt: skip
        return colors[0], alphas[0, ..., 0]


def over(background: float, colors: Tensor, covered: Tensor) -> Tensor:
    """A rendering before a grey background: (H, W, 3)."""
    return colors + background * (1 - covered).unsqueeze(-1)
