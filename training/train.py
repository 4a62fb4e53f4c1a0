"""Train or fine-tune Déjà View with the published recipe, on synthetic scenes or a robot's own recordings.

    dvlt_train recipe=nano output=outputs/nano
    dvlt_train recipe=small_gaussians       # Gaussian heads on a trained network
    accelerate launch -m dvlt_ros.training.train recipe=stage1    # several processes, GPUs or nodes

Everything random in a batch is a function of (seed, batch, process), so that a run that was stopped and resumed
equals one that was not.
"""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import hydra
import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast, gather_object
from omegaconf import DictConfig
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm.contrib.logging import logging_redirect_tqdm

from dvlt_ros import programs
from dvlt_ros.errors import DvltError
from dvlt_ros.export.atomic import writable_folder
from dvlt_ros.model import Dvlt, Prediction
from dvlt_ros.model.config import PATCH_SIZE
from dvlt_ros.model.correlation import Correlation
from dvlt_ros.model.encoder_weights import ENCODER_NOTICE
from dvlt_ros.model.weights import NOTICE_NAME, locate_checkpoint

from .batches.batch import Batch, Batches
from .batches.frozen import FrozenWindows
from .batches.rendering import RENDERED_AT_ONCE
from .config import TrainConfig, Validation, from_hydra
from .data.types import Views
from .evaluation.windows import evaluate_windows, means
from .gaussians.train import train_heads
from .losses import LossConfig, LossTerms, Targets, compute_losses
from .losses.matching import MatchingLoss, correlation_error
from .losses.subgrid import subgrid_of_prediction, subgrid_of_views
from .optimisation.accelerating import make_accelerator
from .optimisation.descriptors import start_descriptors
from .optimisation.forward import (
    TrainingPass,
    attends_by_products,
    compared,
    compile_blocks,
    use_two_products,
)
from .optimisation.parameters import build_model, freeze, groups
from .optimisation.schedule import make_scheduler
from .optimisation.state import Progress, restore_latest, save_latest, save_weights
from .optimisation.terminal import ProgressBar, next_commands
from .synthetic import BENCHMARK_SEED, SyntheticConfig, sample_windows

logger = logging.getLogger(__name__)

VALIDATION_SEED = BENCHMARK_SEED - 2**20  # training seeds are drawn below


class DivergedError(DvltError):
    """Too many updates in a row had no finite gradient."""


@hydra.main(version_base="1.3", config_path="configs", config_name="train")
def main(hydra_config: DictConfig) -> None:
    try:
        with logging_redirect_tqdm():
            config = from_hydra(hydra_config)
            writable_folder(Path(config.output))
            if config.gaussians.held_out:
                train_heads(config)
            else:
                train(config)
    except DvltError as error:
        raise SystemExit(f"dvlt_train: {error}") from error


@dataclass
class Run:
    """The parts of a run, on one process."""

    accelerator: Accelerator
    network: Dvlt  # its own weights, as the optimizer changes them
    model: torch.nn.Module  # `TrainingPass` of the network, as processes share it
    averaged: AveragedModel
    optimizer: torch.optim.Optimizer
    scheduler: LambdaLR
    batches: Batches
    progress: Progress
    matching: MatchingLoss | None

    @property
    def averaged_network(self) -> Dvlt:
        return cast(Dvlt, self.averaged.module)

    @property
    def correlation(self) -> Correlation | None:
        return self.network.correlation


