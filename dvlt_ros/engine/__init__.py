"""Frames in, reconstructions out: windows, K, caches, the map. Knows no ROS."""
