"""The node's parameters: settings from them, and changes while it runs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import fields, replace
from difflib import get_close_matches
from typing import Any, TypeVar

from rcl_interfaces.msg import SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter

from ..errors import ConfigError
from ..parameter_names import renamed
from ..parameters import from_groups, group_types, groups_of, held, parameter_name, parameters_of
from .config import Settings
from .declaring import converted, declare

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
        self._names = {name for name, _, _ in parameters_of(Settings)}
        self.current = from_groups(Settings, {kind: declare(node, kind) for kind in group_types(Settings)})
        node.add_on_set_parameters_callback(self._on_set)

    def _on_set(self, parameters: Iterable[Parameter]) -> SetParametersResult:
        values = {parameter.name: parameter.value for parameter in parameters if parameter.name in self._names}
        if not values:  # of others: each publisher declares its QoS
            return SetParametersResult(successful=True)
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
            name: converted(known[name], hints[known[name].name], values[name]) for name in values.keys() & known.keys()
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
