"""Configuration as frozen dataclasses of `parameter` fields: default, description, range and choices in one place."""

from __future__ import annotations

from dataclasses import field, fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

from .errors import ConfigError


def parameter(
    default: Any, description: str, low: float | None = None, high: float | None = None, *, live: bool = False
) -> Any:
    """A dataclass field with what a user needs to know; ``live``: may change while frames come in."""
    return field(default=default, metadata={"description": description, "low": low, "high": high, "live": live})


def choices_of(hint: Any) -> tuple[Any, ...]:
    """What a parameter of this type may be; empty: it is no `Literal`."""
    return get_args(hint) if get_origin(hint) is Literal else ()


def check_parameters(config: Any) -> None:
    """Types, ranges and choices of a dataclass of `parameter` fields.

    Raises:
        ConfigError: it names the field, what it must be and what it is.
    """
    hints = get_type_hints(type(config))
    for entry in fields(config):
        value, hint = getattr(config, entry.name), hints[entry.name]
        if hint == tuple[str, ...]:
            if not isinstance(value, tuple) or not all(isinstance(part, str) for part in value):
                raise ConfigError(f"{entry.name} must be a list of strings, got {value!r}")
            continue
        if choices := choices_of(hint):
            if value not in choices or isinstance(value, bool):
                raise ConfigError(f"{entry.name} must be one of {choices}, got {value!r}")
            continue
        fits = isinstance(value, int | float) and not isinstance(value, bool) if hint is float else type(value) is hint
        if not fits:
            raise ConfigError(f"{entry.name} must be {hint.__name__}, got {value!r}")
        low, high = entry.metadata.get("low"), entry.metadata.get("high")
        if low is not None and not value >= low:
            raise ConfigError(f"{entry.name} must be at least {low}, got {value}")
        if high is not None and not value <= high:
            raise ConfigError(f"{entry.name} must be at most {high}, got {value}")
