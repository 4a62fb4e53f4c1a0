"""The page's files without the page: many inputs, many models."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import DvltError, InputError
from .files import VIEWED, Kind, write_scene
from .model_host import ModelHost
from .photos import read_photos
from .scene import ShowOptions

SOURCE = "source.txt"  # in each sequence's folder: which input it is of


@dataclass(frozen=True)
class Job:
    inputs: tuple[Path, ...]
    models: tuple[str, ...]
    root: Path
    options: ShowOptions
    max_views: int | None = None
    num_steps: int | None = None
    references: int = 1
    overwrite: bool = False
    kinds: tuple[Kind, ...] = VIEWED


def run_job(job: Job, model_host: ModelHost, say: Callable[[str], object]) -> list[str]:
    """Writes ``<root>/<sequence>/<model>.<kind>``; returns what failed, and goes on to the next.

    One model after the other is loaded; what exists is skipped unless told otherwise.
    """
    failures: list[str] = []
    folders: dict[Path, Path] = {}
    for path in job.inputs:
        try:
            folders[path] = claim_folder(job.root, path)
        except (DvltError, OSError, ValueError) as error:  # a name with a zero byte, a circle of links
            failures.append(f"{path}: {error}")
    for model, (path, folder) in itertools.product(job.models, folders.items()):
        missing = [kind for kind in job.kinds if job.overwrite or not (folder / f"{model}.{kind}").exists()]
        if not missing:
            say(f"{folder / model}: there already")
            continue
        try:
            photos = read_photos([path], job.max_views)
            scene = model_host.reconstruct(model, photos, 0, job.num_steps, job.references)
            for kind in missing:
                write_scene(folder / f"{model}.{kind}", scene, job.options)
        except Exception as error:  # whatever a model does with one input, the others have their turn
            bug = "" if isinstance(error, DvltError) else f"{type(error).__name__}: "
            failures.append(f"{path}, {model}: {bug}{error}")
            say(f"{folder / model}: failed")
        else:
            remark = f"; {scene.remark}" if scene.remark else ""
            say(f"{folder / model}: {', '.join(missing)} of {len(scene.titles)} views{remark}")
    return failures


def claim_folder(root: Path, path: Path) -> Path:
    """The folder of an input, named after it; one of an equal name gets a number. The same each time.

    Raises:
        InputError: no such input, or the folder cannot be made.
    """
    source = path.expanduser().resolve()
    if not source.exists():
        raise InputError("no such file or folder")
    name = source.name if source.is_dir() else source.stem
    try:
        for number in itertools.count(1):
            folder = root / (name if number == 1 else f"{name}_{number}")
            folder.mkdir(parents=True, exist_ok=True)
            owner, name_of_it = folder / SOURCE, os.fsencode(source) + b"\n"  # any bytes can be a path
            if not owner.exists():
                owner.write_bytes(name_of_it)
            if owner.read_bytes() == name_of_it:
                return folder
    except OSError as error:
        raise InputError(f"{root}: cannot be written: {error.strerror}") from error
    raise AssertionError("numbers do not end")


def report(failures: Sequence[str]) -> str:
    return "\n".join([f"{len(failures)} failed:", *(f"  {failure}" for failure in failures)])
