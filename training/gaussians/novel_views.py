"""Views that the network has not seen: which ones, their cameras in its world, and how well they are rendered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dvlt_ros.alignment import fit_sim3
from dvlt_ros.errors import InputError
from dvlt_ros.geometry import transform_points, unproject
from dvlt_ros.model import Dvlt, Prediction, State
from dvlt_ros.types import Cameras

from ..data.types import Views
from .heads import GaussianHeads, gaussians_of, pixel_splats
from .pictures import psnr, ssim
from .splatter import Gaussians, Splatter, over

BACKGROUND = 0.5  # grey, where no Gaussian is


def split_views(num_views: int, held_out: int) -> tuple[list[int], list[int]]:
    """(seen, held out): the held-out ones evenly between the first and the last view.

    Raises:
        InputError: fewer than two would be seen.
    """
    if not 1 <= held_out <= num_views - 2:
        raise InputError(f"of {num_views} views 1 to {num_views - 2} can be held out, got {held_out}")
    held = [(i + 1) * (num_views - 1) // (held_out + 1) for i in range(held_out)]
    return [view for view in range(num_views) if view not in held], held


@dataclass(frozen=True, eq=False)
class SeenScene:
    """One scene as the network has it, of the views that it was shown."""

    images: Tensor  # (1, S, 3, H, W)
    state: State  # the final one
    prediction: Prediction
    cameras: Cameras  # (1, S)

    @classmethod
    @torch.no_grad()
    def of(cls, network: Dvlt, images: Tensor, num_steps: int) -> SeenScene:
        state = network.run(network.begin(network.encode(images)), num_steps)
        prediction = network.decode(state)
        return cls(images, state, prediction, prediction.cameras())

    def gaussians(self, heads: GaussianHeads | None) -> Gaussians:
        """Of trained heads, or the splats that are exported without any."""
        if heads is None:
            return pixel_splats(self.prediction, self.cameras, self.images)
        return gaussians_of(heads(self.state), self.prediction, self.cameras, self.images)

    def cameras_of(self, truth: Views, seen: list[int], wanted: list[int]) -> Cameras:
        """True cameras (W,) of one window in the network's world: moved by the similarity that fits its points.

        Raises:
            AlignmentError: the points give no similarity.
        """
        poses, intrinsics = truth.world_from_cam[0], truth.intrinsics[0]
        points = transform_points(poses[seen], unproject(truth.depth[0, seen], intrinsics[seen]))
        weight = truth.valid[0, seen] * self.prediction.depth_confidence[0]
        found = self.prediction.points[0]
        network_from_truth = fit_sim3(points.reshape(-1, 3), found.reshape(-1, 3), weight.flatten())
        return Cameras(network_from_truth.apply_to_poses(poses[wanted]), intrinsics[wanted])


def with_true_geometry(scene: SeenScene, truth: Views, seen: list[int]) -> SeenScene:
    """The same scene with true depth and cameras, in their world: the bound of what heads can come to."""
    cameras = Cameras(truth.world_from_cam[:, seen], truth.intrinsics[:, seen])
    depth = truth.depth[:, seen]
    points = transform_points(cameras.world_from_cam, unproject(depth, cameras.intrinsics))
    exact = replace(
        scene.prediction, depth=depth, ray_origins=points, ray_directions=torch.zeros_like(points)
    )  # whose points are origins alone
    return replace(scene, prediction=exact, cameras=cameras)


def rendered(gaussians: Gaussians, camera: Cameras, size: tuple[int, int], splatter: Splatter) -> Tensor:
    """(H, W, 3) before grey."""
    colors, covered = splatter(gaussians, camera.world_from_cam, camera.intrinsics, size)
    return over(BACKGROUND, colors, covered)


@torch.no_grad()
def scores(gaussians: Gaussians, cameras: Cameras, truth: Tensor, splatter: Splatter) -> dict[str, float]:
    """PSNR and SSIM, mean over pictures (W, 3, H, W) from these cameras."""
    height, width = truth.shape[-2:]
    return likeness([rendered(gaussians, cameras[i], (height, width), splatter) for i in range(len(truth))], truth)


def likeness(images: Sequence[Tensor], truth: Tensor) -> dict[str, float]:
    """PSNR and SSIM, mean over images (H, W, 3) and the pictures (W, 3, H, W) that they should be."""
    pairs = list(zip(images, truth.movedim(1, -1), strict=True))
    return {
        "psnr": sum(float(psnr(image, picture)) for image, picture in pairs) / len(pairs),
        "ssim": sum(float(ssim(image.clamp(0, 1), picture)) for image, picture in pairs) / len(pairs),
    }
