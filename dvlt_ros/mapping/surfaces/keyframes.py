"""The depth of keyframes, kept to be fused again where a loop closure has moved them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ...alignment import Sim3
from ...export.scenes import Sight
from ...geometry import pixel_axes
from ..data.corrections import Correction
from ..data.frames import Reconstruction
from ..data.moving import correct, of_map, place_waiting
from ..data.region import Region
from ..submaps.placement import unprojected
from ..submaps.submap import StoredSubmap, StoredView, stride_of, thinned_intrinsics, thinned_maps
from .fusion import DepthView

KEPT_PIXELS = 12_000  # of each depth map, about
STEP_DEPTHS = 0.22  # a frame is kept after this way, relative to its median depth
FEW, FEWS_STEP_DEPTHS = 15, 0.13  # of so few kept frames: a short recording needs all that it has for a surface
STEP_COSINE = 0.96  # or after a turn of 16 degrees
MEAN_MOVE, LARGEST_MOVE = 0.5, 2.0  # voxels by which a correction moves fused keyframes before all are fused anew


@dataclass(eq=False)
class Keyframe:
    """A thinned frame. It moves with its submap; its depth is in the unit that it came in."""

    camera: str
    map_id: int  # while it has no place: the visual map's
    submap_id: int
    is_placed: bool
    map_from_cam: np.ndarray  # (4, 4), rigid
    scale: float  # of the depth, to the map's unit
    depth: np.ndarray  # (h, w) float16
    colors: np.ndarray  # (h, w, 3) uint8
    intrinsics: np.ndarray  # (3, 3) pixels of both
    median_depth: float  # the unit of the depth
    fused_in: object = None  # the volume that it is in; None: in none
    probes_at_fusion: np.ndarray | None = None  # (2, 3), see `probes`

    @classmethod
    def of(cls, frame: Reconstruction, submap_id: int, is_placed: bool) -> Keyframe:
        stride = stride_of(frame.depth.shape, KEPT_PIXELS)
        u, v = (axis.astype(np.float64) for axis in pixel_axes(frame.depth.shape, stride))
        depth = thinned_maps(frame.depth, stride)
        colors = frame.colors_at(*(axis.reshape(-1) for axis in np.meshgrid(u, v))).reshape(*depth.shape, 3)
        median = float(np.nanmedian(depth)) if np.isfinite(depth).any() else 0.0
        return cls(
            frame.camera, frame.map_id, submap_id, is_placed, frame.map_from_cam, 1.0, depth.astype(np.float16),
            colors, thinned_intrinsics(frame.intrinsics, stride), median,
        )  # fmt: skip

    @classmethod
    def of_saved(cls, submap: StoredSubmap, view: StoredView, seen: Sight, map_id: int) -> Keyframe:
        """A view of a saved map, where it has its place."""
        median = float(np.nanmedian(seen.depth)) if np.isfinite(seen.depth).any() else 0.0
        return cls(
            view.anchor.view.frame.camera, map_id, submap.number, True, view.anchor.map_from_cam, 1.0,
            seen.depth.astype(np.float16), seen.colors, seen.intrinsics, median,
        )  # fmt: skip

    @property
    def view(self) -> DepthView:
        depth = np.float32(self.scale) * self.depth.astype(np.float32)
        return DepthView(depth, self.colors, self.intrinsics, self.map_from_cam)

    def cut(self, region: Region) -> None:
        """Its depth in a region becomes NaN."""
        view = self.view
        points = unprojected(view.depth, view.intrinsics, view.map_from_cam, stride=1)
        self.depth[region.contains(points).reshape(self.depth.shape)] = np.nan

    def fused(self, volume: object) -> DepthView:
        """The view, which the caller fuses in this volume now."""
        self.fused_in, self.probes_at_fusion = volume, probes([self])[0]
        return self.view


def probes(keyframes: Sequence[Keyframe]) -> np.ndarray:
    """(N, 2, 3) in the map: two places at each one's median depth, which tell how far its surfaces have moved."""
    poses = np.array([k.map_from_cam for k in keyframes])
    depth = np.array([[k.scale * k.median_depth] for k in keyframes])
    middle = poses[:, :3, 3] + depth * poses[:, :3, 2]
    return np.stack([middle, middle + depth * poses[:, :3, 0]], axis=1)


