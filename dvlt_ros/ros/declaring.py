"""Dataclass fields as ROS parameters of any node: a camera that plays a file does not load the mapper for them."""

from __future__ import annotations

from dataclasses import Field, fields
from typing import Any, TypeVar

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node

from ..parameters import choices_of, held, meant, parameter_name

Config = TypeVar("Config", bound=Any)


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
    values = {f.name: converted(f, hints[f.name], node.get_parameter(names[f.name]).value) for f in fields(config_type)}
    return config_type(**values)


def converted(field: Field[Any], hint: Any, value: Any) -> Any:
    """A parameter's value as the field holds it."""
    if choices := choices_of(hint):
        return meant(value, choices)
    if isinstance(field.default, tuple) and isinstance(value, list | tuple):
        return tuple(value)
    return float(value) if isinstance(field.default, float) and type(value) is int else value
