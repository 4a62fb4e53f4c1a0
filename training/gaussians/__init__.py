"""Gaussians of the network's points, a differentiable renderer for them, and heads that are trained by rendering."""