def have_moved(keyframes: Sequence[Keyframe], voxel_size: float) -> bool:
    """Whether surfaces of these keyframes lie elsewhere than where they were fused: half a voxel on average, or two."""
    fused = [k for k in keyframes if k.probes_at_fusion is not None]
    if not fused:
        return False
    before = np.array([k.probes_at_fusion for k in fused])
    ways = np.linalg.norm(probes(fused) - before, axis=-1) / voxel_size
    return bool(ways.mean() > MEAN_MOVE or ways.max() > LARGEST_MOVE)


class KeyframeStore:
    """Keyframes of all maps, oldest first; bounded. Not thread-safe."""

    def __init__(self, max_keyframes: int) -> None:
        self.max_keyframes = max_keyframes
        self._keyframes: list[Keyframe] = []
        self._latest: dict[str, tuple[int, np.ndarray]] = {}  # visual map or map, and pose, by camera

    def __len__(self) -> int:
        return len(self._keyframes)

    @property
    def num_bytes(self) -> int:
        return sum(keyframe.depth.nbytes + keyframe.colors.nbytes for keyframe in self._keyframes)

    def add(self, frame: Reconstruction, submap_id: int, is_placed: bool) -> None:
        """Keeps the frame if the camera has moved since the last one that was kept."""
        if not self.max_keyframes or not self._brings_news(frame):
            return
        keyframe = Keyframe.of(frame, submap_id, is_placed)
        if keyframe.median_depth > 0:
            self._latest[frame.camera] = frame.map_id, frame.map_from_cam
            self._keyframes.append(keyframe)
            self._drop_farthest()

    def load(self, keyframes: Iterable[Keyframe]) -> None:
        """Those of a saved map, instead of all others; as many as there is room for, evenly spread."""
        found = [keyframe for keyframe in keyframes if keyframe.median_depth > 0]
        kept = np.unique(np.linspace(0, len(found) - 1, min(len(found), self.max_keyframes)).astype(int))
        self._keyframes, self._latest = [found[index] for index in kept], {}

    def of_map(self, map_id: int) -> list[Keyframe]:
        return of_map(self._keyframes, map_id)

    def cut(self, map_id: int, region: Region) -> None:
        """Forgets what keyframes of a map have seen in a region; all of them have to be fused anew."""
        for keyframe in self.of_map(map_id):
            keyframe.cut(region)
            keyframe.fused_in, keyframe.probes_at_fusion = None, None

    def place_waiting(self, map_from_visual: Sim3, visual_id: int, map_id: int) -> None:
        """The frames of a visual map that waited for their pose have become known."""
        place_waiting(self._keyframes, map_from_visual, visual_id, map_id)

    def correct(self, correction: Correction) -> None:
        """A loop has been closed: the maps that it joins are one from now on."""
        correct(self._keyframes, correction)

    def _brings_news(self, frame: Reconstruction) -> bool:
        map_id, pose = self._latest.get(frame.camera, (None, np.eye(4)))
        if map_id != frame.map_id:
            return True
        is_turned = pose[:3, 2] @ frame.map_from_cam[:3, 2] < STEP_COSINE
        if is_turned:
            return True
        way = np.linalg.norm(pose[:3, 3] - frame.map_from_cam[:3, 3])
        trusted = frame.depth[::8, ::8]
        trusted = trusted[np.isfinite(trusted)]
        step = FEWS_STEP_DEPTHS if len(self._keyframes) < FEW else STEP_DEPTHS
        return bool(len(trusted) and way > step * np.median(trusted))

    def _drop_farthest(self) -> None:
        """Of other maps the oldest first, then those of this map that are farthest from the newest."""
        if len(self._keyframes) <= self.max_keyframes:
            return
        newest = self._keyframes[-1]
        other = next((keyframe for keyframe in self._keyframes if keyframe.map_id != newest.map_id), None)
        if other is None:
            position = newest.map_from_cam[:3, 3]
            other = max(self._keyframes, key=lambda k: float(np.square(k.map_from_cam[:3, 3] - position).sum()))
        self._keyframes.remove(other)
