"""Checkpoints that ship with the package."""

from pathlib import Path

EMBEDDED_WEIGHTS = Path(__file__).parent / "dvlt-nano"
