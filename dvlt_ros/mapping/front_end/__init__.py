"""Keyframes in, registered windows out.

In: frames. Out: one `WindowResult` per window: its frames in the visual map, whose unit is arbitrary, the registration,
the budget's plan, and a new submap if the camera has moved far enough. `FrontEnd` is its one class.
"""

from .front_end import FrontEnd
from .window_result import NO_SUBMAP, WindowResult

__all__ = ["NO_SUBMAP", "FrontEnd", "WindowResult"]
