"""Lenses that bend straight lines, and the pinhole images they are rectified to."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import Any, Literal

import cv2
import numpy as np

from .errors import DataError

LensModel = Literal["plumb_bob", "rational_polynomial", "equidistant"]
COEFFICIENTS: dict[str, tuple[int, ...]] = {
    "plumb_bob": (4, 5),
    "rational_polynomial": (8, 12, 14),
    "equidistant": (4,),
}

MODEL_NAMES = {"": "plumb_bob", "plumb_bob": "plumb_bob", "fisheye": "equidistant"}


@dataclass(frozen=True)
class Lens:
    """A camera with OpenCV's distortion; ``size`` is that of the image it was calibrated for."""

    fx: float  # pixels
    fy: float
    cx: float  # pixels, pixel (0, 0) centred at (0.5, 0.5)
    cy: float
    size: tuple[int, int]  # (height, width)
    model: LensModel = "plumb_bob"
    distortion: tuple[float, ...] = ()  # empty or all 0: none
    source: str = field(default="lens", compare=False)  # where the values stand, for error messages

    def __post_init__(self) -> None:
        if not min(self.size) > 0:
            raise DataError(f"{self.source}: the image size is {self.size[1]} x {self.size[0]}")
        if self.model not in COEFFICIENTS:
            raise DataError(f"{self.source}: distortion model {self.model!r} is not one of {tuple(COEFFICIENTS)}")
        if not np.isfinite(self.distortion).all():
            raise DataError(f"{self.source}: distortion coefficients must be finite, got {self.distortion}")
        if self.is_distorted and len(self.distortion) not in COEFFICIENTS[self.model]:
            wanted = COEFFICIENTS[self.model]
            raise DataError(
                f"{self.source}: {self.model} has {wanted} distortion coefficients, got {len(self.distortion)}"
            )
        pinhole(self.fx, self.fy, self.cx, self.cy, self.source)

    @property
    def is_distorted(self) -> bool:
        return any(self.distortion)

    @property
    def intrinsics(self) -> np.ndarray:
        """(3, 3) of the lens itself, without its distortion."""
        return pinhole(self.fx, self.fy, self.cx, self.cy, self.source)


@dataclass(frozen=True)
class Rectification:
    """From a lens to a pinhole image of the same size that the lens fills completely."""

    intrinsics: np.ndarray  # (3, 3), pixels
    columns: np.ndarray  # (H, W) float32, where OpenCV (pixel centres at integers) takes each pixel from
    rows: np.ndarray  # (H, W) float32

    def image(self, image: np.ndarray) -> np.ndarray:
        """Rectified image, bilinear; outside the lens black."""
        return cv2.remap(image, self.columns, self.rows, cv2.INTER_LINEAR)

    def depth(self, depth: np.ndarray) -> np.ndarray:
        """Rectified z-depth, nearest: values of two surfaces never mix; outside the lens 0."""
        return cv2.remap(depth, np.round(self.columns), np.round(self.rows), cv2.INTER_NEAREST)


@functools.lru_cache(maxsize=16)
def rectification(lens: Lens) -> Rectification:
    """The maps of a distorted lens; cached, for every frame of a sequence needs the same."""
    height, width = lens.size
    k = lens.intrinsics
    k[:2, 2] -= 0.5  # OpenCV puts pixel centres at integers
    d, size = np.array(lens.distortion), (width, height)
    if lens.model == "equidistant":
        new = cv2.fisheye.estimateNewCameraMatrixForUndistortRectify(k, d, size, np.eye(3), balance=0.0)
        columns, rows = cv2.fisheye.initUndistortRectifyMap(k, d, np.eye(3), new, size, cv2.CV_32FC1)
    else:
        new, _ = cv2.getOptimalNewCameraMatrix(k, d, size, 0.0)
        columns, rows = cv2.initUndistortRectifyMap(k, d, np.eye(3), new, size, cv2.CV_32FC1)
    fx, fy, cx, cy = new[0, 0], new[1, 1], new[0, 2] + 0.5, new[1, 2] + 0.5
    return Rectification(pinhole(fx, fy, cx, cy, f"rectified {lens.model} lens"), columns, rows)


def lens_of_camera_info(message: Any, rectified: bool) -> Lens:
    """A camera_info as a lens for the images it comes with: binning and region of interest applied.

    ``rectified``: the images are those that P describes (image_rect), not the raw ones.

    Raises:
        DataError: an uncalibrated camera (all zero), or a distortion model that is not known.
    """
    size = (int(message.height), int(message.width))
    k = np.asarray(message.p, dtype=np.float64).reshape(3, 4)[:, :3] if rectified else None
    k = np.asarray(message.k, dtype=np.float64).reshape(3, 3) if k is None or not k.any() else k
    if not k[0, 0] or not k[1, 1]:
        raise DataError("camera_info is all zero: the camera is not calibrated")
    distortion = () if rectified else tuple(float(value) for value in message.d)
    model = MODEL_NAMES.get(message.distortion_model, message.distortion_model)
    # ROS puts pixel centres at integers. Region of interest and binning are of the full-resolution image.
    fx, fy, cx, cy = k[0, 0], k[1, 1], k[0, 2] + 0.5, k[1, 2] + 0.5
    roi, bin_x, bin_y = message.roi, max(1, int(message.binning_x)), max(1, int(message.binning_y))
    if roi.width and roi.height:
        size, cx, cy = (int(roi.height), int(roi.width)), cx - roi.x_offset, cy - roi.y_offset
    return Lens(
        fx / bin_x,
        fy / bin_y,
        cx / bin_x,
        cy / bin_y,
        (size[0] // bin_y, size[1] // bin_x),
        model,
        distortion,
        "camera_info",
    )


def pinhole(fx: float, fy: float, cx: float, cy: float, source: str) -> np.ndarray:
    """Intrinsics (3, 3) in pixels, pixel (0, 0) centred at (0.5, 0.5).

    Raises:
        DataError: NaN, or a focal length or principal point that is not positive.
    """
    values = {"fx": fx, "fy": fy, "cx": cx, "cy": cy}
    bad = {name: value for name, value in values.items() if not (np.isfinite(value) and value > 0)}
    if bad:
        raise DataError(f"{source}: intrinsics must be finite and above 0, got {bad}")
    return np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])
