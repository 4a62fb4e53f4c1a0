"""From Python: a folder of photos, a video or a bag as a scene in memory, and as files.

from dvlt_ros.api import reconstruct

scene = reconstruct("photos/", "out", weights="nvidia/dvlt")
scene.poses, scene.depth, scene.cloud
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, NoReturn

from .errors import ConfigError
from .offline.in_memory import Scene, SceneBuilder, SceneView
from .reconstruct_bag import parse, run

__all__ = ["Scene", "SceneView", "reconstruct"]


def reconstruct(path: str | Path, output: str | Path | None = None, **options: Any) -> Scene:
    """What ``reconstruct_bag`` makes of a folder, a video or a bag.

    Args:
        path: folder of images, video, or MCAP or db3 bag.
        output: folder for the files that ``reconstruct_bag`` leaves; None: none.
        options: those of ``reconstruct_bag`` with ``_`` for ``-``: ``weights="nvidia/dvlt"``, ``device="cpu"``,
            ``odom="/odom"``, ``window_size=16``, ``recording=True``.

    Returns:
        The map with the most images; maps that did not join it are its ``others``.

    Raises:
        ConfigError: no such option, or a value that it does not take.
        DvltError: nothing comes out; it names the thing and the cause.
    """
    words = [str(path)]
    for name, value in options.items():
        words += _words(f"--{name.replace('_', '-')}", value)
    args = parse(words, _Parser)
    args.output = None if output is None else Path(output)
    scene = SceneBuilder()
    summary, refused = run(args, scene)
    return scene.scene(refused, summary)


def _words(option: str, value: Any) -> list[str]:
    """As somebody would type it."""
    if value is None or value is False:
        return []
    if value is True:
        return [option]
    values = value if isinstance(value, list | tuple) else [value]
    return [option, *map(str, values)]


class _Parser(argparse.ArgumentParser):
    """Whose complaints can be caught."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(message)
