"""Configuration as frozen dataclasses of `parameter` fields: default, description, range and choices in one place.

A dataclass of fields has a ``GROUP``: its parameters are called ``group.field``. Several dataclasses may share one
group, each read by one package. Dataclasses that hold others, such as `MapperConfig`, have none.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import Field, field, fields
from functools import cache
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from .errors import ConfigError

T = TypeVar("T")


def parameter(
    default: Any, description: str, low: float | None = None, high: float | None = None, *,
    live: bool = False, expert: bool = False,
) -> Any:  # fmt: skip
    """A dataclass field with its documentation and range.

    Args:
        live: it may change while frames arrive.
        expert: rarely needed; documentation lists it after the others.
    """
    metadata = {"description": description, "low": low, "high": high, "live": live, "expert": expert}
    return field(default=default, metadata=metadata)


def group(kind: type[T]) -> T:
    """A field of a configuration that holds groups, with the defaults of the group."""
    found: T = field(default_factory=kind)
    return found


def parameter_name(config: Any, entry: Field[Any]) -> str:
    """``group.field``, for a dataclass or one of its objects; without a group the field's name alone."""
    group = getattr(config, "GROUP", "")
    return f"{group}.{entry.name}" if group else entry.name


def group_types(kind: type[Any]) -> list[type[Any]]:
    """The dataclasses of parameters in this one, each once, in order; itself if it has a group."""
    if hasattr(kind, "GROUP"):
        return [kind]
    found = (part for hint in held(kind).values() for part in group_types(hint))
    return list(dict.fromkeys(found))


def groups_of(config: Any) -> dict[type[Any], Any]:
    """The objects of `group_types` that a configuration holds."""
    if hasattr(config, "GROUP"):
        return {type(config): config}
    return {kind: group for name in held(type(config)) for kind, group in groups_of(getattr(config, name)).items()}


def from_groups(kind: type[T], groups: Mapping[type[Any], Any]) -> T:
    """A configuration of the objects of its `group_types`.

    Raises:
        ConfigError: the groups do not fit together.
    """
    if kind in groups:
        found: T = groups[kind]
        return found
    return kind(**{name: from_groups(hint, groups) for name, hint in held(kind).items()})


def held(kind: type[Any]) -> dict[str, type[Any]]:
    """Fields of a dataclass and their types."""
    hints = _hints(kind)  # type: ignore[arg-type]  # mypy takes no class for hashable
    return {entry.name: hints[entry.name] for entry in fields(kind)}


@cache  # a node asks some thousand times while it starts
def _hints(kind: Hashable) -> dict[str, Any]:
    return get_type_hints(kind)


def parameters_of(kind: type[Any]) -> Iterator[tuple[str, type[Any], Field[Any]]]:
    """Name, dataclass and field of every parameter of a configuration."""
    for group in group_types(kind):
        for entry in fields(group):
            yield parameter_name(group, entry), group, entry


def choices_of(hint: Any) -> tuple[Any, ...]:
    """Values of a `Literal`; empty for other types."""
    return get_args(hint) if get_origin(hint) is Literal else ()


def meant(value: Any, choices: tuple[Any, ...]) -> Any:
    """The choice that a value spells, as 90 is spelt '90' on command lines; the value itself if it is none of them."""
    return next((choice for choice in choices if str(choice) == str(value)), value)


def check_parameters(config: Any) -> None:
    """Types, ranges and choices of a dataclass of `parameter` fields.

    Raises:
        ConfigError: it names the parameter, its condition and its value.
    """
    hints = held(type(config))
    for entry in fields(config):
        name, value, hint = parameter_name(config, entry), getattr(config, entry.name), hints[entry.name]
        if hint == tuple[str, ...]:
            if not isinstance(value, tuple) or not all(isinstance(part, str) for part in value):
                raise ConfigError(f"{name} must be a list of strings, got {value!r}")
            continue
        if choices := choices_of(hint):
            if value not in choices or isinstance(value, bool):
                raise ConfigError(f"{name} must be one of {choices}, got {value!r}")
            continue
        fits = isinstance(value, int | float) and not isinstance(value, bool) if hint is float else type(value) is hint
        if not fits:
            raise ConfigError(f"{name} must be {hint.__name__}, got {value!r}")
        low, high = entry.metadata.get("low"), entry.metadata.get("high")
        if low is not None and not value >= low:
            raise ConfigError(f"{name} must be at least {low}, got {value}")
        if high is not None and not value <= high:
            raise ConfigError(f"{name} must be at most {high}, got {value}")
