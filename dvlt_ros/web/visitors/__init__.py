"""What strangers may send and how: limits, and work that can be ended."""
