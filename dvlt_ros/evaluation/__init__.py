"""Errors of trajectories and maps. Needs evo, an extra: no other package imports this one."""
