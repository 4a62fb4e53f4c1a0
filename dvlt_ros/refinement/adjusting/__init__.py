"""Bundle adjustment: its starts, the problem, its solution, covariances and metres."""
