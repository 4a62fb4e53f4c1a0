"""A training state small enough to travel: half-precision weights, averages and moments, a few MB per file.

It goes on where it was but not exactly: `state.save_latest` keeps what an exact resume needs.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from accelerate.optimizer import AcceleratedOptimizer
from safetensors.torch import load_file, save_file
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel

from dvlt_ros.errors import WeightsError
from dvlt_ros.model import Dvlt

from ..batches.batch import Batches
from .state import Progress

MOMENTS = ("exp_avg", "exp_avg_sq")  # of AdamW


@dataclass(frozen=True)
class Moving:
    """The parts of a run that travel, on one process."""

    network: Dvlt
    averaged: AveragedModel
    optimizer: AcceleratedOptimizer
    scheduler: LambdaLR
    batches: Batches
    progress: Progress

    @property
    def averaged_network(self) -> Dvlt:
        return cast(Dvlt, self.averaged.module)

    def moments(self, name: str) -> dict[str, torch.Tensor]:
        """One of the optimizer's moments by parameter name; parameters without a gradient so far have none."""
        state = self.optimizer.state
        return {key: state[value][name] for key, value in self.network.named_parameters() if value in state}


def write_transfer(folder: Path, run: Moving) -> None:
    """Two checkpoints that `Dvlt.from_pretrained` reads, ``weights`` and ``averaged``, moments and counters."""
    run.network.save_pretrained(folder / "weights", dtype=torch.float16)
    run.averaged_network.save_pretrained(folder / "averaged", dtype=torch.float16)
    for name in MOMENTS:
        moments = {key: value.to("cpu", torch.bfloat16).contiguous() for key, value in run.moments(name).items()}
        save_file(moments, folder / f"{name}.safetensors")
    counters = {
        "progress": run.progress.state_dict(),
        "batches": run.batches.state_dict(),
        "scheduler_steps": run.scheduler.last_epoch,
        "averaged_updates": int(run.averaged.n_averaged),
        "optimizer_steps": max((int(state["step"]) for state in run.optimizer.state.values()), default=0),
    }
    (folder / "counters.json").write_text(json.dumps(counters, indent=2) + "\n")


def read_transfer(folder: Path, run: Moving) -> bool:
    """Go on from a folder that `write_transfer` left; without its counters, which are written last, from nothing.

    Raises:
        WeightsError: it belongs to another network, or a file is missing.
    """
    path = folder / "counters.json"
    if not path.exists():
        return False
    counters = json.loads(path.read_text())
    _load(run.network, folder / "weights")
    _load(run.averaged_network, folder / "averaged")
    run.averaged.n_averaged.fill_(counters["averaged_updates"])
    _read_moments(folder, run, counters["optimizer_steps"])
    run.progress.load_state_dict(counters["progress"])
    run.batches.load_state_dict(counters["batches"])
    _set_schedule(run.scheduler, counters["scheduler_steps"])
    return True


def _set_schedule(scheduler: LambdaLR, steps: int) -> None:
    rates = [base * factor(steps) for base, factor in zip(scheduler.base_lrs, scheduler.lr_lambdas, strict=True)]
    scheduler.load_state_dict(scheduler.state_dict() | {"last_epoch": steps, "_last_lr": rates})
    for group, rate in zip(scheduler.optimizer.param_groups, rates, strict=True):
        group["lr"] = rate


def _load(model: Dvlt, folder: Path) -> None:
    stored = Dvlt.from_pretrained(folder)
    if stored.config != model.config:
        raise WeightsError(f"{folder}: another network: {stored.config}, not {model.config}")
    model.load_state_dict(stored.state_dict())


def _read_moments(folder: Path, run: Moving, steps: int) -> None:
    stored = {}
    for name in MOMENTS:
        try:
            stored[name] = load_file(folder / f"{name}.safetensors")
        except OSError as cause:
            raise WeightsError(f"{folder}: cannot be read: {cause}") from cause
    for key, parameter in run.network.named_parameters():
        if key in stored[MOMENTS[0]]:
            moments = {name: stored[name][key].to(parameter) for name in MOMENTS}
            run.optimizer.state[parameter] = {"step": torch.tensor(float(steps)), **moments}
