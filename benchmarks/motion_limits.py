"""Limits of the motion estimate: accuracy of patch matches, and poses from perfect matches.

    python benchmarks/motion_limits.py CHECKPOINT --windows 20

On the frozen benchmark. For every block of the encoder: how far the likeliest patch of the first view (cosine of
centred tokens, local mean) is from the true one; likewise the network's own displacement, and that of descriptors.
Then camera poses from points of the first view's depth and their images in the others (PnP with RANSAC), with true and
found matches and depth, beside the network's own.
"""

from __future__ import annotations

import argparse
from collections import defaultdict

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dvlt_ros.benchmark import machine, parse_count
from dvlt_ros.model import Dvlt, Prediction
from dvlt_ros.model.config import PATCH_SIZE
from dvlt_ros.model.correlation import UNIT, neighbours, places, summarise
from dvlt_ros.model.dvlt import NUM_SPECIAL
from dvlt_ros.training.data.types import Views
from dvlt_ros.training.evaluation.metrics import pose_metrics
from dvlt_ros.training.evaluation.windows import MIN_BASELINE
from dvlt_ros.training.losses.matching import DISPLACEMENT_UNIT, find_matches
from dvlt_ros.training.losses.normalize import to_first_camera
from dvlt_ros.training.synthetic import load_benchmark

SHARPNESS = 20.0  # of cosines of untrained tokens
SURE = 0.3  # share of probability next to the likeliest patch from which a match counts for PnP
PIXELS = 7.0  # within which PnP takes a match for right


def block_tokens(model: Dvlt, images: Tensor) -> list[Tensor]:
    """Centred patch tokens (S, n, C) of unit length after every block of the encoder."""
    encoder = model.patch_embed_encoder
    x, found = encoder.enter((images - encoder.mean) / encoder.std), []
    for block in encoder.blocks:
        x = block(x)
        patches = x[:, encoder.num_special :]
        found.append(F.normalize(patches - patches.mean((0, 1)), dim=-1))
    return found


