"""dvlt_ros: dense, consistent 3D maps from a robot's ordinary camera."""
