"""Fast inference with the results of the plain model.

In: a `Dvlt` and a precision. Out: `FastDvlt`, with the same stages. Weights are packed once, tables are computed once
per size, and on a GPU the step of the loop is replayed from a CUDA graph.
"""

from .dvlt import FastDvlt
from .linear import Precision

__all__ = ["FastDvlt", "Precision"]
