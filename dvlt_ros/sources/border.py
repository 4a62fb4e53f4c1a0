"""The border between what libraries raise and what this package says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import DataError, DvltError


@contextmanager
def border(what: object, doing: str) -> Iterator[None]:
    """Whatever a library raises on somebody's file becomes one DataError: the thing, what was tried, the cause.

    Lists of the exceptions that a parser may raise are never complete: damaged files bring out MemoryError,
    OverflowError, struct.error, KeyError and more. Interrupts pass.
    """
    try:
        yield
    except (DvltError, ImportError):
        raise
    except Exception as error:
        raise DataError(f"{what}: {doing}: {cause_of(error)}") from error


def cause_of(error: BaseException) -> str:
    """One line: the system's own words of an OSError, else the exception's name and first line."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {first[:200]}" if first else type(error).__name__
