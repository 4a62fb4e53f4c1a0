"""Surfaces: trusted depth fused in a sparse volume, and the mesh and the occupancy grid that are read from it.

In: `MapUpdate`. Out: `Mesh` and `Grid`. Nothing is fused until one of them is asked for.
"""
