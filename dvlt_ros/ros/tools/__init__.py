"""The demo, a player that stands in for a camera, and a subscriber that checks what the node publishes."""
