"""Depth between the tracked points: optical flow of every pixel, where the tracks have told how the cameras lie.

The network's depth, corrected by the tracks, is the prior of each pixel. Flow to other frames of the window tells more
where it has parallax, returns to where it began (forward and backward) and keeps to its epipolar line. Both are
averaged by their information; a weighted guided filter (He et al. 2013) spreads the correction over the image and lets
it end where colours do. What is exact already stays as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np

from .adjusting.rotations import inverse, turn_between
from .arrays import median
from .depth import MIN_POINTS
from .guided_filter import guided
from .tracking.flow import working_image
from .tracking.observations import sampled
from .window import NetworkAnswer, Refined, WindowFrame

PARTNERS = 2  # frames that flow is computed to
WISHED_BASELINE = 0.12  # of the median depth: more parallax is told better, less is found more often
LEAST_BASELINE = 0.015
MOST_TURN = np.radians(15.0)
FLOW_DEVIATION = 1.0  # pixels of the working image
PRIOR_SHARE = 0.5  # the corrected depth's deviation, as a share of the network's from the points
PRIOR_DEVIATIONS = 0.03, 0.15  # the same of its logarithm, at least and at most
GAUSSIAN = 1.4826  # standard deviations per median of the errors' sizes
LEAST_DEVIATION = 0.02
MOST_CHANGE = 0.7  # of the logarithm; what differs more is another surface, or a wrong flow
MOST_RETURN, MOST_OFF_LINE = 1.0, 1.0  # pixels of the working image
LEAST_PARALLAX = 1.0  # pixels that flow changes by, per unit of the logarithm of depth
NOWHERE = (1e3, 1e3, 0.0, 0.0)  # flow outside the image


@dataclass(frozen=True, eq=False)
class DenseView:
    """A frame, as flow sees it."""

    gray: np.ndarray  # (H, W) working image
    focal: np.ndarray  # (2,) pixels of the working image
    centre: np.ndarray  # (2,) in it, OpenCV's pixel centres


def sharpened(
    frames: Sequence[WindowFrame], intrinsics: np.ndarray, network: NetworkAnswer, refined: Refined, chosen: list[int]
) -> Refined:
    """The window with denser depth in the chosen frames; those without a partner stay as they are.

    Args:
        intrinsics: (S, 3, 3), pixels of the images.
        network: whose maps the depth is in.
        chosen: indices of the frames.
    """
    views = [dense_view(frame, k) for frame, k in zip(frames, intrinsics, strict=True)]
    flows = Flows(views)
    cam_from_window = inverse(refined.window_from_cam)
    depth, confidence = refined.depth.copy(), refined.confidence.copy()
    prior_information = prior_deviation(network, refined) ** -2
    for s in chosen:
        known = np.isfinite(refined.depth[s]) & (refined.depth[s] > 0)
        if not known.any():
            continue
        usual_depth = median(refined.depth[s][known])
        places = places_of(network, views[s], frames[s])
        prior = np.log(np.where(known, refined.depth[s], np.nan))  # no depth is no prior
        information = np.full(prior.shape, prior_information, dtype=np.float32)
        total, told = prior * information, False
        for other in partners(s, frames, cam_from_window, usual_depth):
            other_from_cam = cam_from_window[other] @ refined.window_from_cam[s]
            found, weight = depth_by_flow(flows, s, other, places, other_from_cam, prior)
            information, total = information + weight, total + weight * found
            told = True
        if told:
            correction = guided(guide(views[s], places), total / information - prior, information)
            depth[s] = refined.depth[s] * np.exp(correction)
            support = 1 - prior_information / information
            confidence[s] = np.maximum(confidence[s], network.confidence[s] * (1 + support))
    return replace(refined, depth=depth, confidence=confidence)


def prior_deviation(network: NetworkAnswer, refined: Refined) -> float:
    """Of the logarithm of depth that the tracks have corrected."""
    off = []
    for s, seen in enumerate(refined.landmarks):
        theirs = sampled(network.depth[s, None], seen.pixels[:, None], network.scale, network.offset)[:, 0]
        ratio = np.log(seen.points[:, 2] / theirs)
        ratio = ratio[np.isfinite(ratio)]
        if len(ratio) >= MIN_POINTS:  # the median of fewer is near each of them
            off.append(ratio - median(ratio))
    if not off:
        return PRIOR_DEVIATIONS[1]
    return float(np.clip(PRIOR_SHARE * GAUSSIAN * median(np.abs(np.concatenate(off))), *PRIOR_DEVIATIONS))


def dense_view(frame: WindowFrame, intrinsics: np.ndarray) -> DenseView:
    gray, ratio = working_image(frame.image)
    return DenseView(gray, intrinsics[[0, 1], [0, 1]] / ratio, intrinsics[:2, 2] / ratio - 0.5)


def places_of(network: NetworkAnswer, view: DenseView, frame: WindowFrame) -> np.ndarray:
    """(h, w, 2) float32: where the pixels of the maps lie in the working image."""
    height, width = network.depth.shape[1:]
    pixels = np.stack(np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5), axis=-1)
    ratio = np.array(view.gray.shape[::-1]) / frame.image.shape[1::-1]
    return ((pixels - network.offset) / network.scale * ratio - 0.5).astype(np.float32)


def partners(s: int, frames: Sequence[WindowFrame], cam_from_window: np.ndarray, usual_depth: float) -> list[int]:
    """Frames of the same camera that see the scene from elsewhere, the best first."""
    relative = cam_from_window @ inverse(cam_from_window[s])
    baseline = np.linalg.norm(relative[:, :3, 3], axis=1) / usual_depth
    turn = turn_between(np.eye(3), relative[:, :3, :3])
    fits = [
        (abs(np.log(baseline[other] / WISHED_BASELINE)), other)
        for other, frame in enumerate(frames)
        if frame.camera == frames[s].camera
        and frame.image.shape == frames[s].image.shape
        and baseline[other] > LEAST_BASELINE
        and turn[other] < MOST_TURN
    ]
    return [other for _, other in sorted(fits)[:PARTNERS]]


class Flows:
    """Owns the flows of a window, each computed once."""

    def __init__(self, views: Sequence[DenseView]) -> None:
        self.views = views
        self._found: dict[tuple[int, int], np.ndarray] = {}
        self._method = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)  # type: ignore[attr-defined]

    def between(self, first: int, second: int) -> np.ndarray:
        """(H, W, 2) pixels that each of the first one's pixels has moved by (Kroeger et al. 2016)."""
        if (first, second) not in self._found:
            self._found[first, second] = self._method.calc(self.views[first].gray, self.views[second].gray, None)
        return self._found[first, second]


