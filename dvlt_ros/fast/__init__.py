"""Inference as fast as the machine allows, with the answers of the plain model."""

from .dvlt import FastDvlt
from .linear import Precision

__all__ = ["FastDvlt", "Precision"]
