"""What a run says in the terminal: how far it is, how long it still takes, and at its end what to do with it."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from tqdm import tqdm

from ..config import FolderSource, TrainConfig
from .state import Progress

BAR = "{percentage:3.0f} %|{bar}| {elapsed}, {remaining} left{postfix}"


class ProgressBar:
    """The share of a run that is done: of its updates or of its time, whichever is further along."""

    def __init__(self, config: TrainConfig, progress: Progress, is_shown: bool) -> None:
        self._config = config
        done = progress.done(config.total_steps, config.total_minutes)
        # The mean rate, not the last one: a run that ends by the clock then ends when the bar says.
        self._bar = tqdm(total=1.0, initial=done, bar_format=BAR, smoothing=0, disable=not is_shown)
        self._is_started = not is_shown

    def update(self, progress: Progress, figures: Mapping[str, str | int] | None = None) -> None:
        """Move to where a run is; ``figures`` stay beside the bar until there are others."""
        if figures is not None:
            self._bar.set_postfix({"updates": progress.step, **figures}, refresh=False)
        done = progress.done(self._config.total_steps, self._config.total_minutes)
        if not self._is_started:  # what came before the first update says nothing of the rate
            self._is_started = True
            self._bar.reset()
            self._bar.initial = self._bar.n = done
        self._bar.update(done - self._bar.n)

    def close(self) -> None:
        self._bar.close()


def next_commands(config: TrainConfig) -> str:
    """Where the checkpoint of a finished run is, and the commands that judge and use it, as they can be typed here."""
    checkpoint = Path(config.output, "last")
    evaluate = f"{command('evaluate', 'dvlt_ros.training.evaluate')} {checkpoint}"
    reconstruct = command("reconstruct_bag", "dvlt_ros.reconstruct_bag")
    lines = [f"checkpoint: {checkpoint}"]
    if config.model.references > 1:  # nothing else reads its cross-reference attention
        measure = f"python benchmarks/references.py --cross {checkpoint} --references {config.model.references}"
        return "\n".join([*lines, f"against late fusion: {measure}"])
    if config.validation.windows:
        lines.append(f"best so far on the validation windows: {Path(config.output, 'best')}")
    if config.model.checkpoint is not None:
        gate = f" --gate {config.model.checkpoint}"
        held_out = [held_out_frames(folder) for folder in config.data.folders if config.data.folder_share > 0]
        lines += [f"on frames that it has not seen: {evaluate}{gate}{data}" for data in held_out if data is not None]
        lines.append(f"on the synthetic benchmark: {evaluate}{gate}")
    else:
        lines.append(f"on the synthetic benchmark: {evaluate}")
    lines.append(f"a map with it: {reconstruct} RECORDING --weights {checkpoint}")
    lines.append(f"in the node: ros2 launch dvlt_ros reconstruct.launch.py weights:={checkpoint.absolute()}")
    return "\n".join(lines)


def command(name: str, module: str) -> str:
    """How one of this package's commands is typed where this runs."""
    if shutil.which(f"dvlt_{name}"):
        return f"dvlt_{name}"
    return f"ros2 run dvlt_ros dvlt_{name}" if shutil.which("ros2") else f"{sys.executable} -m {module}"


def held_out_frames(folder: FolderSource) -> str | None:
    """The options of `evaluate` for the frames of a folder that are not trained on; None: there are none."""
    first, behind = folder.frames
    if behind is not None:
        return f" --data {folder.path} --frames {behind}"
    return f" --data {folder.path} --frames 0 {first}" if first > 0 else None
