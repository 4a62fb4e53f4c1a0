"""Transforms between frames as messages name them: TF may have a prefix before them."""

from __future__ import annotations

import numpy as np

from ...sensing.measured_depth import LookUp
from ..outputs.frame_outputs import prefixed
from .tf_tree import TfTree


def look_up_with(prefix: str, tree: TfTree) -> LookUp:
    """target_from_source (4, 4) at a stamp; it raises TreeError."""

    def look_up(target: str, source: str, stamp_ns: int) -> np.ndarray:
        return tree.look_up(prefixed(prefix, target), prefixed(prefix, source), stamp_ns)

    return look_up
