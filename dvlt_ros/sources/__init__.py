"""Recorded images as a stream: folders, videos and bags, without ROS."""

from .images import Source, SourceImage
from .open import open_rig, open_source

__all__ = ["Source", "SourceImage", "open_rig", "open_source"]
