"""A third decoder: opacity, size and orientation of a Gaussian at every pixel; its centre is the pixel's point."""

from __future__ import annotations

import math
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from dvlt_ros.errors import WeightsError
from dvlt_ros.export.scenes.scene import Sight
from dvlt_ros.export.scenes.splats import OPACITY, SPREAD, Splats, splats_of
from dvlt_ros.geometry import quaternion_from_matrix
from dvlt_ros.model import Dvlt, Prediction, State
from dvlt_ros.model.config import PATCH_SIZE
from dvlt_ros.model.decoders import Decoder, pixel_shuffle
from dvlt_ros.model.dvlt import NUM_SPECIAL
from dvlt_ros.model.layers import Float32Linear, Rope
from dvlt_ros.types import Cameras

from .splatter import Gaussians

CHANNELS = 8  # opacity, three deviations, a quaternion
MOST_GROWTH = 3.0  # of a Gaussian from its pixel's footprint, and as much shrinkage


class GaussianHeads(Decoder):
    """Starts with round, opaque Gaussians as wide as `SPREAD` of a pixel."""

    def __init__(self, network: Dvlt) -> None:
        super().__init__(network.config)
        self.head = Float32Linear(network.config.decoder_embed_dim, CHANNELS * PATCH_SIZE**2)
        torch.nn.init.zeros_(self.head.weight)
        start = torch.zeros(CHANNELS, PATCH_SIZE**2)
        start[0], start[7] = math.log(OPACITY / (1 - OPACITY)), 1.0
        with torch.no_grad():
            self.head.bias.copy_(start.flatten())

    def forward(self, state: State) -> Tensor:
        """Raw values (B, S, 8, H, W) of every view of a final state."""
        rows, columns = state.grid
        rope = Rope(state.grid, NUM_SPECIAL, self.head_dim, state.tokens.device)
        patches = self.patches(self.front(state.tokens.flatten(0, 1), rope), rows * columns)
        return pixel_shuffle(self.head(patches), state.grid).unflatten(0, state.tokens.shape[:2])

    def save(self, path: Path, checkpoint: str) -> None:
        """``checkpoint``: digest of the network's file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({k: v.contiguous() for k, v in self.state_dict().items()}, path, {"checkpoint": checkpoint})

    @classmethod
    def read(cls, path: Path, network: Dvlt, checkpoint: str) -> GaussianHeads:
        """Raises WeightsError: no such file, or heads of another checkpoint."""
        try:
            with safe_open(path, "pt") as file:
                own = (file.metadata() or {}).get("checkpoint", "unknown")
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dictionary
        except (OSError, SafetensorError) as error:
            raise WeightsError(f"{path}: no readable Gaussian heads: {error}") from error
        if own != checkpoint:
            raise WeightsError(f"{path}: heads of another checkpoint, {own[:12]}; the network's is {checkpoint[:12]}")
        heads = cls(network)
        heads.load_state_dict(tensors)
        return heads.eval()


def gaussians_of(raw: Tensor, prediction: Prediction, cameras: Cameras, images: Tensor) -> Gaussians:
    """One Gaussian per pixel of one scene's S views, in the prediction's world.

    Sizes are the pixel's footprint, depth over focal length, times at most `MOST_GROWTH`; axes are told in the camera's
    frame.

    Args:
        raw: (1, S, 8, H, W) of `GaussianHeads`.
        cameras: (1, S), of the prediction.
        images: (1, S, 3, H, W) in [0, 1].
    """
    opacity, growth, quaternion = raw[0].movedim(1, -1).split([1, 3, 4], dim=-1)
    limit = math.log(MOST_GROWTH)
    footprint = prediction.depth[0] / cameras.intrinsics[0, :, 0, 0, None, None]
    deviations = SPREAD * footprint.unsqueeze(-1) * (limit * torch.tanh(growth / limit)).exp()
    world_from_cam = quaternion_from_matrix(cameras.world_from_cam[0, :, :3, :3])[:, None, None]
    return Gaussians(
        prediction.points[0].reshape(-1, 3),
        images[0].movedim(1, -1).reshape(-1, 3),
        opacity.sigmoid().flatten(),
        deviations.reshape(-1, 3),
        product(world_from_cam, F.normalize(quaternion, dim=-1)).reshape(-1, 4),
    )


def product(a: Tensor, b: Tensor) -> Tensor:
    """Quaternion (..., 4), xyzw, of the rotation b, then a."""
    a_vector, a_real = a[..., :3].expand(*b.shape[:-1], 3), a[..., 3:]
    b_vector, b_real = b[..., :3], b[..., 3:]
    vector = a_real * b_vector + b_real * a_vector + torch.linalg.cross(a_vector, b_vector)
    return torch.cat([vector, a_real * b_real - (a_vector * b_vector).sum(-1, keepdim=True)], dim=-1)


def pixel_splats(prediction: Prediction, cameras: Cameras, images: Tensor) -> Gaussians:
    """What is exported without trained heads: a flat splat on the surface at every pixel of one scene."""
    colors = (255 * images[0].movedim(1, -1)).round().byte().cpu().numpy()
    depth = prediction.depth[0].cpu().numpy()
    intrinsics, poses = (x[0].cpu().double().numpy() for x in (cameras.intrinsics, cameras.world_from_cam))
    parts = [splats_of(Sight(*view[:3]), view[3]) for view in zip(depth, colors, intrinsics, poses, strict=True)]
    joined = parts[0]
    for part in parts[1:]:
        joined = joined.joined(part)
    return gaussians_of_splats(joined).to(images.device)


def gaussians_of_splats(splats: Splats) -> Gaussians:
    return Gaussians(
        torch.from_numpy(splats.centers),
        torch.from_numpy(splats.colors).float() / 255,
        torch.from_numpy(splats.opacities),
        torch.from_numpy(splats.deviations),
        torch.from_numpy(splats.rotations[:, [1, 2, 3, 0]]),
    )


def splats_of_gaussians(gaussians: Gaussians) -> Splats:
    """To write as a PLY."""
    found = gaussians.to("cpu")
    rotations = F.normalize(found.rotations, dim=-1)[:, [3, 0, 1, 2]]
    colors = (255 * found.colors.clamp(0, 1)).round().byte()
    parts = found.centers.float(), colors, found.deviations.float(), rotations.float(), found.opacities.float()
    return Splats(*(part.detach().numpy() for part in parts))
