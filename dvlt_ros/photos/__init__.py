"""Photos of one scene, which are not a stream: one size for all, and as few windows as the memory allows.

The command line, the web page and the Python API share it, so that the same photos give the same scene. Reading and
scaling photos (here) needs no PyTorch, choosing windows (`windows`) does.
"""

from .canvas import LONGEST_EDGE, Canvas, OnCanvas

__all__ = ["LONGEST_EDGE", "Canvas", "OnCanvas"]
