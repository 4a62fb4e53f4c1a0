"""ROS parameters from the dataclasses that own their defaults, and back."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import Field, fields, replace
from typing import Any, TypeVar, get_type_hints

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter

from ..errors import ConfigError
from ..parameters import choices_of
from .config import Settings

Config = TypeVar("Config", bound=Any)


class Parameters:
    """The node's parameters, each declared from its dataclass field, checked by it, and kept in step with it.

    ``is_live`` says whether frames come in: then only those may change that are marked for it. ``changed`` gets the
    settings before a change is accepted and refuses it by raising ConfigError.
    """

    def __init__(self, node: Node, is_live: Callable[[], bool], changed: Callable[[Settings], None]) -> None:
        self._is_live = is_live
        self._changed = changed
        self.current = Settings(**{name: declare(node, kind) for name, kind in get_type_hints(Settings).items()})
        node.add_on_set_parameters_callback(self._on_set)

    def _on_set(self, parameters: Iterable[Parameter]) -> SetParametersResult:
        values = {parameter.name: parameter.value for parameter in parameters}
        try:
            updated = {f.name: self._updated(getattr(self.current, f.name), values) for f in fields(Settings)}
            settings = Settings(**updated)
            self._changed(settings)
        except ConfigError as error:
            return SetParametersResult(successful=False, reason=str(error))
        self.current = settings
        return SetParametersResult(successful=True)

    def _updated(self, config: Config, values: dict[str, Any]) -> Config:
        known = {field.name: field for field in fields(config)}
        own = {name: _converted(known[name], values[name]) for name in values.keys() & known.keys()}
        own = {name: value for name, value in own.items() if value != getattr(config, name)}
        if self._is_live() and (fixed := [name for name in own if not known[name].metadata["live"]]):
            raise ConfigError(f"{', '.join(sorted(fixed))} can only change before the node is configured")
        return replace(config, **own)


def descriptor(field: Field[Any], config_type: type) -> ParameterDescriptor:
    """Description, range and choices of a parameter."""
    text = field.metadata["description"]
    if choices := choices_of(get_type_hints(config_type)[field.name]):
        text += f" (one of {', '.join(map(str, choices))})"
    if field.metadata["live"]:
        text += "; may change at any time"
    # Numbers may be written without a decimal point, and an empty list has no type; the dataclass checks it.
    found = ParameterDescriptor(description=text, dynamic_typing=isinstance(field.default, float | tuple))
    low, high = field.metadata["low"], field.metadata["high"]
    if low is not None and isinstance(field.default, float):
        found.floating_point_range = [FloatingPointRange(from_value=float(low), to_value=float(high))]
    elif low is not None:
        found.integer_range = [IntegerRange(from_value=int(low), to_value=int(high), step=1)]
    return found


def declare(node: Node, config_type: type[Config]) -> Config:
    """Declares the fields of a dataclass as parameters and reads them.

    Raises:
        ConfigError: a value that the dataclass refuses.
    """
    for field in fields(config_type):
        node.declare_parameter(field.name, field.default, descriptor(field, config_type))
    return config_type(**{f.name: _converted(f, node.get_parameter(f.name).value) for f in fields(config_type)})


def _converted(field: Field[Any], value: Any) -> Any:
    if isinstance(field.default, tuple) and isinstance(value, list | tuple):
        return tuple(value)
    return float(value) if isinstance(field.default, float) and type(value) is int else value
