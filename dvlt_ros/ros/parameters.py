"""ROS parameters from the dataclasses that own their defaults, and back."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import Field, fields, replace
from difflib import get_close_matches
from typing import Any, TypeVar

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter

from ..errors import ConfigError
from ..parameter_names import renamed
from ..parameters import choices_of, from_groups, group_types, groups_of, held, meant, parameter_name, parameters_of
from .config import Settings

Config = TypeVar("Config", bound=Any)
OF_OTHERS = ("qos_overrides.", "diagnostic_updater.")  # declared elsewhere, later or never


class Parameters:
    """The node's parameters, each declared from and checked by its dataclass field.

    ``is_live``: whether the node is configured; then only live parameters may change. ``changed`` gets the settings
    before a change is accepted, and refuses it by raising ConfigError.
    """

    def __init__(self, node: Node, is_live: Callable[[], bool], changed: Callable[[Settings], None]) -> None:
        """Raises ConfigError: a value that is refused, or an old name of a parameter."""
        if reason := renamed(given_names(node)):
            raise ConfigError(reason)
        self._is_live = is_live
        self._changed = changed
        self.current = from_groups(Settings, {kind: declare(node, kind) for kind in group_types(Settings)})
        node.add_on_set_parameters_callback(self._on_set)

    def _on_set(self, parameters: Iterable[Parameter]) -> SetParametersResult:
        values = {parameter.name: parameter.value for parameter in parameters}
        try:
            groups = {kind: self._updated(config, values) for kind, config in groups_of(self.current).items()}
            settings = from_groups(Settings, groups)
            self._changed(settings)
        except ConfigError as error:
            return SetParametersResult(successful=False, reason=str(error))
        self.current = settings
        return SetParametersResult(successful=True)

    def _updated(self, config: Config, values: dict[str, Any]) -> Config:
        known = {parameter_name(config, field): field for field in fields(config)}
        hints = held(type(config))
        own = {
            name: _converted(known[name], hints[known[name].name], values[name])
            for name in values.keys() & known.keys()
        }
        own = {name: value for name, value in own.items() if value != getattr(config, known[name].name)}
        if self._is_live() and (fixed := [name for name in own if not known[name].metadata["live"]]):
            raise ConfigError(f"{', '.join(sorted(fixed))} can only change before the node is configured")
        return replace(config, **{known[name].name: value for name, value in own.items()})


def given_names(node: Node) -> Collection[str]:
    """Names of the parameters from params files, command line and launch file."""
    overrides: dict[str, Parameter] = node._parameter_overrides  # rclpy has no public access to undeclared ones
    return overrides.keys()


def unknown_parameters(node: Node) -> Iterator[str]:
    """A sentence for each given parameter that is not declared; most are misspelt."""
    names = [name for name, _, _ in parameters_of(Settings)]
    for name in sorted(given_names(node)):
        if node.has_parameter(name) or name.startswith(OF_OTHERS):
            continue
        close = get_close_matches(name, names, 1) or [known for known in names if known.split(".")[-1] == name]
        yield f"there is no parameter {name}" + (f", did you mean {close[0]}?" if close else "")


def descriptor(field: Field[Any], config_type: type) -> ParameterDescriptor:
    """Description, range and choices of a parameter."""
    text = field.metadata["description"]
    if choices := choices_of(held(config_type)[field.name]):
        text += f" (one of {', '.join(map(str, choices))})"
    if field.metadata["live"]:
        text += "; may change at any time"
    if field.metadata["expert"]:
        text += "; for experts"
    # Numbers may be written without a decimal point, an empty list has no type, and choices may be words and numbers;
    # the dataclass checks it.
    is_mixed = len({type(choice) for choice in choices}) > 1
    found = ParameterDescriptor(description=text, dynamic_typing=isinstance(field.default, float | tuple) or is_mixed)
    low, high = field.metadata["low"], field.metadata["high"]
    if low is not None and isinstance(field.default, float):
        found.floating_point_range = [FloatingPointRange(from_value=float(low), to_value=float(high))]
    elif low is not None:
        found.integer_range = [IntegerRange(from_value=int(low), to_value=int(high), step=1)]
    return found


def declare(node: Node, config_type: type[Config]) -> Config:
    """Declares the fields of a dataclass as parameters and reads them.

    Raises:
        ConfigError: the dataclass refuses a value.
    """
    names = {field.name: parameter_name(config_type, field) for field in fields(config_type)}
    for field in fields(config_type):
        node.declare_parameter(names[field.name], field.default, descriptor(field, config_type))
    hints = held(config_type)
    values = {
        f.name: _converted(f, hints[f.name], node.get_parameter(names[f.name]).value) for f in fields(config_type)
    }
    return config_type(**values)


def _converted(field: Field[Any], hint: Any, value: Any) -> Any:
    if choices := choices_of(hint):
        return meant(value, choices)
    if isinstance(field.default, tuple) and isinstance(value, list | tuple):
        return tuple(value)
    return float(value) if isinstance(field.default, float) and type(value) is int else value
