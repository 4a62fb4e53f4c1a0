"""Which file a checkpoint is."""

from __future__ import annotations

import hashlib
from pathlib import Path

from ..errors import WeightsError


def digest(path: Path) -> str:
    """SHA-256 of a file; raises WeightsError: it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise WeightsError(f"{path}: {error.strerror}") from error
