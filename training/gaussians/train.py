"""Trains Gaussian heads on a network that stays as it is: by rendering views that it was not shown.

    dvlt_train recipe=small_gaussians

No perceptual loss: LPIPS needs weights of a network of its own. D-SSIM stands in its place.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path

import torch
from torch import Tensor

from dvlt_ros.errors import AlignmentError
from dvlt_ros.model import Dvlt
from dvlt_ros.model.weights import digest_of

from ..batches.batch import Batch, Batches
from ..config import TrainConfig
from ..data.types import Views
from ..optimisation.accelerating import make_accelerator
from ..optimisation.parameters import build_model
from ..optimisation.schedule import make_scheduler
from ..optimisation.state import Progress, restore_latest, save_latest
from ..optimisation.terminal import ProgressBar
from .heads import GaussianHeads
from .novel_views import SeenScene, rendered, split_views
from .pictures import ssim
from .splatter import Splatter, choose_splatter

logger = logging.getLogger(__name__)

HEADS = "gaussians.safetensors"  # in the output folder


def train_heads(config: TrainConfig) -> GaussianHeads:
    """Runs to ``total_steps`` or ``total_minutes``; leaves `HEADS` and states to resume from under ``config.output``.

    A window whose points fit no similarity to the truth is left out of its update.

    Raises:
        WeightsError: states that were trained on another network.
    """
    started, output = time.monotonic(), Path(config.output)
    torch.manual_seed(config.seed)
    accelerator = make_accelerator(config)
    network = build_model(config.model).to(accelerator.device).eval().requires_grad_(False)
    path, checkpoint = output / HEADS, digest_of(config.model.checkpoint or "")
    heads = GaussianHeads(network)
    adamw = torch.optim.AdamW(
        heads.parameters(), config.optimizer.learning_rate, config.optimizer.betas,
        weight_decay=config.optimizer.weight_decay,
    )  # fmt: skip
    progress = Progress()
    scheduler = make_scheduler(adamw, config, progress)
    heads, optimizer = accelerator.prepare(heads, adamw)
    batches = Batches(config, network.config, accelerator.device, 0, 1)
    accelerator.register_for_checkpointing(progress, batches, scheduler)
    if config.resume and path.exists():
        GaussianHeads.read(path, network, checkpoint)
        restore_latest(accelerator, output)
    before = progress.minutes
    splatter = choose_splatter(accelerator.device)
    bar = ProgressBar(config, progress, is_shown=True)
    while not progress.finished(config.total_steps, config.total_minutes):
        losses = batch_losses(network, heads, next(batches), config, splatter, progress.step)
        batches.commit()
        if losses:
            loss = torch.stack(losses).mean()
            accelerator.backward(loss)
            accelerator.clip_grad_norm_(heads.parameters(), config.optimizer.max_grad_norm)
            optimizer.step()
            optimizer.zero_grad()
        progress.count(finite=bool(losses))
        scheduler.step()
        progress.minutes = before + (time.monotonic() - started) / 60
        if losses and progress.step % config.log_every == 0:
            bar.update(progress, {"loss": f"{loss.item():.4f}"})
        last = progress.finished(config.total_steps, config.total_minutes)
        if last or progress.step % config.save_every == 0:
            heads.save(path, checkpoint)
            save_latest(accelerator, output, progress.step)
    bar.close()
    logger.info("heads: %s", path)
    return heads.eval()


def batch_losses(
    network: Dvlt, heads: GaussianHeads, batch: Batch, config: TrainConfig, splatter: Splatter, step: int
) -> list[Tensor]:
    """One loss per window whose points fit a similarity to the truth."""
    losses = []
    for window in range(len(batch.views.images)):
        try:
            losses.append(window_loss(network, heads, batch.views[window : window + 1], config, splatter))
        except AlignmentError as error:
            logger.warning("update %d: a window is left out: %s", step, error)
    return losses


def window_loss(network: Dvlt, heads: GaussianHeads, views: Views, config: TrainConfig, splatter: Splatter) -> Tensor:
    """Mean over the views of one window that the network was not shown."""
    seen, held = split_views(views.images.shape[1], config.gaussians.held_out)
    scene = SeenScene.of(network, views.images[:, seen], network.config.num_steps)
    cameras = scene.cameras_of(views, seen, held)
    gaussians = scene.gaussians(heads)
    losses = []
    for index, picture in enumerate(views.images[0, held].movedim(1, -1)):
        image = rendered(gaussians, cameras[index], (picture.shape[0], picture.shape[1]), splatter)
        squared = (image - picture).square().mean()
        losses.append(squared + config.gaussians.unlike * (1 - ssim(image, picture)))
    return torch.stack(losses).mean()
