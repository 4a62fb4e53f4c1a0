"""Loop closure detection.

In: the anchors of each window. Out: submaps, and verified loop closures between them (`LoopClosure`): the place index
finds candidates by their place descriptors, and a joint window of both submaps verifies them.
"""

from .config import LoopDetectorConfig, LoopMode, LoopsConfig, LoopVerificationConfig, PlaceIndexConfig
from .detector import LoopDetector
from .place_index import Candidate, Place, PlaceIndex
from .verification import UnverifiedLoop, verify

__all__ = [
    "Candidate",
    "LoopDetector",
    "LoopDetectorConfig",
    "LoopMode",
    "LoopVerificationConfig",
    "LoopsConfig",
    "Place",
    "PlaceIndex",
    "PlaceIndexConfig",
    "UnverifiedLoop",
    "verify",
]
