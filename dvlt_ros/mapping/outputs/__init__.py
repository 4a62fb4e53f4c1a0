"""Output of reconstructions.

In: a `Reconstruction`. Out: images, depth and points at the output size, as ROS messages and files need them, and those
points that are obstacles.
"""

from .obstacles import obstacle_points
from .rendering import POINT, POINT_FIELDS, RenderedFrame, packed_rgb, point_records

__all__ = ["POINT", "POINT_FIELDS", "RenderedFrame", "obstacle_points", "packed_rgb", "point_records"]
