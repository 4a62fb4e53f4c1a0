"""camera_info.yaml, as ROS's camera_calibration writes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from ..errors import DataError
from ..lens import Lens, model_of
from .border import border

CAMERA_INFO = "camera_info.yaml"
MAX_BYTES = 1 << 20
MAX_EDGE = 1 << 20  # pixels


def read_camera_info(path: Path) -> Lens:
    """Raises DataError for a file that is not a calibration; it says what is wrong with it."""
    with border(path, "not a camera calibration"):
        if path.stat().st_size > MAX_BYTES:
            raise DataError(f"{path}: not a camera calibration: {path.stat().st_size} bytes")
        content: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
        if not isinstance(content, dict):
            raise DataError(f"{path}: not a camera calibration: no camera_matrix in it")
        fx, _, cx, _, fy, cy, *_ = (float(value) for value in _field(content, "camera_matrix", path)["data"])
        coefficients = [float(value) for value in _field(content, "distortion_coefficients", path)["data"]]
        size = _edge(content, "image_height", path), _edge(content, "image_width", path)
        name = content.get("distortion_model", "plumb_bob")
        if not isinstance(name, str):
            raise DataError(f"{path}: not a camera calibration: its distortion model is {_shown(name)}")
        model, distortion = model_of(name, coefficients, str(path))
        # ROS puts pixel centres at integers.
        return Lens(fx, fy, cx + 0.5, cy + 0.5, size, model, distortion, source=str(path))


def _field(content: dict[str, Any], name: str, path: Path) -> Any:
    if name not in content:
        raise DataError(f"{path}: not a camera calibration: no {name} in it")
    return content[name]


def _edge(content: dict[str, Any], name: str, path: Path) -> int:
    value = _field(content, name, path)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= MAX_EDGE:
        raise DataError(f"{path}: not a camera calibration: {name} is {_shown(value)}")
    return value


def _shown(value: Any) -> str:
    """Lists by their name alone: with YAML's aliases a few lines can hold more than any memory."""
    if isinstance(value, int) and abs(value) >= 10**20:
        return "a number of many digits"
    is_short = value is None or isinstance(value, str | int | float)
    return str(value)[:40] if is_short else f"a {type(value).__name__}"
