"""Loop closure detection.

In: the anchors of each window. Out: submaps, and verified loop closures between them (`LoopClosure`): the place index
finds candidates by their place descriptors, and a joint window of both submaps verifies them.
"""

from .detector import LoopDetector, LoopDetectorConfig, LoopMode
from .place_index import Candidate, Place, PlaceIndex, PlaceIndexConfig
from .verification import LoopVerificationConfig, UnverifiedLoop, verify

__all__ = [
    "Candidate",
    "LoopDetector",
    "LoopDetectorConfig",
    "LoopMode",
    "LoopVerificationConfig",
    "Place",
    "PlaceIndex",
    "PlaceIndexConfig",
    "UnverifiedLoop",
    "verify",
]