def train(config: TrainConfig) -> Dvlt:
    """Run to ``total_steps`` or ``total_minutes`` and return the averaged model, in evaluation mode.

    Leaves ``last`` and ``best`` checkpoints, training states and logs under ``config.output``.

    Raises:
        DivergedError: ``max_bad_steps`` updates in a row without a finite gradient; the state before them is saved.
    """
    started = time.monotonic()
    run = start_run(config)
    accelerator, progress, output = run.accelerator, run.progress, Path(config.output)
    before = progress.minutes
    windows = validation_windows(config.validation, accelerator)
    bar = ProgressBar(config, progress, is_shown=accelerator.is_main_process)
    run.model.train()
    while not progress.finished(config.total_steps, config.total_minutes):
        terms, gradient_norm = update(run, config)
        finite = math.isfinite(gradient_norm)
        progress.count(finite)
        if finite:
            run.averaged.update_parameters(run.network)
        run.scheduler.step()
        if progress.bad_in_a_row >= config.max_bad_steps:
            save_latest(accelerator, output, progress.step)
            raise DivergedError(f"{progress.bad_in_a_row} updates in a row had no finite gradient; state saved")
        progress.minutes = before + minutes_since(started, accelerator)
        report(accelerator, config, bar, progress, terms, gradient_norm, run.scheduler)
        last = progress.finished(config.total_steps, config.total_minutes)
        if config.validation.windows and (last or progress.step % config.validation.every == 0):
            validate(accelerator, config, run.averaged_network, windows, progress)
        if last or progress.step % config.save_every == 0:
            save_latest(accelerator, output, progress.step)
            save_weights(accelerator, run.averaged_network, output / "last", notice_of(config))
    bar.close()
    accelerator.end_training()
    if accelerator.is_main_process:
        logger.info(next_commands(config))
    return run.averaged_network.eval()


def start_run(config: TrainConfig) -> Run:
    """Everything that a run needs, from its newest state if there is one to go on from."""
    accelerator = make_accelerator(config)
    torch.manual_seed(config.seed)  # the same first weights in every process
    network = build_model(config.model)
    use_two_products(network, attends_by_products(config.attention, accelerator.device))
    freeze(network, config.trainable, config.encoder_blocks)
    adamw = torch.optim.AdamW(
        groups(network, config.optimizer), betas=config.optimizer.betas, weight_decay=config.optimizer.weight_decay
    )
    progress = Progress()
    scheduler = make_scheduler(adamw, config, progress)
    averaged = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(config.optimizer.ema_decay))
    averaged.to(accelerator.device)
    matching = MatchingLoss(network) if config.loss.needs_matches else None
    if config.compile:
        compile_blocks(network)
    model, optimizer = accelerator.prepare(TrainingPass(network), adamw)
    frozen = None
    if config.data.features_folder is not None:
        frozen = FrozenWindows(config, network, accelerator.device, accelerator.is_main_process)
    rank, processes = accelerator.process_index, accelerator.num_processes
    batches = Batches(config, network.config, accelerator.device, rank, processes, frozen)
    accelerator.register_for_checkpointing(progress, batches, scheduler, averaged)
    resumed = config.resume and restore_latest(accelerator, Path(config.output))
    if frozen is not None and not resumed:
        start_descriptors(network, frozen, config.model.start.descriptor_updates, config.seed)
        averaged.module.load_state_dict(network.state_dict())
    return Run(accelerator, network, model, averaged, optimizer, scheduler, batches, progress, matching)


def notice_of(config: TrainConfig) -> str | None:
    """Of weights of others in this run: a checkpoint's NOTICE goes with what begins from it."""
    source = config.model.encoder_weights
    if config.model.checkpoint is not None:
        before = locate_checkpoint(config.model.checkpoint).with_name(NOTICE_NAME)
        return before.read_text() if before.exists() else None
    if source is None:
        return None
    return ENCODER_NOTICE.format(source=Path(source).name if Path(source).exists() else source)


def update(run: Run, config: TrainConfig) -> tuple[dict[str, Tensor], float]:
    """One update from ``accumulation`` batches: the last batch's losses, and the gradient norm.

    A gradient that is not finite, on whichever process it arose, is left out by all of them.
    """
    accelerator = run.accelerator
    for _ in range(config.accumulation):
        batch = next(run.batches)
        seed = np.random.SeedSequence([config.seed, batch.index, accelerator.process_index]).generate_state(1)
        torch.manual_seed(int(seed[0]))  # for stochastic depth and sub-grids
        with accelerator.accumulate(run.model):
            values, total = batch_losses(run, batch, config.loss)
            accelerator.backward(total)
        run.batches.commit()
    norm = accelerator.clip_grad_norm_(run.model.parameters(), config.optimizer.max_grad_norm).item()
    if math.isfinite(norm):
        run.optimizer.step()
    else:
        logger.warning("update %d skipped: the gradient norm is %s", run.progress.step, norm)
    run.optimizer.zero_grad()
    return values, norm


