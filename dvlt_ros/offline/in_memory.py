"""What came out, in memory: for Python, as `Results` is for the disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ..errors import InputError
from ..mapping.data.frames import Cloud, Reconstruction
from ..mapping.maps.map_part import MapSnapshot
from .frame_log import LoggedFrame


@dataclass(frozen=True, eq=False)
class SceneView:
    """One image of a scene; all maps have the network's pixels, (0, 0) centred at (0.5, 0.5)."""

    name: str  # of the image's file; else its stamp in seconds
    stamp_ns: int  # of photos without times: their number, 0.1 s apart
    camera: str  # name within a rig; else empty
    world_from_cam: np.ndarray  # (4, 4) float64, optical axes; the world is x forward, z up (REP-103)
    intrinsics: np.ndarray  # (3, 3) float64, pixels
    image: np.ndarray  # (h, w, 3) uint8 RGB
    depth: np.ndarray  # (h, w) float32, along the optical axis; NaN where not trusted
    confidence: np.ndarray  # (h, w) float32, from 1 upwards


@dataclass(frozen=True, eq=False)
class Scene:
    """One map: its images with their cameras and depth, and the cloud of all of them."""

    views: tuple[SceneView, ...]
    cloud: Cloud  # points (N, 3), colors (N, 3), confidence (N,)
    is_metric: bool  # lengths are metres; else they are right up to one factor
    others: tuple[Scene, ...] = ()  # maps that did not join this one, largest first: each has a unit of its own
    refused: tuple[str, ...] = ()  # images that could not be used, each with its reason
    summary: str = ""  # what `reconstruct_bag` says at its end

    def __len__(self) -> int:
        return len(self.views)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(view.name for view in self.views)

    @property
    def poses(self) -> np.ndarray:
        """World from camera (V, 4, 4)."""
        return np.stack([view.world_from_cam for view in self.views])

    @property
    def intrinsics(self) -> np.ndarray:
        """(V, 3, 3), pixels of the depth maps."""
        return np.stack([view.intrinsics for view in self.views])

    @property
    def images(self) -> np.ndarray:
        """(V, h, w, 3) uint8 RGB. Raises InputError: images of several shapes; ``views`` has each."""
        return self._stacked("image")

    @property
    def depth(self) -> np.ndarray:
        """(V, h, w) float32. Raises InputError: maps of several shapes; ``views`` has each."""
        return self._stacked("depth")

    @property
    def confidence(self) -> np.ndarray:
        """(V, h, w) float32. Raises InputError: maps of several shapes; ``views`` has each."""
        return self._stacked("confidence")

    def _stacked(self, name: str) -> np.ndarray:
        values = [getattr(view, name) for view in self.views]
        if len(shapes := sorted({value.shape for value in values})) > 1:
            raise InputError(f"{name}: the views have several shapes, {shapes}; take them from `views`")
        return np.stack(values)


@dataclass
class SceneBuilder:
    """Keeps frames, and puts them together when it is known where they are."""

    is_metric: bool = False  # of frames that have a place
    _frames: dict[int, Reconstruction] = field(default_factory=dict)  # by id of the logged frame
    _maps: list[tuple[Cloud, Sequence[LoggedFrame]]] = field(default_factory=list)

    def add(self, logged: LoggedFrame, reconstruction: Reconstruction) -> None:
        """``reconstruction`` has its picture at the pixels of its depth."""
        self._frames[id(logged)] = reconstruction

    def add_map(self, snapshot: MapSnapshot, frames: Sequence[LoggedFrame]) -> None:
        self._maps.append((snapshot.cloud, frames))

    def scene(self, refused: Sequence[str], summary: str) -> Scene:
        """The map with the most views; the others come with it.

        Raises:
            InputError: there is none.
        """
        scenes = [self._scene(cloud, frames) for cloud, frames in self._maps]
        if not scenes:
            raise InputError("nothing was reconstructed")
        scenes.sort(key=len, reverse=True)
        return replace(scenes[0], others=tuple(scenes[1:]), refused=tuple(refused), summary=summary)

    def _scene(self, cloud: Cloud, frames: Sequence[LoggedFrame]) -> Scene:
        return Scene(tuple(map(self._view, frames)), cloud, self.is_metric and frames[0].is_placed)

    def _view(self, logged: LoggedFrame) -> SceneView:
        frame = self._frames[id(logged)]
        return SceneView(
            logged.name or f"{logged.stamp_ns * 1e-9:.3f}", logged.stamp_ns, logged.camera, logged.map_from_cam,
            frame.intrinsics, frame.picture.image, np.float32(logged.scale) * frame.depth, frame.confidence,
        )  # fmt: skip
