"""Checkpoints that ship with the package."""

from pathlib import Path

EMBEDDED = "embedded"  # what `EMBEDDED_WEIGHTS` are called wherever a checkpoint is asked for
EMBEDDED_WEIGHTS = Path(__file__).parent / "dvlt-nano"
