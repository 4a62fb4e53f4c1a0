"""Topics out: depth, points, poses, maps, TF, and the thread that publishes them."""