def depth_by_flow(
    flows: Flows, s: int, other: int, places: np.ndarray, other_from_cam: np.ndarray, prior: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Logarithm of depth (h, w) at places (h, w, 2) of frame ``s``, and its information; 0 where flow tells nothing.

    ``prior`` (h, w) is the logarithm that is there; NaN where nothing is known, and nothing is told.
    """
    here, there = flows.views[s], flows.views[other]
    moved = read(flows.between(s, other), places)
    ends = places + moved
    back = read(flows.between(other, s), ends, borderMode=cv2.BORDER_CONSTANT, borderValue=NOWHERE)
    returns = np.linalg.norm(moved + back, axis=-1)
    seen = (places - here.centre) / here.focal
    sight = (ends - there.centre) / there.focal
    turned = seen @ other_from_cam[:3, :2].T + other_from_cam[:3, 2]
    shift = other_from_cam[:3, 3]
    # Its depth z puts a pixel at turned * z + shift: two equations, slope * z = level.
    slope = sight * turned[..., 2:] - turned[..., :2]
    level = shift[:2] - sight * shift[2]
    squared = np.maximum(np.square(slope).sum(axis=-1), 1e-12)
    depth = (slope * level).sum(axis=-1) / squared
    far = turned[..., 2] * depth + shift[2]
    with np.errstate(invalid="ignore", divide="ignore"):
        per_pixel = there.focal[0] / np.abs(far)
        off_line = np.linalg.norm(slope * depth[..., None] - level, axis=-1) * per_pixel
        parallax = np.sqrt(squared) * np.abs(depth) * per_pixel
        found = np.log(depth)
        holds = (depth > 0) & (far > 0) & (returns < MOST_RETURN) & (off_line < MOST_OFF_LINE)
        holds &= (parallax > LEAST_PARALLAX) & (np.abs(found - prior) < MOST_CHANGE)
        weight = np.where(holds, np.minimum(np.square(parallax / FLOW_DEVIATION), LEAST_DEVIATION**-2), 0.0)
    return np.where(holds, found, 0.0), weight


def guide(view: DenseView, places: np.ndarray) -> np.ndarray:
    """Grey values (h, w) of a frame at the pixels of its maps, 0 to 1."""
    smooth = cv2.GaussianBlur(view.gray, (0, 0), 1.0)
    return read(smooth, places, borderMode=cv2.BORDER_REPLICATE) / np.float32(255)


def read(image: np.ndarray, places: np.ndarray, **border: Any) -> np.ndarray:
    """Values of an image (H, W, ...) at places (h, w, 2) between its pixels."""
    remap: Any = cv2.remap
    return remap(image, places, None, cv2.INTER_LINEAR, **border)
