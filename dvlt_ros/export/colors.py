"""One colour map for depth and one for confidence in all pictures, pages and recordings, and what their ends mean."""

DEPTH_COLORS = "turbo"
CONFIDENCE_COLORS = "viridis"
DEPTH_LEGEND = "blue is near, red is far"
CONFIDENCE_LEGEND = "violet is doubtful, yellow is certain"
