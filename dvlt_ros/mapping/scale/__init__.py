"""The map's scale in metres.

In: poses or depths of a window, and the same quantity measured by odometry, by a rig's baseline or by sparse depth.
Out: observations of one window (`ScaleObservation`), and the scale over all windows with its state (`ScaleStatus`).
"""

from .estimator import MetricScaleEstimator, ScaleConfig, ScaleState, ScaleStatus, rescale_about
from .observations import (
    NoObservation,
    ScaleObservation,
    ScaleSource,
    scale_from_baseline,
    scale_from_depth,
    scale_from_odometry,
)

__all__ = [
    "MetricScaleEstimator",
    "NoObservation",
    "ScaleConfig",
    "ScaleObservation",
    "ScaleSource",
    "ScaleState",
    "ScaleStatus",
    "rescale_about",
    "scale_from_baseline",
    "scale_from_depth",
    "scale_from_odometry",
]
