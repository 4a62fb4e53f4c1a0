"""Sensors beside the camera's images.

In: frames of several cameras, and messages of odometry, IMU, laser or depth camera, already as arrays. Out:
synchronized frame sets and constrained cameras of a rig, poses by odometry, the direction of gravity, and scale
observations by sparse depth.
"""

from .frame_sets import FrameSynchronizer, Matched
from .gravity import Gravity, GravityConfig, GravityError, GravitySource, UpFilter, level_from_cam
from .odometry import CameraInOdom, OdometryConfig, OdometryError, OdometryHistory, OdometryPose, interpolate, inverse
from .rig import Rig, RigFit, RigReport
from .rig_config import RigConfig
from .sparse_depth import DepthError, LateDepthError, SparseDepth, SparseDepthConfig

__all__ = [
    "CameraInOdom",
    "DepthError",
    "FrameSynchronizer",
    "Gravity",
    "GravityConfig",
    "GravityError",
    "GravitySource",
    "LateDepthError",
    "Matched",
    "OdometryConfig",
    "OdometryError",
    "OdometryHistory",
    "OdometryPose",
    "Rig",
    "RigConfig",
    "RigFit",
    "RigReport",
    "SparseDepth",
    "SparseDepthConfig",
    "UpFilter",
    "interpolate",
    "inverse",
    "level_from_cam",
]
