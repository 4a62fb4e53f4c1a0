"""What might bring motion to dvlt-small, each try on the same short budget: a line of configuration on one start.

    python benchmarks/motion_tries.py model.encoder_weights=dinov2.safetensors model.head_weights=heads.safetensors

Every try sees as many images of the same rendered windows, from the same start, and is judged on the same new windows
of six views, at the size of its images; changes are against the first try, paired by window. Arguments override fields
of the recipe, small_cpu. A try whose folder in ``output`` is complete is not trained again.

    as before            matching and displacement, as the recipe has them
    matching times 4     both terms
    wide pairs first     half of the updates on pairs of views with wide baselines
    all pairs            the relative poses of all pairs of views are supervised, too
    descriptors          a correlation of the encoder's features is given to the loop
    larger images        224 x 168
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from claims import JUDGED_SEED
from overfit import configuration

from dvlt_ros.benchmark import machine
from dvlt_ros.model import Dvlt
from dvlt_ros.training.batches.sampling import image_shape
from dvlt_ros.training.config import TrainConfig
from dvlt_ros.training.data.types import Views
from dvlt_ros.training.evaluation.contrasts import mean_interval
from dvlt_ros.training.evaluation.windows import evaluate_windows, means
from dvlt_ros.training.synthetic import SyntheticConfig, sample_windows
from dvlt_ros.training.train import train

RECIPE = "small_cpu"
BUDGET = (
    "model.config.match_taps=[]", "model.start.descriptor_updates=0", "loss.correlation=0",
    "model.config.num_steps=6", "shapes.views=[2,4]", "shapes.images_per_step=8", "data.synthetic_windows=96",
    "data.render_beside=false", "data.feature_variants=1", "optimizer.learning_rate=3e-4",
    "optimizer.warmup_steps=20", "validation.windows=0", "total_steps=200", "total_minutes=null", "save_every=100000",
)  # fmt: skip
TRIES: Mapping[str, tuple[str, ...]] = {
    "as before": (),
    "matching times 4": ("loss.match=2", "loss.displacement=1"),
    "wide pairs first": ("shapes.views=[2,2]", "data.prefer_far=true"),
    "all pairs": ("loss.pairs=1",),
    "descriptors": ("model.config.match_taps=[4,6]", "model.start.descriptor_updates=100", "loss.correlation=0.5"),
    "larger images": ("shapes.image_size=224", "loss.pixel_stride=2"),
}
FIGURES = ("auc@30", "rotation_error_deg", "translation_error_deg", "abs_rel")
NUM_WINDOWS = 32
VIEWS = 6


def arguments_of(name: str, arguments: Sequence[str], folder: Path) -> list[str]:
    """Of one try: windows and features are shared by tries with images of one size."""
    size = next((line.split("=")[1] for line in TRIES[name] if line.startswith("shapes.image_size=")), "168")
    features = "features" + ("_taps" if name == "descriptors" else "")
    kept = f"data.windows_folder={folder}/windows_{size}", f"data.features_folder={folder}/{features}_{size}"
    return [*BUDGET, *kept, *arguments, *TRIES[name]]


def legs(name: str, arguments: Sequence[str], folder: Path) -> list[TrainConfig]:
    """The trainings of a try, the later ones from what the earlier ones left."""
    own = folder / name.replace(" ", "_")
    wanted = arguments_of(name, [*arguments, f"output={own}"], folder)
    config = configuration(wanted, RECIPE)
    if name != "wide pairs first":
        return [config]
    half = config.total_steps // 2
    first = replace(config, total_steps=half, output=f"{own}/first")
    usual = arguments_of("as before", [*arguments, f"output={own}"], folder)
    start = [f"model.checkpoint={own}/first/last", "model.encoder_weights=null", "model.head_weights=null"]
    return [first, replace(configuration([*usual, *start], RECIPE), total_steps=half)]


def trained(name: str, arguments: Sequence[str], folder: Path) -> Dvlt:
    own = folder / name.replace(" ", "_")
    if not (own / "complete").exists():
        for config in legs(name, arguments, folder):
            train(config)
        (own / "complete").touch()
    return Dvlt.from_pretrained(own / "last").eval()


def new_windows(image_size: int) -> list[Views]:
    """The same scenes and cameras at every size."""
    height, width = image_shape(image_size, 0.75)
    scenes = SyntheticConfig(views=VIEWS, height=height, width=width, augment=None)
    return [sample_windows([seed], scenes, "cpu") for seed in range(JUDGED_SEED, JUDGED_SEED + NUM_WINDOWS)]


def main(arguments: list[str]) -> None:
    folder = Path("outputs/motion_tries")
    given = [argument for argument in arguments if not argument.startswith("output=")]
    for argument in arguments:
        if argument.startswith("output="):
            folder = Path(argument.removeprefix("output="))
    folder.mkdir(parents=True, exist_ok=True)
    print(machine(torch.device("cpu")))
    print(f"{'try':<18} " + "  ".join(f"{figure[:12]:>12}" for figure in FIGURES) + "   AUC@30 against the first")
    judged: dict[int, list[Views]] = {}
    found: dict[str, list[dict[str, float]]] = {}
    for name in TRIES:
        model = trained(name, given, folder)
        size = configuration(arguments_of(name, given, folder), RECIPE).shapes.image_size
        if size not in judged:
            judged[size] = new_windows(size)
        found[name] = evaluate_windows(model, judged[size], model.config.num_steps)
        figures = means(found[name])
        first = found["as before"]
        pairs = zip(found[name], first, strict=True)
        change = np.array([a.get("auc@30", math.nan) - b.get("auc@30", math.nan) for a, b in pairs])
        cells = "  ".join(f"{figures[figure]:12.4f}" for figure in FIGURES)
        print(f"{name:<18} {cells}   {mean_interval(change[np.isfinite(change)])}", flush=True)
    table = {name: means(rows) for name, rows in found.items()}
    (folder / "tries.json").write_text(json.dumps({"machine": machine(torch.device("cpu")), "tries": table}, indent=1))


if __name__ == "__main__":
    main(sys.argv[1:])
