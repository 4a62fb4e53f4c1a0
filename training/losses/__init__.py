"""What training minimises: the published losses, and matching as an aid."""

from .published import LossConfig, LossTerms, PredictionLike, Targets, compute_losses

__all__ = ["LossConfig", "LossTerms", "PredictionLike", "Targets", "compute_losses"]
