"""Names of coordinate frames, normalised once where they come in."""

from __future__ import annotations


def frame_name(name: str) -> str:
    """As TF 2 knows it: without the leading slashes of TF 1, and without spaces around it. Empty: none is told."""
    return name.strip().lstrip("/")
