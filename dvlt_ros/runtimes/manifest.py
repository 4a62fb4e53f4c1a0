"""What a folder of exported graphs says of itself."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from ..checkpoints.digest import digest
from ..errors import ConfigError, WeightsError
from ..model import DvltConfig
from ..model.config import PATCH_SIZE

MANIFEST = "graphs.json"
FORMAT = 1
GraphPrecision = Literal["float32", "float16", "int8"]


@dataclass(frozen=True)
class Manifest:
    """Contents of ``graphs.json``."""

    config: DvltConfig
    width: int  # pixels, of the images
    height: int
    precision: GraphPrecision
    checkpoint: str  # SHA-256 of the weights; empty: they were in memory only
    digests: dict[str, str]  # SHA-256 of each graph, by stage

    @property
    def stages(self) -> tuple[str, ...]:
        """Names of the graphs."""
        return stage_names(self.config)

    @property
    def grid(self) -> tuple[int, int]:
        """Patches (rows, columns)."""
        return self.height // PATCH_SIZE, self.width // PATCH_SIZE

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Raises WeightsError: no such folder, another format, or graphs that are not those that were written."""
        path = folder / MANIFEST
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            if values.pop("format") != FORMAT:
                raise WeightsError(f"{path}: it was written by another version of dvlt_ros; export it again")
            manifest = cls(**values | {"config": DvltConfig.from_dict(values["config"])})
        except OSError as error:
            raise WeightsError(f"{path}: {error.strerror}; `dvlt_export` writes such a folder") from error
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, ConfigError) as error:
            raise WeightsError(f"{path}: not a description of exported graphs: {error}") from error
        for stage in manifest.stages:
            if digest(graph_path(folder, stage)) != manifest.digests.get(stage):
                raise WeightsError(f"{graph_path(folder, stage)}: not the graph that was exported with {MANIFEST}")
        return manifest

    def write(self, folder: Path) -> None:
        values = {"format": FORMAT, **asdict(self), "config": self.config.to_dict()}
        (folder / MANIFEST).write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def stage_names(config: DvltConfig) -> tuple[str, ...]:
    """A network whose steps are all the same has no scales to compute."""
    return ("encode", "begin", *(("schedule",) if config.num_scales else ()), "step", "decode")


def graph_path(folder: Path, stage: str) -> Path:
    return folder / f"{stage}.onnx"
