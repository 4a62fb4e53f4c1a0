"""Keyframes.

In: frames of one camera or a rig. Out: keyframes with their images in a buffer, from which each window takes its views.
Unusable frames are refused with a reason, and frames that show nothing new are passed over.
"""

from .admission import Admission, Opened, reason_for_a_new_map
from .gate import KeyframeGate, Thumbnail
from .window_buffer import WindowBuffer

__all__ = ["Admission", "KeyframeGate", "Opened", "Thumbnail", "WindowBuffer", "reason_for_a_new_map"]
