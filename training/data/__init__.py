"""Training data: one protocol, several sources."""
