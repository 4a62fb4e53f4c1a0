"""The paper's claims on one loop, at small scale: the same network trained in three ways, evaluated at several K.

    python benchmarks/claims.py                                      # an hour of an idle CPU core
    python benchmarks/claims.py recipe=nano total_minutes=8.5 data.augment=false

    shared, any K       one block applied K times, K drawn anew for every update: the method
    shared, one K       the same, always trained with the largest K
    decoupled           as many blocks with weights of their own, so that a pass costs as much

All of them get the same batches and number of updates. Arguments override fields of the recipe, by default nano_claims.
They are evaluated on training scenes and on new ones: at each K a full pass, and the pass of the largest K stopped
after K steps. A variant whose folder in ``output`` is complete is not trained again.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice, product
from pathlib import Path
from typing import Literal

import torch
from overfit import configuration, seen_windows
from torch import Tensor
from tqdm import tqdm

from dvlt_ros.benchmark import machine
from dvlt_ros.model import Dvlt, Prediction
from dvlt_ros.training.batches.sampling import image_shape
from dvlt_ros.training.config import TrainConfig
from dvlt_ros.training.data.types import Views
from dvlt_ros.training.evaluation.windows import means, window_metrics
from dvlt_ros.training.synthetic import BENCHMARK_SEED, SyntheticConfig, sample_windows
from dvlt_ros.training.train import train

FIGURES = ("abs_rel", "rel_l2", "auc@30", "rotation_error_deg", "translation_error_deg")
RECIPE = "nano_claims"
NUM_WINDOWS = 64
JUDGED_SEED = BENCHMARK_SEED - 2**19  # neither trained on nor validated with
Scenes = Literal["seen", "new"]


@dataclass(frozen=True)
class Variant:
    name: str
    overrides: tuple[str, ...]  # the line of configuration that makes it


def variants(most_steps: int) -> tuple[Variant, ...]:
    one_k = f"model.config.min_steps={most_steps}"
    return (
        Variant("shared, any K", ()),
        Variant("shared, one K", (one_k,)),
        Variant("decoupled", (one_k, "model.config.recurrence_mode=none")),
    )


def trained(variant: Variant, arguments: Sequence[str], output: Path) -> Dvlt:
    folder = output / variant.name.replace(", ", "_").replace(" ", "_")
    if not (folder / "complete").exists():
        train(configuration([*arguments, *variant.overrides, f"output={folder}"], RECIPE))
        (folder / "complete").touch()
    return Dvlt.from_pretrained(folder / "last")


def stopped_early(model: Dvlt, after: int, images: Tensor) -> Prediction:
    """The first steps of the pass with the most."""
    state = model.begin(model.encode(images))
    states = list(islice(model.states(state, model.config.num_steps), after))
    return model.decode(states[-1])


def judged_windows(config: TrainConfig, device: torch.device) -> dict[Scenes, list[Views]]:
    """Windows with the largest number of views of training; training scenes without augmentation."""
    views, size = config.shapes.views[1], image_shape(config.shapes.image_size, config.shapes.aspect[0])
    scenes = SyntheticConfig(views=views, height=size[0], width=size[1], augment=None)
    seeds = range(JUDGED_SEED, JUDGED_SEED + NUM_WINDOWS)
    new = [sample_windows([seed], scenes, device) for seed in tqdm(seeds, desc="scenes to judge by")]
    return {"seen": seen_windows(config, device, NUM_WINDOWS), "new": new}


def rows(name: str, model: Dvlt, judged: dict[Scenes, list[Views]]) -> list[dict[str, object]]:
    """Means over all windows, for every K that the model has, as a full pass and stopped early."""
    low, high = model.config.min_steps, model.config.num_steps
    passes = [(k, "full", partial(model, num_steps=k)) for k in range(low, high + 1)]
    if model.config.recurrence_mode != "none":
        passes += [(k, "stopped", partial(stopped_early, model, k)) for k in range(2, high)]
    found = []
    for (k, how, run), (scenes, windows) in product(passes, judged.items()):
        with torch.inference_mode():
            figures = [row for views in windows for row in window_metrics(run(views.images), views)]
        found.append({"variant": name, "K": k, "pass": how, "scenes": scenes} | means(figures))
    return found


def line(row: dict[str, object]) -> str:
    cells = "  ".join(f"{row[name]:10.3f}" for name in FIGURES)
    return f"{row['variant']:<16} {row['K']:>3} {row['pass']:<8} {row['scenes']:<6} {cells}"


def main(arguments: list[str]) -> None:
    config = configuration(arguments, RECIPE)
    output, found = Path(config.output), []
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    judged = judged_windows(config, device)
    print(machine(device))
    print(f"{'trained as':<16} {'K':>3} {'pass':<8} {'scenes':<6} " + "  ".join(f"{name[:10]:>10}" for name in FIGURES))
    for variant in variants(config.model.dvlt.num_steps):
        model = trained(variant, arguments, output).to(device).eval()
        new = rows(variant.name, model, judged)
        print(*map(line, new), sep="\n", flush=True)
        found += new
    (output / "claims.json").write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main(sys.argv[1:])
