"""Checkpoints that ship with the package, by name; one of them is the default."""

from pathlib import Path

DEFAULT = "dvlt-small"
EMBEDDED = "embedded"  # another name of the default, wherever a checkpoint is asked for
SHIPPED = {path.name: path for path in sorted(Path(__file__).parent.glob("dvlt-*"))}
EMBEDDED_WEIGHTS = SHIPPED[DEFAULT]


def shipped(source: object) -> Path | None:
    """The directory of what ships under this name; None: nothing does. `./dvlt-nano` is a directory of one's own."""
    return SHIPPED.get(DEFAULT if source == EMBEDDED else str(source))
