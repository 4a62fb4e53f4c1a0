"""Work that can be stopped at any moment and taken up again: files that appear whole, or not at all."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from dvlt_ros.errors import ConfigError, DataError
from dvlt_ros.imaging.files import write_pixels

# "published": as the published preprocessing does, which takes pixel coordinates for those of their corners.
# "consistent": pixel centres everywhere, as in the rest of this package.
HalfPixel = Literal["published", "consistent"]
SETTINGS_FILE = "prepared.json"


@dataclass(frozen=True)
class Job:
    """One file to make. ``make`` writes another path, which then takes the output's place."""

    output: Path
    make: Callable[[Path], None]

    @property
    def is_done(self) -> bool:
        return self.output.is_file()

    def run(self) -> None:
        """Makes the output, all of it or nothing."""
        partial = self.output.with_name(f".partial-{os.getpid()}-{self.output.name}")  # ends alike: encoders look
        try:
            self.output.parent.mkdir(parents=True, exist_ok=True)
            try:
                self.make(partial)
                os.replace(partial, self.output)
            finally:
                partial.unlink(missing_ok=True)
        except OSError as error:
            raise DataError(f"{self.output}: cannot be made: {error}") from error


def copy_job(source: Path, output: Path) -> Job:
    """The same file in another place, without a second copy of its content where the disk allows."""

    def make(partial: Path) -> None:
        if not source.is_file():
            raise DataError(f"{source}: missing")
        try:
            os.link(source.resolve(), partial)
        except OSError:  # another disk, or one without hard links
            shutil.copyfile(source, partial)

    return Job(output, make)


def text_job(output: Path, text: str) -> Job:
    """A small text file; an older one is replaced when the job runs."""
    return Job(output, lambda partial: _write_text(partial, text))


def _write_text(path: Path, text: str) -> None:
    path.write_text(text + "\n", encoding="utf-8")


def write_image(path: Path, pixels: np.ndarray) -> None:
    """
    Raises:
        DataError: the disk does not take it.
    """
    if not write_pixels(path, pixels):
        raise DataError(f"{path}: cannot be written")


def keep_settings(folder: Path, half_pixel: HalfPixel) -> None:
    """Notes how a folder is prepared, so that a later run cannot mix two ways in it.

    Raises:
        ConfigError: it was begun in the other way.
    """
    path, wanted = folder / SETTINGS_FILE, {"half_pixel": half_pixel}
    if path.is_file():
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigError(f"{path}: unreadable: {error}") from error
        if found != wanted:
            raise ConfigError(f"{path}: begun with {found}, now asked for {wanted}: choose another data root")
        return
    text_job(path, json.dumps(wanted)).run()
