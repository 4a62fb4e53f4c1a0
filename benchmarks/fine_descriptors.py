"""What smaller patches are worth for motion: descriptors on images of twice the size, and poses by PnP from them.

    python -m dvlt_ros.training.batches.stored outputs/windows --windows 24
    python benchmarks/fine_descriptors.py CHECKPOINT outputs/windows --updates 100 --windows 12

A linear layer on tokens of two blocks of the checkpoint's encoder learns to find patches of one view again in another,
in the windows of the folder. On the frozen benchmark, poses then follow from the checkpoint's own depth and intrinsics,
or from the true ones, beside the poses that the checkpoint gives.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from motion_limits import Figures, pose_from_matches
from torch import Tensor, nn

from dvlt_ros.benchmark import machine, parse_count
from dvlt_ros.model import Dvlt
from dvlt_ros.model.correlation import UNIT, places, summarise
from dvlt_ros.training.batches.stored import StoredWindows, StoreSpec
from dvlt_ros.training.data.types import Views
from dvlt_ros.training.losses.matching import find_matches
from dvlt_ros.training.synthetic import load_benchmark

SCALE = 2
BLOCKS = (4, 6)
LEARNING_RATE = 3e-3
PAIRS = 3  # per update
SURE = (0.2, 0.4, 0.6)  # shares of probability next to the likeliest patch from which a match counts


class Matcher(nn.Module):
    """Where a patch of one view is in another, or nowhere: (n, n + 1) log probabilities."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layer = nn.Linear(channels, 64)
        self.log_sharpness = nn.Parameter(torch.tensor(math.log(20.0)))
        self.nowhere = nn.Parameter(torch.tensor(0.5))

    def forward(self, tokens: Tensor, other: Tensor) -> Tensor:
        here, there = (F.normalize(self.layer(x), dim=-1) for x in (tokens, other))
        similarity = here @ there.transpose(-1, -2)
        nowhere = self.nowhere.expand(*similarity.shape[:-1], 1)
        return (self.log_sharpness.exp() * torch.cat([similarity, nowhere], dim=-1)).log_softmax(-1)


def fine_tokens(model: Dvlt, images: Tensor) -> Tensor:
    """Tokens (S, n, blocks * C) of images (S, 3, H, W) at twice their size."""
    encoder = model.patch_embed_encoder
    larger = F.interpolate(images, scale_factor=SCALE, mode="bicubic").clamp(0, 1)
    x, found = encoder.enter((larger - encoder.mean) / encoder.std), []
    for number, block in enumerate(encoder.blocks[: max(BLOCKS)], start=1):
        x = block(x)
        if number in BLOCKS:
            found.append(encoder.patches(x))
    return torch.cat(found, dim=-1)


def enlarged(views: Views) -> Views:
    """The same cameras with twice as many pixels; every one of depth is repeated."""
    intrinsics = views.intrinsics.clone()
    intrinsics[..., :2, :] *= SCALE
    repeat = lambda x: x.repeat_interleave(SCALE, -1).repeat_interleave(SCALE, -2)  # noqa: E731
    return replace(views, intrinsics=intrinsics, depth=repeat(views.depth), valid=repeat(views.valid))


def pair_error(matcher: Matcher, tokens: Tensor, window: Views, pair: Tensor) -> Tensor:
    """Cross-entropy of the second view's patches in the first, of two views of a window."""
    matches, count = find_matches(enlarged(window.select_views(pair))), tokens.shape[1]
    share = matches.share.unflatten(1, (2, count))[0, 1, :, 0]
    share = share / share.sum(-1, keepdim=True).clamp(min=1e-6)
    nowhere = (~matches.in_first[0, 1:]).float().transpose(0, 1)
    truth = torch.cat([share * (1 - nowhere), nowhere], dim=-1)
    return -(truth * matcher(tokens[pair[1]].float(), tokens[pair[0]].float())).sum(-1).mean()