def batch_losses(run: Run, batch: Batch, config: LossConfig) -> tuple[dict[str, Tensor], Tensor]:
    """All terms by name, detached, and the sum to go back from."""
    height, width = batch.views.depth.shape[-2:]
    grid = (height // PATCH_SIZE, width // PATCH_SIZE)
    prediction, features = run.model(batch.views.images, batch.frozen, grid, batch.num_steps)
    terms = losses_of(prediction, compared(run.network, batch.views), config)
    values, total = terms.named(), terms.total
    if run.matching is not None:
        matched = run.matching(batch.views)
        total = total + config.match * matched.match + config.displacement * matched.displacement
        values |= matched.named()
    if run.correlation is not None and config.correlation > 0:
        error = correlation_error(run.correlation, features, batch.views)
        total = total + config.correlation * error
        values["correlation"] = error.detach()
    # Losses leave out what is not finite; a batch with any of it must not count as a good one.
    return values | {"total": total.detach()}, total + torch.where(terms.nonfinite > 0, torch.nan, 0.0) * total


def losses_of(prediction: Prediction, views: Views, config: LossConfig) -> LossTerms:
    """On every pixel, or on a random sub-grid of them."""
    stride = config.pixel_stride
    if stride > 1:
        row, column = torch.randint(stride, (2,)).tolist()
        prediction = subgrid_of_prediction(prediction, stride, row, column)
        views = subgrid_of_views(views, stride, row, column)
    return compute_losses(prediction, Targets.from_views(views), config)


def minutes_since(started: float, accelerator: Accelerator) -> float:
    """The main process's, so that all of them end with the same update."""
    minutes = torch.tensor((time.monotonic() - started) / 60, device=accelerator.device)
    return float(broadcast(minutes)) if accelerator.num_processes > 1 else float(minutes)


def validation_windows(config: Validation, accelerator: Accelerator) -> list[Views]:
    """This process's share of the fixed validation windows, rendered once; their seeds are never trained on."""
    every = range(VALIDATION_SEED, VALIDATION_SEED + config.windows)
    seeds = every[accelerator.process_index :: accelerator.num_processes]
    synthetic = SyntheticConfig(views=config.views, height=config.height, width=config.width, augment=None)
    pieces = [seeds[i : i + RENDERED_AT_ONCE] for i in range(0, len(seeds), RENDERED_AT_ONCE)]
    return [sample_windows(piece, synthetic, accelerator.device) for piece in pieces]


def validate(
    accelerator: Accelerator, config: TrainConfig, model: Dvlt, windows: list[Views], progress: Progress
) -> None:
    """Log the averaged model's figures on the validation windows, and keep it if it is the best so far."""
    model.eval()
    results = gather_object(evaluate_windows(model, windows, model.config.num_steps))
    figures = means(results)
    accelerator.log({f"validation/{name}": value for name, value in figures.items()}, step=progress.step)
    logger.info("step %d: %s", progress.step, ", ".join(f"{name} {value:.4f}" for name, value in figures.items()))
    if figures["abs_rel"] < progress.best_abs_rel:
        progress.best_abs_rel = figures["abs_rel"]
        save_weights(accelerator, model, Path(config.output, "best"), notice_of(config))


def report(
    accelerator: Accelerator,
    config: TrainConfig,
    bar: ProgressBar,
    progress: Progress,
    terms: dict[str, Tensor],
    gradient_norm: float,
    scheduler: LambdaLR,
) -> None:
    if progress.step % config.log_every:
        bar.update(progress)
        return
    values = {f"train/{name}": value.item() for name, value in terms.items()}
    values |= {"train/gradient_norm": gradient_norm, "train/learning_rate": float(scheduler.get_last_lr()[-1])}
    accelerator.log(values | {"train/skipped_updates": progress.bad_updates}, step=progress.step)
    bar.update(progress, {"loss": f"{values['train/total']:.4f}", "skipped": progress.bad_updates})


if __name__ == "__main__":
    programs.run(main)
