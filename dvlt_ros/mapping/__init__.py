"""Mapping: frames in, map updates out. `Mapper` in mapper.py is the one way in; its packages are the pipeline's stages.

In: `Frame`s of one camera or several, and what `Sensors` know beside them. Out: `MapUpdate`s, and the map as a
`MapSnapshot`. In the order of the pipeline: data, inference, budget, scale, sensors, keyframes, submaps, pose_graph,
loops, front_end, maps, outputs. A stage imports only stages that stand before it (test/package/test_architecture.py).
"""
