"""Places the views of a window in the map: constrains a rig's cameras, registers the window, drops unusable views."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ...health import Health
from ..data.counters import Counters
from ..data.frames import RegistrationReport
from ..data.views import Anchor, View, Window
from ..inference.borders import without_borders, without_masked
from ..inference.patch_artifacts import without_patch_artifacts
from ..inference.prediction import WindowPrediction
from ..sensors.gravity import Gravity, GravityError
from ..sensors.rig import Rig, RigFit, RigReport
from .config import ConfidenceConfig, MasksConfig, RegistrationConfig
from .dynamics import without_dynamics
from .placement import MAP_FROM_OPTICAL, MapFrame, anchor_views, without_the_blind

NO_CAMERA = "no camera explains their rays"
NOTHING_SEEN = "too few pixels reach confidence.min; is the camera covered?"


@dataclass(frozen=True, eq=False)
class PlacedViews:
    """The views of a window that could be placed in the map."""

    new: tuple[Anchor, ...]  # oldest first
    registration: RegistrationReport
    rig: RigReport | None = None  # None with one camera
    in_map: tuple[Anchor, ...] = ()  # all views, the shared ones first


class WindowPlacer:
    """Owns the current map's frame."""

    def __init__(
        self, rig: Rig | None, gravity: Gravity | None, counters: Counters, notify: Callable[[str], None]
    ) -> None:
        """``rig`` is None with one camera; without ``gravity`` a map gets its axes from the camera or rig."""
        self.problem = ""  # why no new frame of the latest window could be placed; empty: one could
        self._rig = rig
        self._gravity = gravity
        self._counters = counters
        self._notify = notify
        self._map = MapFrame()

    @property
    def map_id(self) -> int:
        """Of the current map."""
        return self._map.map_id

    def health(self) -> Health:
        return Health.unless(f"the map waits: {self.problem}" if self.problem else "")

    def restart(self) -> None:
        """Ends the map: the next window begins another one."""
        self._map.restart()
        self.problem = ""

    def place(
        self,
        window: Window,
        shared: Sequence[Anchor],
        prediction: WindowPrediction,
        confidence: ConfidenceConfig,
        joining: RegistrationConfig,
        masks: MasksConfig,
    ) -> PlacedViews:
        """Places the window's views, or says in ``problem`` why that is not possible.

        Args:
            shared: the shared views that the prediction holds, before the new ones.
        """
        views = [*(anchor.view for anchor in shared), *window.new]
        pictures = [view.picture for view in views]
        prediction = without_patch_artifacts(prediction, pictures)
        prediction = without_masked(without_borders(prediction, pictures), pictures)
        prediction, self.problem = self._without_the_lost(prediction, len(shared), confidence)
        if self.problem:
            return PlacedViews((), RegistrationReport("refused", None, self.problem))
        prediction, fit = self._constrained(views, prediction)
        try:
            map_from_window, registration = self._map.place(
                prediction, shared, joining.max_residual, lambda index: self._axes(views[index])
            )
        except GravityError as error:
            self.problem = f"a new map cannot begin before gravity is known: {error}"
            self._counters.add(dropped=int(np.isfinite(prediction.window_from_cam[len(shared) :, 0, 0]).sum()))
            self._notify(self.problem)
            return PlacedViews((), RegistrationReport("refused", None, self.problem))
        if registration.state == "refused":
            self._notify(f"a new map begins: a window does not join it, {registration.reason}")
        placed = anchor_views(views, prediction, map_from_window)
        num_old = sum(anchor.view not in window.new for anchor in placed)
        placed = without_dynamics(placed, num_old, masks, prediction.mapping)
        new = tuple(anchor for anchor in placed if anchor.view in window.new)
        known = window.shared if registration.state == "joined" else [a for a in placed if a.view not in window.new]
        rig = None if fit is None else RigReport(fit.scale_in(map_from_window), fit.residual_deg)
        return PlacedViews(new, registration, rig, (*known, *new))

    def _without_the_lost(
        self, prediction: WindowPrediction, num_shared: int, config: ConfidenceConfig
    ) -> tuple[WindowPrediction, str]:
        """Drops new views without a camera or without trusted depth; and why, if none is left."""
        seeing = without_the_blind(prediction, num_shared, config)
        posed, placed = (np.isfinite(p.window_from_cam[num_shared:]).all(axis=(-2, -1)) for p in (prediction, seeing))
        reasons = {NO_CAMERA: ~posed, NOTHING_SEEN: posed & ~placed}
        for reason, lost in reasons.items():
            if lost.any():
                self._counters.add(dropped=int(lost.sum()))
                self._notify(f"{lost.sum()} of {len(lost)} frames dropped: {reason}")
        return seeing, "" if placed.any() else next(reason for reason, lost in reasons.items() if lost.any())

    def _constrained(
        self, views: Sequence[View], prediction: WindowPrediction
    ) -> tuple[WindowPrediction, RigFit | None]:
        """Replaces the cameras of a rig by the nearest ones that the mounts allow."""
        if self._rig is None:
            return prediction, None
        turns = np.stack([view.turn.turned_from_cam for view in views])
        fit = self._rig.fit(views, _turned(prediction.window_from_cam, turns))
        return replace(prediction, window_from_cam=_turned(fit.window_from_cam, turns.swapaxes(-2, -1))), fit

    def _axes(self, view: View) -> np.ndarray:
        """map_from_turned rotation (3, 3) of a map that begins at this view. Raises GravityError: not known yet."""
        camera = view.frame.camera
        map_from_cam = MAP_FROM_OPTICAL if self._rig is None else self._rig.base_from_cam(camera)[:3, :3]
        if self._gravity is not None:
            map_from_cam = self._gravity.map_from_cam(view.frame, map_from_cam)
        return map_from_cam @ view.turn.turned_from_cam.T


def _turned(poses: np.ndarray, rotations: np.ndarray) -> np.ndarray:
    """Poses (N, 4, 4) of cameras that are turned by rotations (N, 3, 3) in their own frames."""
    turned = poses.copy()
    turned[:, :3, :3] = poses[:, :3, :3] @ rotations
    return turned
