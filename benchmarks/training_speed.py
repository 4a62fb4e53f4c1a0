"""Time of one update of recipe=small_cpu on a CPU core, and the gain of each optimization.

    python benchmarks/training_speed.py

Images a second of processor time of the fastest update (other jobs on the machine then matter less): forward, losses,
backward and optimizer, on random images and depth: first as any network is trained, then with kept features of the
frozen encoder, losses on a sub-grid, and attention as two batched products.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, replace

import torch
from hydra import compose, initialize_config_module

from dvlt_ros.benchmark import machine, parse_count
from dvlt_ros.model import Dvlt
from dvlt_ros.model.config import PATCH_SIZE
from dvlt_ros.training.config import TrainConfig, from_hydra
from dvlt_ros.training.data.types import Views
from dvlt_ros.training.losses.matching import MatchingLoss, correlation_error
from dvlt_ros.training.optimisation.forward import TrainingPass, use_two_products
from dvlt_ros.training.optimisation.parameters import freeze, groups
from dvlt_ros.training.train import losses_of


@dataclass(frozen=True)
class Saving:
    """Optimizations that are switched on."""

    name: str
    kept_features: bool = False
    stride: int = 1
    two_products: bool = False


SAVINGS = (
    Saving("as any network"),
    Saving("kept features", kept_features=True),
    Saving("and every third pixel", kept_features=True, stride=3),
    Saving("and two batched products", kept_features=True, stride=3, two_products=True),
)


def random_views(scenes: int, views: int, height: int, width: int) -> Views:
    generator = torch.Generator().manual_seed(0)
    depth = 1 + 3 * torch.rand(scenes, views, height, width, generator=generator)
    poses = torch.eye(4).repeat(scenes, views, 1, 1)
    poses[..., :3, 3] = 0.3 * torch.randn(scenes, views, 3, generator=generator)
    intrinsics = torch.tensor([[0.9 * width, 0, width / 2], [0, 0.9 * width, height / 2], [0, 0, 1]])
    images = torch.rand(scenes, views, 3, height, width, generator=generator)
    synthetic = torch.ones(scenes, dtype=torch.bool)
    return Views(images, poses, intrinsics.repeat(scenes, views, 1, 1), depth, depth > 0, synthetic)


def images_per_second(
    config: TrainConfig, saving: Saving, views: Views, steps: int, updates: int, dtype: torch.dtype
) -> float:
    torch.manual_seed(0)
    network = Dvlt(config.model.dvlt)
    freeze(network, config.trainable)
    use_two_products(network, saving.two_products)
    optimizer = torch.optim.AdamW(groups(network, config.optimizer))
    model, matching = TrainingPass(network), MatchingLoss(network)
    loss = replace(config.loss, pixel_stride=saving.stride)
    height, width = views.depth.shape[-2:]
    grid, frozen = (height // PATCH_SIZE, width // PATCH_SIZE), None
    if saving.kept_features:
        with torch.inference_mode():
            found = network.patch_embed_encoder.frozen(views.images.flatten(0, 1))
        frozen = found.clone().unflatten(0, views.images.shape[:2])
    times = []
    for _ in range(updates):
        started = time.process_time()
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            prediction, features = model(views.images, frozen, grid, steps)
        matched = matching(views)
        total = losses_of(prediction, views, loss).total
        total = total + loss.match * matched.match + loss.displacement * matched.displacement
        if network.correlation is not None:
            total = total + loss.correlation * correlation_error(network.correlation, features, views)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        times.append(time.process_time() - started)
    return views.images.shape[0] * views.images.shape[1] / min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description="Images a second of training on a CPU core, by optimization.")
    parser.add_argument("--views", type=parse_count, default=4, help="of a scene; 16 images an update")
    parser.add_argument("--steps", type=parse_count, default=4, help="K")
    parser.add_argument("--updates", type=parse_count, default=4)
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32", help="of autocast")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with initialize_config_module("dvlt_ros.training.configs", version_base="1.3"):
        config = from_hydra(compose("train", ["recipe=small_cpu", "log_with=none"]))
    views = random_views(16 // args.views, args.views, 126, 168)
    print(
        f"{machine(torch.device('cpu'))}; one thread, {args.views} views of 168x126, K = {args.steps}, {args.precision}"
    )
    for saving in SAVINGS:
        rate = images_per_second(config, saving, views, args.steps, args.updates, getattr(torch, args.precision))
        print(f"{saving.name:>26}  {rate:6.2f} images a second of processor time", flush=True)


if __name__ == "__main__":
    main()
