"""Lenses that bend straight lines, and the pinhole images they are rectified to."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
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

MODEL_NAMES = {  # other names of the same, in small letters
    "": "plumb_bob", "radtan": "plumb_bob", "radial-tangential": "plumb_bob", "rational": "rational_polynomial",
    "fisheye": "equidistant", "kannala_brandt": "equidistant", "kannala_brandt4": "equidistant",
}  # fmt: skip
WITHOUT_DISTORTION = ("none", "no_distortion", "pinhole")  # names that drivers write where there is none
MAX_SKEW = 1e-3  # of fx: a thousandth of a pixel per pixel is what calibrations leave
TILT = slice(12, 14)  # of the rational model: a tilted sensor


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
        object.__setattr__(self, "distortion", _fitting(self.model, self.distortion, self.source))
        pinhole(self.fx, self.fy, self.cx, self.cy, self.source)

    @property
    def is_distorted(self) -> bool:
        return any(self.distortion)

    @property
    def intrinsics(self) -> np.ndarray:
        """(3, 3) of the lens itself, without its distortion."""
        return pinhole(self.fx, self.fy, self.cx, self.cy, self.source)

    def turned(self, quarters: int) -> Lens:
        """That of an image turned by so many quarter turns clockwise.

        Raises:
            DataError: a tilted sensor (the last two of 14 coefficients), which has no such form.
        """
        lens = self
        for _ in range(quarters % 4):
            height, width = lens.size
            lens = replace(
                lens, fx=lens.fy, fy=lens.fx, cx=height - lens.cy, cy=lens.cx, size=(width, height),
                distortion=lens._moved(_turn),
            )  # fmt: skip
        return lens

    def mirrored(self) -> Lens:
        """That of an image whose left and right have changed places. Raises DataError as `turned`."""
        return replace(self, cx=self.size[1] - self.cx, distortion=self._moved(_mirror))

    def cropped(self, top: int, left: int, height: int, width: int) -> Lens:
        """That of a part of the image. Raises DataError: the principal point is not within it."""
        return replace(self, cx=self.cx - left, cy=self.cy - top, size=(height, width))

    def scaled(self, height: int, width: int) -> Lens:
        """That of the image at another size."""
        by_y, by_x = height / self.size[0], width / self.size[1]
        return replace(
            self, fx=self.fx * by_x, fy=self.fy * by_y, cx=self.cx * by_x, cy=self.cy * by_y, size=(height, width)
        )

    def _moved(self, move: Callable[[np.ndarray], np.ndarray]) -> tuple[float, ...]:
        """Distortion in moved axes; that of a fisheye is the same in all directions."""
        if not self.is_distorted or self.model == "equidistant":
            return self.distortion
        if any(self.distortion[TILT]):
            raise DataError(f"{self.source}: a lens with a tilted sensor cannot be turned")
        moved: list[float] = move(np.pad(self.distortion, (0, 14 - len(self.distortion)))).tolist()
        return tuple(value + 0.0 for value in moved[: len(self.distortion)])  # + 0.0: no minus zero


def _turn(d: np.ndarray) -> np.ndarray:
    """OpenCV's 14 coefficients after a quarter turn clockwise: x' = -y, y' = x."""
    d = d.copy()
    d[[2, 3]] = d[3], -d[2]
    d[[8, 9, 10, 11]] = -d[10], -d[11], d[8], d[9]
    return d


def _mirror(d: np.ndarray) -> np.ndarray:
    """OpenCV's 14 coefficients for x' = -x."""
    d = d.copy()
    d[[3, 8, 9]] *= -1
    return d


def _fitting(model: str, distortion: tuple[float, ...], source: str) -> tuple[float, ...]:
    """With as many coefficients as the model has: zeros at the end say nothing.

    Raises:
        DataError: too few, or too many that are not 0.
    """
    if not any(distortion) or len(distortion) in COEFFICIENTS[model]:
        return distortion
    if model == "rational_polynomial" and len(distortion) in COEFFICIENTS["plumb_bob"]:
        return (*distortion, *[0.0] * (8 - len(distortion)))  # the same lens
    told = len(np.trim_zeros(np.asarray(distortion), "b"))
    wanted = COEFFICIENTS[model]
    fitting = next((count for count in wanted if told <= count <= len(distortion)), None)
    if fitting is None:
        raise DataError(f"{source}: {model} has {wanted} distortion coefficients, got {len(distortion)}")
    return distortion[:fitting]


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
        DataError: an uncalibrated camera (all zero), impossible intrinsics, or a distortion model that is not known.
    """
    size = (int(message.height), int(message.width))
    p, k = (np.asarray(values, dtype=np.float64).reshape(3, -1)[:, :3] for values in (message.p, message.k))
    name = "P" if rectified and p.any() else "K"
    k = p if name == "P" else k
    if not k.any():
        raise DataError("camera_info is all zero: the camera is not calibrated")
    told = {"fx": k[0, 0], "fy": k[1, 1], "cx": k[0, 2], "cy": k[1, 2]}
    if missing := [part for part, value in told.items() if value == 0]:
        raise DataError(f"camera_info has {', '.join(f'{part} = 0' for part in missing)} in {name}")
    if abs(k[0, 1]) > MAX_SKEW * abs(k[0, 0]):
        raise DataError(f"camera_info has a skew of {k[0, 1]:g} in {name}, which is not read")
    model, distortion = model_of(message.distortion_model, () if rectified else message.d, "camera_info")
    # ROS puts pixel centres at integers. Region of interest and binning are of the full-resolution image.
    fx, fy, cx, cy = told["fx"], told["fy"], told["cx"] + 0.5, told["cy"] + 0.5
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


def model_of(name: str, coefficients: Iterable[Any], source: str) -> tuple[LensModel, tuple[float, ...]]:
    """A distortion model by any of its names, with its coefficients.

    Raises:
        DataError: a name that is not known, or that says there is none beside coefficients that are not 0.
    """
    distortion = tuple(float(value) for value in coefficients)
    name = name.strip().lower()
    if name in WITHOUT_DISTORTION:
        if any(distortion):
            raise DataError(f"{source}: distortion model {name!r}, but its coefficients are {distortion}")
        return "plumb_bob", ()
    model = MODEL_NAMES.get(name, name)
    if model not in COEFFICIENTS:
        raise DataError(f"{source}: distortion model {name!r} is not one of {tuple(COEFFICIENTS)}")
    return model, distortion  # type: ignore[return-value]  # checked above


def pinhole(fx: float, fy: float, cx: float, cy: float, source: str) -> np.ndarray:
    """Intrinsics (3, 3) in pixels, pixel (0, 0) centred at (0.5, 0.5).

    Raises:
        DataError: NaN, or a focal length or principal point that is not positive.
    """
    values = {"fx": fx, "fy": fy, "cx": cx, "cy": cy}
    bad = {name: float(value) for name, value in values.items() if not (np.isfinite(value) and value > 0)}
    if bad:
        raise DataError(f"{source}: intrinsics must be finite and above 0, got {bad}")
    return np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])
