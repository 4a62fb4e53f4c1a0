"""Maps, paths, depth images and pages of pictures as files that other tools read."""

from .files import write_depth, write_pcd, write_ply, write_tum
from .mcap import McapRecording
from .page import Shown, write_page

__all__ = ["McapRecording", "Shown", "write_depth", "write_page", "write_pcd", "write_ply", "write_tum"]
