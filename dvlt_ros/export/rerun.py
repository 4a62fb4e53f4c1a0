"""Rerun (https://rerun.io): cameras, depth, confidence and points over time, in a file or in a viewer.

Needs the extra `rerun`; nothing of it is imported before a recording begins.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..errors import ConfigError, InputError
from .colors import CONFIDENCE_COLORS, CONFIDENCE_LEGEND, DEPTH_COLORS, DEPTH_LEGEND

INSTALL = "pip install 'rerun-sdk>=0.41,<0.42'"
SPAWN = "spawn"
ADDRESS = re.compile(r"(rerun\+)?https?://\S+|rerun://\S+|[\w.-]+:\d{1,5}")
JPEG_QUALITY = 85
OUTLIERS = 0.02  # of a picture's values at either end, that have the first or the last colour
FRUSTUM_DEPTH = 0.05  # of the median depth
STAMP, VIEW = "stamp", "view"  # the timelines
LEGENDS = {"depth": DEPTH_LEGEND, "confidence": CONFIDENCE_LEGEND}
Axes = Literal["z_up", "optical"]  # of a space: REP-103's map, or those of its first camera


@dataclass(frozen=True, eq=False)
class LoggedView:
    """One picture with what was found in it; all maps have its pixels."""

    rgb: np.ndarray  # (H, W, 3) uint8
    depth: np.ndarray  # (H, W) float32, along the optical axis, NaN where not trusted
    confidence: np.ndarray | None  # (H, W) float32; None: there is none, as for a truth
    intrinsics: np.ndarray  # (3, 3), pixels, pixel (0, 0) centred at (0.5, 0.5)
    world_from_cam: np.ndarray  # (4, 4), optical axes


def check_target(target: str) -> None:
    """Raises ConfigError for what is neither `spawn`, nor a file.rrd, nor the address of a viewer."""
    if target != SPAWN and not target.endswith(".rrd") and not ADDRESS.fullmatch(target):
        raise ConfigError(f"rerun must be empty, 'spawn', host:port of a viewer or a file.rrd, got {target!r}")


class RerunRecording:
    """A context that a viewer, or a file, gets its data from. Entities are paths such as ``map_0/camera``."""

    def __init__(self, target: str | Path, about: str) -> None:
        """
        Args:
            target: a file.rrd, `spawn` for a viewer on this machine, or the address of one.
            about: a sentence on what is seen, units included; it stands beside the views, with the colours' meaning.

        Raises:
            ConfigError: rerun is not installed, or ``target`` is none of these.
            InputError: the file cannot be written, or the viewer not started.
        """
        check_target(str(target))
        try:
            import rerun
        except ImportError as error:
            raise ConfigError(f"Rerun is not installed: {INSTALL}") from error
        self._rr = rerun
        self._stream = rerun.RecordingStream("dvlt_ros")
        try:
            self._open(str(target))
        except (RuntimeError, OSError, ValueError) as error:  # ValueError: a path that is no UTF-8
            raise InputError(f"{target}: {error}") from error
        colors = "\n".join(f"* {name}: {legend}" for name, legend in LEGENDS.items())
        text = f"{about}\n\nThe colours of each picture are spread over its own values:\n\n{colors}\n"
        self._stream.log("about", rerun.TextDocument(text, media_type="text/markdown"), static=True)

    def _open(self, target: str) -> None:
        if target.endswith(".rrd"):
            self._stream.save(Path(target).expanduser())
        elif target == SPAWN:
            self._stream.spawn()
        else:
            self._stream.connect_grpc(target if "://" in target else f"rerun+http://{target}/proxy")

    def __enter__(self) -> RerunRecording:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def set_stamp(self, stamp_ns: int) -> None:
        """What follows was seen then."""
        self._stream.set_time(STAMP, timestamp=np.datetime64(stamp_ns, "ns"))

    def set_view(self, index: int) -> None:
        """What follows belongs to the view of that index."""
        self._stream.set_time(VIEW, sequence=index)

    def begin_space(self, entity: str, axes: Axes) -> None:
        """The root of one world; what lies below another root has nothing to do with its coordinates."""
        coordinates = self._rr.ViewCoordinates
        kind = coordinates.FLU if axes == "z_up" else coordinates.RDF
        self._stream.log(entity, kind, static=True)

    def log_camera(self, entity: str, view: LoggedView) -> None:
        """Pose, frustum, picture, depth and confidence."""
        rr, height, width = self._rr, *view.depth.shape
        if view.rgb.shape[:2] != view.depth.shape:
            raise InputError(f"{entity}: a picture of {view.rgb.shape[:2]} beside depth of {view.depth.shape}")
        pose = rr.Transform3D(translation=view.world_from_cam[:3, 3], mat3x3=view.world_from_cam[:3, :3])
        known = view.depth[np.isfinite(view.depth)]
        pinhole = rr.Pinhole(
            image_from_camera=view.intrinsics, resolution=[width, height], camera_xyz=rr.ViewCoordinates.RDF,
            image_plane_distance=FRUSTUM_DEPTH * float(np.median(known)) if known.size else None,
        )  # fmt: skip
        self._stream.log(entity, pose, pinhole)
        self._stream.log(f"{entity}/rgb", rr.EncodedImage(contents=_jpeg(view.rgb), media_type="image/jpeg"))
        depth = np.nan_to_num(view.depth, nan=0.0)  # Rerun's depth is invalid at 0
        self._stream.log(f"{entity}/depth", self._colored(depth, DEPTH_COLORS, known))
        if view.confidence is not None:
            # Rerun has colours for depth only.
            self._stream.log(f"{entity}/confidence", self._colored(view.confidence, CONFIDENCE_COLORS, view.confidence))

    def _colored(self, values: np.ndarray, colors: Literal["turbo", "viridis"], known: np.ndarray) -> Any:
        """A map (H, W) whose colours go from the lowest to the highest of the ``known`` values, but for `OUTLIERS`."""
        span = np.quantile(known, [OUTLIERS, 1 - OUTLIERS]).tolist() if known.size else None
        return self._rr.DepthImage(values.astype(np.float32), meter=1.0, colormap=colors, depth_range=span)

    def log_points(self, entity: str, points: np.ndarray, colors: np.ndarray) -> None:
        """Points (N, 3) of the space's coordinates with colours (N, 3) uint8."""
        self._stream.log(entity, self._rr.Points3D(points, colors=colors))

    def log_line(self, entity: str, positions: np.ndarray) -> None:
        """Positions (P, 3) of a path, or of a step of one."""
        self._stream.log(entity, self._rr.LineStrips3D([positions]))

    def show(self, spaces: Iterable[str], cameras: Sequence[str], accumulate: bool = False) -> None:
        """How a viewer begins: a 3D view per space, and the pictures of the first of all cameras beside it.

        ``accumulate``: points and steps stay in sight as time goes on.
        """
        import rerun.blueprint as rrb

        rr = self._rr
        until_now = rr.VisibleTimeRange(
            STAMP, start=rr.TimeRangeBoundary.infinite(), end=rr.TimeRangeBoundary.cursor_relative()
        )
        names = ["depth", "confidence", *(["rgb"] if accumulate else [])]
        hidden = [f"- /{camera}/{name}" for camera in cameras for name in names]  # the points are there already
        scenes = [
            rrb.Spatial3DView(
                origin=space, name=space, contents=["+ $origin/**", *hidden],
                time_ranges=[until_now] if accumulate else None,
            )
            for space in spaces
        ]  # fmt: skip
        pictures = [
            rrb.Spatial2DView(
                origin=cameras[0],
                name=f"{name}: {LEGENDS[name]}" if name in LEGENDS else name,
                contents=[f"+ $origin/{name}"],
            )
            for name in ("rgb", "depth", "confidence")
        ]
        side = rrb.Vertical(*pictures, rrb.TextDocumentView(origin="about", name="about"))
        layout = rrb.Horizontal(rrb.Tabs(*scenes), side, column_shares=[3, 1])
        self._stream.send_blueprint(rrb.Blueprint(layout, collapse_panels=True))

    def flush(self, timeout_s: float) -> None:
        """Raises InputError: the viewer did not take what it was sent, or is gone."""
        try:
            self._stream.flush(timeout_sec=timeout_s)
        except (RuntimeError, TimeoutError) as error:
            raise InputError(str(error)) from error

    def close(self) -> None:
        """What was logged is in the file, or on its way; waits for a viewer that does not answer, but not for ever."""
        self._stream.disconnect()


def _jpeg(rgb: np.ndarray) -> bytes:
    import cv2

    quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    encoded: Any = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), quality)[1]
    return bytes(encoded)
