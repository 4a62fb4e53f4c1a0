"""Writes a posed RGB-D sequence in nerfstudio's layout, all of it or nothing."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import cv2
import numpy as np

from dvlt_ros.errors import DataError
from dvlt_ros.imaging.files import write_pixels

from ..batches.augment import Frame
from .readers.nerfstudio import OPENGL_FROM_OPENCV

MILLIMETRE = 1e-3
MAX_DEPTH_MM = 65534  # 65535 means "invalid" to some readers


class SequenceWriter:
    """A folder with transforms.json, images/ and depth/ that appears under its name when the block ends well.

    Until then it grows beside it under a hidden name; an error removes it and leaves what was there before.
    """

    def __init__(self, path: str | Path, overwrite: bool = False, image_format: Literal["png", "jpg"] = "png") -> None:
        """
        Raises:
            DataError: the folder exists and may not be replaced, or is not one of these sequences.
        """
        self.path, self.image_format = Path(os.path.abspath(path)), image_format
        if self.path.exists() or self.path.is_symlink():
            if not overwrite:
                raise DataError(f"{path} exists: choose another name, or pass --overwrite")
            if not (self.path / "transforms.json").is_file() and (not self.path.is_dir() or any(self.path.iterdir())):
                raise DataError(f"{path} exists and is not a sequence (no transforms.json): it is not overwritten")
        self._frames: list[dict[str, Any]] = []
        self._cameras: list[dict[str, Any]] = []

    def __enter__(self) -> SequenceWriter:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._partial = Path(tempfile.mkdtemp(prefix=f".{self.path.name}.", dir=self.path.parent))
        for name in ("images", "depth"):
            (self._partial / name).mkdir()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            shutil.rmtree(self._partial, ignore_errors=True)

    def __len__(self) -> int:
        return len(self._frames)

    def add(self, frame: Frame, stamp_ns: int) -> None:
        """One frame; depth is rounded to millimetres, beyond 65.534 m it becomes invalid.

        Raises:
            DataError: the disk does not take it.
        """
        name = f"{len(self._frames):06d}"
        image, depth = f"images/{name}.{self.image_format}", f"depth/{name}.png"
        millimetres = np.round(np.nan_to_num(frame.depth, posinf=0, neginf=0).clip(min=0) / MILLIMETRE)
        millimetres[millimetres > MAX_DEPTH_MM] = 0
        self._write(image, cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR))
        self._write(depth, millimetres.astype(np.uint16))
        height, width = frame.image.shape[:2]
        (fx, _, cx), (_, fy, cy) = frame.intrinsics[:2].tolist()
        self._cameras.append({"fl_x": fx, "fl_y": fy, "cx": cx, "cy": cy, "w": width, "h": height})
        self._frames.append(
            {
                "file_path": image,
                "depth_file_path": depth,
                "transform_matrix": (frame.world_from_cam @ OPENGL_FROM_OPENCV).tolist(),
                "stamp_ns": stamp_ns,
            }
        )

    def add_json(self, name: str, content: dict[str, Any]) -> None:
        """A file beside transforms.json."""
        (self._partial / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

    def _write(self, name: str, pixels: np.ndarray) -> None:
        quality = [cv2.IMWRITE_JPEG_QUALITY, 95] if name.endswith("jpg") else [cv2.IMWRITE_PNG_COMPRESSION, 1]
        if not write_pixels(self._partial / name, pixels, quality):
            raise DataError(f"{self.path / name}: cannot be written")

    def _finish(self) -> None:
        meta: dict[str, Any] = {"camera_model": "PINHOLE", "depth_unit_scale_factor": MILLIMETRE}
        shared = all(camera == self._cameras[0] for camera in self._cameras)
        meta |= self._cameras[0] if shared and self._cameras else {}
        cameras = [{}] * len(self._frames) if shared else self._cameras
        meta["frames"] = [frame | camera for frame, camera in zip(self._frames, cameras, strict=True)]
        self.add_json("transforms.json", meta)
        self._partial.chmod(0o755)
        if self.path.exists():
            replaced = Path(tempfile.mkdtemp(prefix=f".{self.path.name}.", dir=self.path.parent))
            os.rename(self.path, replaced / "old")
            os.rename(self._partial, self.path)
            shutil.rmtree(replaced)
        else:
            os.rename(self._partial, self.path)
