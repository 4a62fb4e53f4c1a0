"""What training minimises: the published losses, and matching as an aid."""

from .config import LossConfig
from .published import LossTerms, PredictionLike, Targets, compute_losses

__all__ = ["LossConfig", "LossTerms", "PredictionLike", "Targets", "compute_losses"]