def learn(model: Dvlt, store: StoredWindows, updates: int) -> Matcher:
    windows = [store.window(i, torch.arange(store.spec.views)) for i in range(len(store))]
    with torch.inference_mode():
        tokens = [fine_tokens(model, window.images[0]).half().clone() for window in windows]
    matcher = Matcher(tokens[0].shape[-1])
    optimizer = torch.optim.AdamW(matcher.parameters(), lr=LEARNING_RATE, weight_decay=0.02)
    generator, recent = torch.Generator().manual_seed(0), []
    for update in range(updates):
        optimizer.param_groups[0]["lr"] = LEARNING_RATE * 0.5 * (1 + math.cos(math.pi * update / updates))
        rows = torch.randint(len(windows), (PAIRS,), generator=generator).tolist()
        pairs = [torch.randperm(store.spec.views, generator=generator)[:2] for _ in rows]
        errors = [pair_error(matcher, tokens[row], windows[row], pair) for row, pair in zip(rows, pairs, strict=True)]
        optimizer.zero_grad()
        torch.stack(errors).mean().backward()
        optimizer.step()
        recent.append(sum(error.item() for error in errors) / PAIRS)
    print(f"{len(windows)} windows, {updates} updates: {sum(recent[-20:]) / len(recent[-20:]):.2f} nats at the end")
    return matcher


def add_window(figures: Figures, model: Dvlt, matcher: Matcher, views: Views, steps: int) -> None:
    prediction, larger = model(views.images, num_steps=steps), enlarged(views)
    matches, width = find_matches(larger), views.images.shape[-1]
    tokens = fine_tokens(model, views.images[0])
    grid = tuple(int(n) for n in (larger.depth.shape[-2] // 14, larger.depth.shape[-1] // 14))
    share = torch.stack([matcher(view, tokens[0]) for view in tokens]).exp()
    summary = summarise(share, (grid[0], grid[1]))
    shift, here = summary[..., :2] / UNIT, places((grid[0], grid[1]), tokens) * width
    figures.add_matches("fine descriptors", shift, matches.displacement[0], matches.in_first[0], width)
    found = prediction.cameras()
    figures.add_poses("the network", found.world_from_cam[0], views)
    cases = {
        "the network's depth": (prediction.depth[0, 0], found.intrinsics[0]),
        "true depth": (views.depth[0, 0], views.intrinsics[0]),
    }
    for sure in SURE:
        for name, (depth, intrinsics) in cases.items():
            poses = [np.eye(4)]
            for view in range(1, len(tokens)):
                used = summary[view, :, 4] > sure
                pixels = ((here + shift[view] * width)[used], here[used])
                poses.append(pose_from_matches(depth, intrinsics[0], (intrinsics[0], intrinsics[view]), pixels))
            figures.add_poses(f"{name}, surer than {sure}", poses, views)


def main() -> None:
    parser = argparse.ArgumentParser(description="Descriptors on images of twice the size, and poses from them.")
    parser.add_argument("checkpoint")
    parser.add_argument("folder", type=Path, help="stored windows of 168x126")
    parser.add_argument("--updates", type=parse_count, default=100)
    parser.add_argument("--limit", type=parse_count, default=24, help="windows of the folder to learn from")
    parser.add_argument("--windows", type=parse_count, default=12, help="of the frozen benchmark")
    parser.add_argument("--steps", type=parse_count, default=6, help="K")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    cv2.setNumThreads(1)
    cv2.setRNGSeed(0)
    model, store = Dvlt.from_pretrained(args.checkpoint), StoredWindows(args.folder, StoreSpec(6, 126, 168))
    store.refresh(args.limit)
    matcher, figures = learn(model, store, args.updates), Figures()
    with torch.inference_mode():
        for views in load_benchmark().batches(batch=1, count=args.windows):
            add_window(figures, model, matcher, views, args.steps)
    print(f"{machine(torch.device('cpu'))}; {args.checkpoint}, K = {args.steps}, {args.windows} windows")
    print(figures)


if __name__ == "__main__":
    main()
