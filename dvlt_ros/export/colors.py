"""One colour map for depth and one for confidence in all pictures, pages and recordings, and what their ends mean."""

from typing import Final

DEPTH_COLORS: Final = "turbo"
CONFIDENCE_COLORS: Final = "viridis"
DEPTH_LEGEND = "blue is near, red is far"
CONFIDENCE_LEGEND = "violet is doubtful, yellow is certain"
