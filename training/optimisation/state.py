"""What a run leaves on disk: states to resume from, and checkpoints to use."""

from __future__ import annotations

import logging
import math
import re
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from dvlt_ros.model import Dvlt
from dvlt_ros.model.weights import NOTICE_NAME

logger = logging.getLogger(__name__)

KEPT_STATES = 2


@dataclass
class Progress:
    """Counters of a run, saved with its state."""

    step: int = 0  # updates, skipped ones too
    bad_updates: int = 0
    bad_in_a_row: int = 0
    best_abs_rel: float = math.inf
    minutes: float = 0.0  # of all processes that went on from each other

    def spent(self, total_minutes: float | None) -> float:
        """Share of the time, 0 without a limit."""
        return 0.0 if total_minutes is None else self.minutes / total_minutes

    def done(self, total_steps: int, total_minutes: float | None) -> float:
        """Share of the updates or of the time, whichever is further along, at most 1."""
        return min(1.0, max(self.step / total_steps, self.spent(total_minutes)))

    def finished(self, total_steps: int, total_minutes: float | None) -> bool:
        return self.done(total_steps, total_minutes) >= 1

    def count(self, finite: bool) -> None:
        self.step += 1
        self.bad_updates += not finite
        self.bad_in_a_row = 0 if finite else self.bad_in_a_row + 1

    def state_dict(self) -> dict[str, Any]:
        return asdict(self)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value)


def save_latest(accelerator: Accelerator, output: Path, step: int) -> None:
    """Save everything that a resumed run needs; a state that is still being written is never taken for one."""
    folder = output / "states" / f"step-{step:07d}"
    partial = folder.with_suffix(".partial")
    accelerator.save_state(str(partial))
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
        for old in _states(output)[:-KEPT_STATES]:
            shutil.rmtree(old)
    accelerator.wait_for_everyone()


def restore_latest(accelerator: Accelerator, output: Path) -> bool:
    """Go on from the newest state under ``output``, if there is one."""
    states = _states(output)
    if not states:
        return False
    accelerator.load_state(str(states[-1]))
    logger.info("resumed from %s", states[-1])
    return True


def save_weights(accelerator: Accelerator, model: Dvlt, directory: Path, notice: str | None = None) -> None:
    """A checkpoint, with a NOTICE beside it where weights of others are part of it."""
    if accelerator.is_main_process:
        model.save_pretrained(directory)
        if notice is not None:
            (directory / NOTICE_NAME).write_text(notice)


def _states(output: Path) -> list[Path]:
    """Complete states, oldest first."""
    folders = (output / "states").glob("step-*")
    return sorted(folder for folder in folders if re.fullmatch(r"step-\d{7,}", folder.name))
