"""The part of the real cv_bridge that dvlt_ros uses."""

from .core import CvBridge as CvBridge
from .encodings import CvBridgeError as CvBridgeError
