"""From a frame on disk to a training image: cleaned depth, one crop and resize of all, changed colours.

Cameras and pixels as everywhere: OpenCV axes, pixel (0, 0) centred at (0.5, 0.5), so that resizing by s
multiplies the first two rows of the intrinsics by s. Source: the paper's recipe.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import cv2
import numpy as np
import torch
from PIL import Image

from dvlt_ros.errors import ConfigError, InputError

from ..data.types import Views
from ..losses.normalize import to_first_camera

MARGIN_PX = 4
PORTRAIT = 1.2  # height over width above which a source counts as portrait
GREY = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601

Turn = Literal[0, 90, -90]


@dataclass(frozen=True)
class DepthRule:
    """Which depths of a data set are believed."""

    max_depth: float | None = None  # metres
    percentile: float | None = None  # of the valid depths of a frame; larger ones are not believed
    drop_background: bool = False  # pixels that the data set marks as background have no depth

    def __post_init__(self) -> None:
        if self.max_depth is not None and not self.max_depth > 0:
            raise ConfigError(f"depth rule: max_depth must be above 0, got {self.max_depth}")
        if self.percentile is not None and not 0 < self.percentile <= 100:
            raise ConfigError(f"depth rule: percentile must be in (0, 100], got {self.percentile}")


@dataclass(frozen=True)
class Frame:
    """One posed RGB-D image."""

    image: np.ndarray  # (H, W, 3) uint8, RGB
    depth: np.ndarray  # (H, W) float32, metres along the optical axis, 0 where unknown
    world_from_cam: np.ndarray  # (4, 4) float64
    intrinsics: np.ndarray  # (3, 3) float64, pixels
    background: np.ndarray | None = None  # (H, W) bool

    def __post_init__(self) -> None:
        size = self.image.shape[:2]
        if self.image.ndim != 3 or self.image.shape[2] != 3 or self.image.dtype != np.uint8 or 0 in size:
            raise InputError(f"a frame's image must be (H, W, 3) uint8, got {self.image.shape} {self.image.dtype}")
        for name, value in (("depth", self.depth), ("background", self.background)):
            if value is not None and value.shape != size:
                raise InputError(f"a frame's {name} must have the image's size {size}, got {value.shape}")
        if self.world_from_cam.shape != (4, 4) or self.intrinsics.shape != (3, 3):
            got = f"{self.world_from_cam.shape} and {self.intrinsics.shape}"
            raise InputError(f"a frame's world_from_cam must be (4, 4) and its intrinsics (3, 3), got {got}")


def prepare_frames(
    frames: Sequence[Frame], height: int, width: int, rule: DepthRule, rng: np.random.Generator
) -> list[Frame]:
    """Frames of one window at (height, width), with one turn for all and a zoom for each.

    A window whose frames are portraits (height above 1.2 times width) is half the time cropped as a portrait
    and turned by 90 degrees either way, camera and all.
    """
    turn: Turn = 0
    if all(frame.image.shape[0] > PORTRAIT * frame.image.shape[1] for frame in frames) and rng.uniform() < 0.5:
        turn = 90 if rng.uniform() < 0.5 else -90
    zooms = rng.triangular(0.0, 0.0, 0.1, size=len(frames)) * max(height, width)
    return [
        prepare_frame(frame, height, width, rule, zoom_px=float(zoom), turn=turn)
        for frame, zoom in zip(frames, zooms, strict=True)
    ]


def prepare_frame(
    frame: Frame, height: int, width: int, rule: DepthRule, zoom_px: float = 0.0, turn: Turn = 0
) -> Frame:
    """One frame at (height, width), its principal point within a pixel of the middle.

    Clean the depth; crop symmetrically about the principal point; resize (Lanczos down, bicubic up, depth
    nearest) to cover the size plus 4 pixels plus ``zoom_px``; crop; turn clockwise by ``turn`` degrees.

    Raises:
        InputError: a principal point at or outside the border, or a size that no crop of the frame can have.
        ConfigError: a turn that is not 0, 90 or -90.
    """
    if turn not in get_args(Turn):
        raise ConfigError(f"turn must be one of {get_args(Turn)}, got {turn}")
    if turn:
        height, width = width, height
    frame = replace(frame, depth=clean_depth(frame.depth, rule, frame.background), background=None)
    frame = _crop_about_principal_point(frame, *_largest_about_principal_point(frame))
    frame = _cover(frame, height + MARGIN_PX + round(zoom_px), width + MARGIN_PX + round(zoom_px))
    return turn_frame(_crop_about_principal_point(frame, height, width), turn)


def clean_depth(depth: np.ndarray, rule: DepthRule, background: np.ndarray | None = None) -> np.ndarray:
    """Depth (H, W) in float32 with 0 for what is not finite, not above 0, or not believed."""
    depth = np.where(np.isfinite(depth) & (depth > 0), depth, 0).astype(np.float32)
    if rule.drop_background and background is not None:
        depth[background] = 0
    if rule.max_depth is not None:
        depth[depth > rule.max_depth] = 0
    if rule.percentile is not None and (depth > 0).any():
        depth[depth > np.percentile(depth[depth > 0], rule.percentile)] = 0
    return depth


def turn_frame(frame: Frame, turn: Turn) -> Frame:
    """The frame turned clockwise by 90 (or -90) degrees, with the camera that sees it so."""
    if not turn:
        return frame
    clockwise = turn == 90
    size = frame.image.shape[0] if clockwise else frame.image.shape[1]
    # Pixels: clockwise (u, v) -> (H - v, u), the other way (u, v) -> (v, W - u).
    pixels = [[0, -1, size], [1, 0, 0], [0, 0, 1]] if clockwise else [[0, 1, 0], [-1, 0, size], [0, 0, 1]]
    turned_from_cam = np.array(pixels, dtype=np.float64) * [[1, 1, 0], [1, 1, 0], [0, 0, 1]]
    cam_from_turned = np.eye(4)
    cam_from_turned[:3, :3] = turned_from_cam.T
    rot90 = lambda x: np.ascontiguousarray(np.rot90(x, k=-1 if clockwise else 1))  # noqa: E731
    return Frame(
        rot90(frame.image),
        rot90(frame.depth),
        frame.world_from_cam @ cam_from_turned,
        np.array(pixels) @ frame.intrinsics @ turned_from_cam.T,
    )


def _largest_about_principal_point(frame: Frame) -> tuple[int, int]:
    """(height, width) of the largest crop with the principal point in its middle."""
    (height, width), (cx, cy) = frame.image.shape[:2], frame.intrinsics[:2, 2]
    half_width, half_height = min(cx, width - cx), min(cy, height - cy)
    if not (half_width >= 1 and half_height >= 1):
        raise InputError(f"the principal point ({cx:.1f}, {cy:.1f}) is outside the {width} x {height} image")
    return int(2 * half_height), int(2 * half_width)


def _crop_about_principal_point(frame: Frame, height: int, width: int) -> Frame:
    """Exactly (height, width), as close to the principal point as whole pixels and the borders allow."""
    old_height, old_width = frame.image.shape[:2]
    if height > old_height or width > old_width:
        raise InputError(f"a crop of {width} x {height} leaves the {old_width} x {old_height} image")
    cx, cy = frame.intrinsics[:2, 2]
    left = min(max(round(cx - width / 2), 0), old_width - width)
    top = min(max(round(cy - height / 2), 0), old_height - height)
    rows, columns = slice(top, top + height), slice(left, left + width)
    intrinsics = frame.intrinsics.copy()
    intrinsics[:2, 2] -= left, top
    return replace(frame, image=frame.image[rows, columns], depth=frame.depth[rows, columns], intrinsics=intrinsics)


def _cover(frame: Frame, height: int, width: int) -> Frame:
    """Resized without distortion, up to whole pixels, to the smallest size that covers (height, width)."""
    old_height, old_width = frame.image.shape[:2]
    scale = max(height / old_height, width / old_width)
    new_height, new_width = round(old_height * scale), round(old_width * scale)
    method = Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.BICUBIC
    image = np.asarray(Image.fromarray(frame.image).resize((new_width, new_height), method))
    # Nearest in the package's pixel convention; cv2.INTER_NEAREST is half a pixel off.
    rows = ((np.arange(new_height) + 0.5) * old_height / new_height).astype(int)
    columns = ((np.arange(new_width) + 0.5) * old_width / new_width).astype(int)
    intrinsics = frame.intrinsics.copy()
    intrinsics[:2] *= [[new_width / old_width], [new_height / old_height]]
    return replace(frame, image=image, depth=frame.depth[rows[:, None], columns], intrinsics=intrinsics)


def stack_frames(frames: Sequence[Frame], is_synthetic: bool, images: np.ndarray | None = None) -> Views:
    """Frames of one size as a batch of one window; ``images`` (S, H, W, 3) in [0, 1] replace theirs.

    The first camera's frame becomes the world while poses are still in float64: odometry far from its origin
    would lose centimetres in float32.
    """
    if images is None:
        images = np.stack([frame.image for frame in frames]).astype(np.float32) / 255
    stacked = lambda name: torch.from_numpy(np.stack([getattr(frame, name) for frame in frames]))  # noqa: E731
    depth = stacked("depth").float()
    window = Views(
        images=torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(),
        world_from_cam=to_first_camera(stacked("world_from_cam").double()).float(),
        intrinsics=stacked("intrinsics").float(),
        depth=depth,
        valid=depth > 0,
        is_synthetic=torch.tensor(is_synthetic),
    )
    return Views(*(getattr(window, name).unsqueeze(0) for name in Views.__dataclass_fields__))


@dataclass(frozen=True)
class ColourRule:
    """How far colours may change, and how often."""

    brightness: float = 0.3  # factors are uniform in 1 +- this
    contrast: float = 0.4
    saturation: float = 0.2
    hue: float = 0.1  # of a full turn, either way
    jitter_chance: float = 0.9  # of the four above, together
    grey_chance: float = 0.05
    blur_chance: float = 0.05
    blur_sigma: tuple[float, float] = (0.1, 1.0)  # pixels, of a 5 x 5 kernel
    shared_chance: float = 0.7  # that all frames of a window change alike

    def __post_init__(self) -> None:
        for name in self.__dataclass_fields__:
            value, limit = getattr(self, name), 0.5 if name == "hue" else 1.0
            if name != "blur_sigma" and not 0 <= value <= limit:
                raise ConfigError(f"colour rule: {name} must be in [0, {limit:g}], got {value}")
        if not 0 < self.blur_sigma[0] <= self.blur_sigma[1]:
            raise ConfigError(f"colour rule: blur_sigma must be a range above 0, got {self.blur_sigma}")


@dataclass(frozen=True)
class ColourChange:
    """One drawn change; the steps are applied in this order."""

    jitter: tuple[tuple[str, float], ...] = ()  # (name, factor), for hue an offset in turns
    grey: bool = False
    blur_sigma: float | None = None  # pixels

    @classmethod
    def draw(cls, rule: ColourRule, rng: np.random.Generator) -> ColourChange:
        names = ("brightness", "contrast", "saturation", "hue")
        offsets = {name: float(rng.uniform(-1, 1)) * getattr(rule, name) for name in names}
        steps = [(name, offsets[name] + (name != "hue")) for name in rng.permutation(names).tolist()]
        jitter, grey, blur = (rng.uniform(size=3) < [rule.jitter_chance, rule.grey_chance, rule.blur_chance]).tolist()
        sigma = float(rng.uniform(*rule.blur_sigma))
        return cls(tuple(steps) if jitter else (), grey, sigma if blur else None)

    def apply(self, image: np.ndarray) -> np.ndarray:
        """A changed copy of an image (H, W, 3), float32 RGB in [0, 1]."""
        image = image.astype(np.float32)
        for name, amount in self.jitter:
            if name == "hue":
                image = _shift_hue(image, amount)
                continue
            grey = (image @ GREY)[..., None]
            other = {"brightness": 0.0, "contrast": grey.mean(), "saturation": grey}[name]
            image = np.clip(other + np.float32(amount) * (image - other), 0, 1)
        if self.grey:
            image = np.repeat((image @ GREY)[..., None], 3, axis=-1)
        if self.blur_sigma is not None:
            image = cv2.GaussianBlur(image, (5, 5), self.blur_sigma, borderType=cv2.BORDER_REFLECT_101)
        return np.ascontiguousarray(image, dtype=np.float32)


def change_colours(images: np.ndarray, rule: ColourRule, rng: np.random.Generator) -> np.ndarray:
    """Images (S, H, W, 3) of one window, float32 RGB in [0, 1], with one change for all or one for each."""
    if rng.uniform() < rule.shared_chance:
        changes = [ColourChange.draw(rule, rng)] * len(images)
    else:
        changes = [ColourChange.draw(rule, rng) for _ in images]
    return np.stack([change.apply(image) for image, change in zip(images, changes, strict=True)])


def _shift_hue(image: np.ndarray, turns: float) -> np.ndarray:
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)  # float: hue in [0, 360)
    hsv[..., 0] = (hsv[..., 0] + 360 * turns) % 360
    return np.clip(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), 0, 1)
