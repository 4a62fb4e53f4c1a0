"""Pixels of every kind as RGB or metres: one set of rules for recordings and for the node. Needs no ROS."""

from .decoder import ImageDecoder, colour_image, depth_image
from .view import View

__all__ = ["ImageDecoder", "View", "colour_image", "depth_image"]
