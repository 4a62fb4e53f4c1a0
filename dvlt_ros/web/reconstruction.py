"""Photos through the mapper as one scene, as `reconstruct_bag` has them; here one of them is the reference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from ..errors import InputError
from ..geometry import transform_points, unproject
from ..mapping.budget.config import BudgetConfig, WindowConfig
from ..mapping.config import MapperConfig
from ..mapping.data.frames import Frame, Picture, Reconstruction
from ..mapping.inference.prediction import DeviceMemoryError, Predictor
from ..mapping.loops.config import LoopDetectorConfig, LoopsConfig
from ..mapping.mapper import Mapper
from ..mapping.maps.map_update import MapUpdate
from ..mapping.outputs.rendering import on_depth_grid
from ..mapping.submaps.config import ConfidenceConfig
from ..photos import Canvas
from ..photos.windows import for_photos
from .choices import card_of, title_of
from .photos import Photos
from .scene import Scene

INTERVAL_NS = 100_000_000  # between stamps: photos have no times, and those of a video are in another order here


def reconstruct(
    predictor: Predictor, model: str, photos: Photos, reference: int = 0, num_steps: int | None = None,
    references: int = 1,
) -> Scene:  # fmt: skip
    """All views through the mapper, the reference first.

    Args:
        model: the predictor's name, with its weights (`choices.parts`).
        num_steps: K, by default the checkpoint's own.
        references: views that are the reference in turn, ``reference`` first; their answers are merged.

    Raises:
        InputError: photos that the model cannot take, no place for the reference, or no memory for so many.
        ConfigError: a K that the model does not have, or more references than photos.
    """
    order = reference_first(len(photos), reference)
    pictures = fit_together(photos)
    size = pictures[0].image.shape[:2]
    config, _ = for_photos(mapper_config(num_steps, references), predictor, len(photos), (size[0], size[1]))
    said: list[str] = []
    mapper = Mapper(config, predictor, notify=said.append, clock_ns=lambda: 0)
    try:
        frames = [_frame(place, pictures[index]) for place, index in enumerate(order)]
        updates = [update for frame in frames if (update := mapper.add(frame)) is not None]
        updates += mapper.finish()
    except DeviceMemoryError as error:
        raise InputError(f"no memory for {len(photos)} views: use fewer") from error
    finally:
        predictor.reset()
    found = {order[frame.stamp_ns // INTERVAL_NS]: frame for update in updates for frame in update.frames}
    causes = "; ".join(dict.fromkeys(text.partition(": ")[2] for text in said))
    if reference not in found:
        title = photos.titles[reference]
        raise InputError(f"{title_of(model)} found no place for the reference {title}: {causes}")
    return _scene(found, photos.titles, reference, model, _steps(updates), predictor.cut_share, causes)


def fit_together(photos: Photos) -> list[Picture]:
    """All in one size, with a black border where one is narrower than others."""
    canvas = Canvas.of((view.image.shape[0], view.image.shape[1]) for view in photos.views)
    pictures = []
    for view, inside in map(canvas.fit, photos.views):
        pictures.append(Picture(view.image, None if view.lens is None else view.lens.intrinsics, inside))
    return pictures


def mapper_config(num_steps: int | None, references: int) -> MapperConfig:
    """What is uncertain is left to the sliders."""
    return MapperConfig(
        budget=BudgetConfig(k_min=num_steps or 0, k_max=num_steps or 0, references=references),
        window=WindowConfig(size=max(references, WindowConfig.size)),  # `for_photos` has the last word
        confidence=ConfidenceConfig(cut_share=0.0, min_share=0.0),
        loops=LoopsConfig(detector=LoopDetectorConfig(mode="never")),
    )


def reference_first(count: int, reference: int) -> list[int]:
    """Indices of all views, the reference before the others, which keep their order."""
    if not 0 <= reference < count:
        raise InputError(f"the reference must be one of {count} views, got {reference}")
    return [reference, *(i for i in range(count) if i != reference)]


def _frame(place: int, picture: Picture) -> Frame:
    return Frame(place * INTERVAL_NS, "camera", 0, lambda: picture)


def _steps(updates: Sequence[MapUpdate]) -> int:
    return next(update.window.plan.num_steps for update in updates if update.window is not None)


def _scene(
    found: dict[int, Reconstruction], titles: Sequence[str], reference: int, model: str, num_steps: int,
    cut_share: float, causes: str,
) -> Scene:  # fmt: skip
    """``found``: by index of the photo. The scene is the reference's map; photos that are not in it are left out."""
    kept = sorted(index for index, frame in found.items() if frame.map_id == found[reference].map_id)
    lost = [title for index, title in enumerate(titles) if index not in kept]
    frames = [found[index] for index in kept]
    sheet = Sheet.around([frame.depth for frame in frames])
    depth = sheet.stack([frame.depth for frame in frames], np.nan)
    intrinsics = np.stack([sheet.intrinsics(frame.intrinsics, frame.depth) for frame in frames])
    world_from_cam = np.linalg.inv(found[reference].map_from_cam) @ np.stack([frame.map_from_cam for frame in frames])
    in_cameras = unproject(torch.from_numpy(depth), torch.from_numpy(intrinsics).float())
    return Scene(
        titles=tuple(titles[index] for index in kept),
        images=sheet.stack([on_depth_grid(frame).picture.image for frame in frames]),
        usable=np.isfinite(depth),
        depth=depth,
        confidence=sheet.stack([frame.confidence for frame in frames]),
        points=transform_points(torch.from_numpy(world_from_cam).float(), in_cameras).numpy(),
        intrinsics=intrinsics,
        world_from_cam=world_from_cam,
        reference=kept.index(reference),
        is_metric=card_of(model).is_metric,  # the first window's unit is the map's
        model=model,
        num_steps=num_steps,
        cut_share=cut_share,
        remark=f"left out: {', '.join(lost)} ({causes})" if lost else "",
    )


class Sheet(NamedTuple):
    """One size for the maps of portraits and of landscape photos, each in the middle of it."""

    height: int
    width: int

    @classmethod
    def around(cls, maps: Sequence[np.ndarray]) -> Sheet:
        return cls(*(max(map_.shape[axis] for map_ in maps) for axis in (0, 1)))

    def stack(self, maps: Sequence[np.ndarray], around: float = 0) -> np.ndarray:
        """(S, height, width, ...) of S maps (h, w, ...), with this value around them."""
        found = np.full((len(maps), self.height, self.width, *maps[0].shape[2:]), around, maps[0].dtype)
        for place, map_ in zip(found, maps, strict=True):
            top, left = self._corner(map_)
            place[top : top + map_.shape[0], left : left + map_.shape[1]] = map_
        return found

    def intrinsics(self, intrinsics: np.ndarray, map_: np.ndarray) -> np.ndarray:
        """Intrinsics (3, 3) of a map (h, w) in pixels of the sheet."""
        top, left = self._corner(map_)
        return np.array([[1.0, 0.0, left], [0.0, 1.0, top], [0.0, 0.0, 1.0]]) @ intrinsics

    def _corner(self, map_: np.ndarray) -> tuple[int, int]:
        return (self.height - map_.shape[0]) // 2, (self.width - map_.shape[1]) // 2
