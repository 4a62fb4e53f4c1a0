"""Trajectories and maps against the truth. Needs evo, an extra: nothing else of the package imports this room."""