def found_by_cosine(tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    """Displacement (S, n, 2) to the likeliest patch of the first view, in image widths."""
    place = places(grid, tokens)
    share = (SHARPNESS * tokens @ tokens[0].transpose(-1, -2)).softmax(-1)
    near = share * neighbours(place, grid)[share.argmax(-1)]
    return near @ place / near.sum(-1, keepdim=True) - place


def pose_from_matches(
    depth: Tensor, first: Tensor, intrinsics: tuple[Tensor, Tensor], pixels: tuple[Tensor, Tensor]
) -> np.ndarray:
    """Pose of a camera in the first one's frame (4, 4) from pixels (k, 2) in both; identity where PnP has no answer."""
    there, here = pixels
    row, column = (there[:, i].long().clamp(0, depth.shape[1 - i] - 1) for i in (1, 0))
    rays = torch.cat([there, torch.ones(len(there), 1)], dim=1) @ torch.linalg.inv(first).T
    points, image = (x.numpy().astype(np.float64) for x in (rays * depth[row, column, None], here))
    camera = intrinsics[1].numpy().astype(np.float64)
    if len(points) < 6:
        return np.eye(4)
    known, turn, shift, inliers = cv2.solvePnPRansac(
        points, image, camera, None, reprojectionError=PIXELS, iterationsCount=300, flags=cv2.SOLVEPNP_SQPNP
    )
    if not known or inliers is None or len(inliers) < 6:
        return np.eye(4)
    chosen = inliers[:, 0]
    turn, shift = cv2.solvePnPRefineLM(points[chosen], image[chosen], camera, None, turn, shift)
    cam_from_first = np.eye(4)
    cam_from_first[:3, :3], cam_from_first[:3, 3] = cv2.Rodrigues(turn)[0], shift[:, 0]
    return np.linalg.inv(cam_from_first)


def poses_of(
    depth: Tensor, intrinsics: Tensor, displacement: Tensor, used: Tensor, grid: tuple[int, int]
) -> list[np.ndarray]:
    width = grid[1] * PATCH_SIZE
    here = places(grid, depth) * width
    poses = [np.eye(4)]
    for view in range(1, len(displacement)):
        kept = used[view]
        pixels = ((here + displacement[view] * width)[kept], here[kept])
        poses.append(pose_from_matches(depth, intrinsics[0], (intrinsics[0], intrinsics[view]), pixels))
    return poses


class Figures:
    """Errors of matches in pixels, and of poses, by name."""

    def __init__(self) -> None:
        self.pixels: dict[str, list[Tensor]] = defaultdict(list)
        self.poses: dict[str, list[list[float]]] = defaultdict(list)

    def add_matches(self, name: str, found: Tensor, truth: Tensor, seen: Tensor, width: int) -> None:
        self.pixels[name].append(width * (found - truth).norm(dim=-1)[1:][seen[1:]])

    def add_poses(self, name: str, poses: list[np.ndarray] | Tensor, views: Views) -> None:
        truth = to_first_camera(views.world_from_cam)[0]
        baseline = MIN_BASELINE * float(views.depth[0][views.valid[0]].median())
        stacked = poses if isinstance(poses, Tensor) else torch.from_numpy(np.stack(poses)).float()
        named = pose_metrics(stacked, truth, min_baseline=baseline).named()
        self.poses[name].append([named[key] for key in ("auc@30", "rotation_error_deg", "translation_error_deg")])

    def __str__(self) -> str:
        lines = ["matches with the first view: median error, share within 7 and 3.5 pixels"]
        for name, parts in self.pixels.items():
            error = torch.cat(parts)
            shares = [(error < limit).float().mean().item() for limit in (7, 3.5)]
            lines.append(f"{name:>34}  {error.median():5.1f}  {shares[0]:.2f}  {shares[1]:.2f}")
        lines.append("poses: AUC@30, rotation and direction of translation in degrees")
        for name, rows in self.poses.items():
            auc, rotation, direction = np.nanmean(np.array(rows), axis=0)
            lines.append(f"{name:>34}  {auc:.3f}  {rotation:5.1f}  {direction:5.1f}")
        return "\n".join(lines)


def add_window(figures: Figures, model: Dvlt, views: Views, steps: int) -> None:
    matches = find_matches(views)
    truth, seen = matches.displacement[0], matches.in_first[0]
    features = model.encode(views.images)
    grid, width = features.grid, views.images.shape[-1]
    state = model.run(model.begin(features), steps)
    prediction = model.decode(state)
    figures.add_matches("the same place", torch.zeros_like(truth), truth, seen, width)
    for number, tokens in enumerate(block_tokens(model, views.images[0]), start=1):
        figures.add_matches(f"tokens of block {number}", found_by_cosine(tokens, grid), truth, seen, width)
    carried = F.layer_norm(state.tokens, state.tokens.shape[-1:])[0, :, NUM_SPECIAL:, :2] * DISPLACEMENT_UNIT
    figures.add_matches("the network's displacement", carried, truth, seen, width)
    add_poses(figures, prediction, views, truth, seen, grid)
    if model.correlation is not None:
        descriptors = features.tokens[..., model.config.embed_dim :]
        summary = summarise(model.correlation.log_share(descriptors, descriptors[:, 0]).exp(), grid)[0]
        figures.add_matches("descriptors", summary[..., :2] / UNIT, truth, seen, width)
        intrinsics, depth = prediction.cameras().intrinsics[0], prediction.depth[0, 0]
        used = summary[..., 4] > SURE
        figures.add_poses(
            "descriptors, network's depth", poses_of(depth, intrinsics, summary[..., :2] / UNIT, used, grid), views
        )


def add_poses(
    figures: Figures, prediction: Prediction, views: Views, truth: Tensor, seen: Tensor, grid: tuple[int, int]
) -> None:
    found, true = prediction.cameras(), views.intrinsics[0]
    figures.add_poses("a camera that stands still", [np.eye(4)] * len(truth), views)
    figures.add_poses("the network", found.world_from_cam[0], views)
    figures.add_poses("true matches, true depth", poses_of(views.depth[0, 0], true, truth, seen, grid), views)
    network = poses_of(prediction.depth[0, 0], found.intrinsics[0], truth, seen, grid)
    figures.add_poses("true matches, network's depth", network, views)


def main() -> None:
    parser = argparse.ArgumentParser(description="Accuracy of patch matches, and of poses from them.")
    parser.add_argument("checkpoint")
    parser.add_argument("--windows", type=parse_count, default=20)
    parser.add_argument("--steps", type=parse_count, default=8, help="K")
    parser.add_argument("--threads", type=parse_count, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    cv2.setNumThreads(args.threads)
    cv2.setRNGSeed(0)
    model, figures = Dvlt.from_pretrained(args.checkpoint), Figures()
    with torch.inference_mode():
        for views in load_benchmark().batches(batch=1, count=args.windows):
            add_window(figures, model, views, args.steps)
    print(f"{machine(torch.device('cpu'))}; {args.checkpoint}, K = {args.steps}, {args.windows} windows")
    print(figures)


if __name__ == "__main__":
    main()
