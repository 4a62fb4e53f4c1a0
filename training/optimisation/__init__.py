"""What the optimizer changes, from where it starts, and what a run leaves on disk."""
