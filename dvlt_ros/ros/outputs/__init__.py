"""Publishers of depth, points, poses, maps and TF, and their thread."""
