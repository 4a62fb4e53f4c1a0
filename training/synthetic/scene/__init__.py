"""What stands in a synthetic scene and where cameras move: boxes, furniture, rooms, paths, and rays that hit them."""
