"""What a refinement is given, checked and brought into the adjustment's terms."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import InputError
from .arrays import median
from .tracking.observations import Observations, sampled
from .tracking.tracks import Tracks, normalised
from .window import NetworkAnswer, PosePrior, WindowFrame


def check(frames: Sequence[WindowFrame], network: NetworkAnswer, priors: Sequence[PosePrior]) -> None:
    """Raises InputError: shapes or indices that do not belong together."""
    if len(frames) < 2 or len(frames) != len(network.depth):
        raise InputError(f"a window has at least two frames and a depth map of each, got {len(frames)} frames and "
                         f"{len(network.depth)} maps")  # fmt: skip
    numbers = [frame.number for frame in frames]
    if len(set(numbers)) < len(numbers):
        raise InputError(f"every frame of a window has its own number, got {numbers}")
    shapes = {frame.image.shape for frame in frames}
    if len(shapes) > 1 or len(next(iter(shapes))) != 3 or any(frame.image.dtype != np.uint8 for frame in frames):
        raise InputError(f"frames must be (H, W, 3) uint8 and of one size, got {sorted(shapes)}")
    for prior in priors:
        if not (0 <= prior.first < len(frames) and 0 <= prior.second < len(frames) and prior.first != prior.second):
            raise InputError(f"a pose prior names frames {prior.first} and {prior.second} of {len(frames)}")


def nearest_finite(window_from_cam: np.ndarray) -> np.ndarray | None:
    """Poses (S, 4, 4), those that are not finite from the nearest that is; None: there is none."""
    finite = np.flatnonzero(np.isfinite(window_from_cam).all(axis=(1, 2)))
    if not len(finite):
        return None
    nearest = np.abs(np.arange(len(window_from_cam))[:, None] - finite).argmin(axis=1)
    return window_from_cam[finite[nearest]].astype(np.float64)


def image_intrinsics(frames: Sequence[WindowFrame], network: NetworkAnswer) -> np.ndarray:
    """(S, 3, 3) pixels of the images: the camera's own, by this frame or the nearest that has them; else the network's.

    They are NaN where the network has none.
    """
    image_from_map = np.diag([1 / network.scale[0], 1 / network.scale[1], 1.0])
    image_from_map[:2, 2] = -network.offset[0] / network.scale[0], -network.offset[1] / network.scale[1]
    found = image_from_map @ network.intrinsics
    own = [(s, frame.camera, frame.intrinsics) for s, frame in enumerate(frames) if frame.intrinsics is not None]
    for s, frame in enumerate(frames):
        of_camera = [(abs(s - other), known) for other, camera, known in own if camera == frame.camera]
        if of_camera:
            found[s] = min(of_camera, key=lambda each: each[0])[1]
    return found


def observed(tracks: Tracks, network: NetworkAnswer, intrinsics: np.ndarray, most: int) -> Observations:
    """At most so many tracks, those with most sights; what a frame without finite intrinsics sees says nothing."""
    usable = np.isfinite(intrinsics).all(axis=(1, 2))
    mask = tracks.mask & usable
    sights = mask.sum(axis=1)
    chosen = np.flatnonzero(sights >= 2)
    if len(chosen) > most:
        chosen = np.sort(chosen[np.argsort(-sights[chosen], kind="stable")[:most]])
    pixels, mask = tracks.pixels[chosen], mask[chosen]
    depth = sampled(network.depth, pixels, network.scale, network.offset)
    seen = np.where(mask[..., None], normalised(pixels, intrinsics), 0.0)
    focal = median(intrinsics[usable][:, [0, 1], [0, 1]]) if usable.any() else np.nan
    return Observations(
        pixels, mask, seen, np.where(mask, depth, np.nan), focal, tracks.deviation_px, tracks.numbers[chosen]
    )
