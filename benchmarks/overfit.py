"""Overfits 32 windows of two views and evaluates on them: can the training stack learn depth and motion?

    python benchmarks/overfit.py                    # a small network: some twenty minutes on an idle CPU core
    python benchmarks/overfit.py recipe=nano data.synthetic_windows=32 data.augment=false shapes.views=[2,2]

Arguments override fields of the recipe, by default nano_overfit. A correct training stack reaches AbsRel < 0.03 and
AUC@30 near 1; errors are found here faster than by a long run.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace

import torch
from hydra import compose, initialize_config_module

from dvlt_ros.training.batches.rendering import SyntheticWindows
from dvlt_ros.training.batches.sampling import image_shape
from dvlt_ros.training.config import TrainConfig, from_hydra
from dvlt_ros.training.data.types import Views
from dvlt_ros.training.evaluation.windows import evaluate_windows, means
from dvlt_ros.training.train import train

FIGURES = ("abs_rel", "auc@30", "auc@3", "rotation_error_deg", "translation_error_deg", "rel_l2", "inlier_ratio")


def configuration(arguments: Sequence[str], recipe: str) -> TrainConfig:
    """Of ``recipe`` with overrides, or of the recipe that these name."""
    default = [] if any(argument.startswith("recipe=") for argument in arguments) else [f"recipe={recipe}"]
    with initialize_config_module("dvlt_ros.training.configs", version_base="1.3"):
        return from_hydra(compose("train", [*default, "log_with=none", *arguments]))


def seen_windows(config: TrainConfig, device: torch.device, at_most: int | None = None) -> list[Views]:
    """The windows that were trained on, without augmentation."""
    shapes, data = config.shapes, replace(config.data, augment=False)
    source = SyntheticWindows(data, shapes.views[1], device)
    seeds = range(data.synthetic_windows or 0)[:at_most]
    return source.windows(seeds, shapes.views[1], image_shape(shapes.image_size, shapes.aspect[0]))


def main(arguments: list[str]) -> None:
    config = configuration(arguments, "nano_overfit")
    model = train(config)
    device = next(model.parameters()).device
    figures = means(evaluate_windows(model, seen_windows(config, device), model.config.num_steps))
    print(", ".join(f"{name} {figures[name]:.3f}" for name in FIGURES))


if __name__ == "__main__":
    main(sys.argv[1:])
