"""Configuration dataclasses as options of a command line: every field once, with the default that its class owns."""

from __future__ import annotations

import argparse
from collections.abc import Collection
from dataclasses import fields
from typing import Any, TypeVar, get_type_hints

from ..parameters import choices_of

T = TypeVar("T")


def add_options(
    parser: argparse.ArgumentParser, title: str, *configs: type[Any], without: Collection[str] = ()
) -> None:
    """``--like-this`` for every field of dataclasses of `parameter` fields, but those ``without``."""
    group = parser.add_argument_group(title)
    for config in configs:
        hints = get_type_hints(config)
        for field in fields(config):
            if field.name in without:
                continue
            choices, kind = choices_of(hints[field.name]) or None, type(field.default)
            group.add_argument(
                f"--{field.name.replace('_', '-')}", type=kind, default=field.default, choices=choices,
                metavar=None if choices else kind.__name__,
                help=f"{field.metadata['description'].replace('%', '%%')} (default: {field.default})",
            )  # fmt: skip


def from_options(config: type[T], args: argparse.Namespace) -> T:
    """Raises ConfigError: a value that cannot work."""
    names = [field.name for field in fields(config)]  # type: ignore[arg-type]
    return config(**{name: getattr(args, name) for name in names if hasattr(args, name)})
