"""Paths of several reference views that look at each other while the loop runs; an experiment, not on a robot."""
