"""Parameters as options of a command line: every one once, with the default that its dataclass owns."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Sequence
from dataclasses import fields
from functools import partial
from typing import Any, TypeVar

from ..parameter_names import RENAMED
from ..parameters import choices_of, from_groups, group_types, held, meant, parameter_name, parameters_of

T = TypeVar("T")


def add_options(parser: argparse.ArgumentParser, config: type[Any], without: Sequence[str] = ()) -> None:
    """``--group-field`` for every parameter but those ``without``, which are names or, ending with a dot, groups.

    What is not given is not among the parsed options: its dataclass knows the default.
    """
    groups: dict[str, Any] = {}
    for name, kind, field in parameters_of(config):
        group_name = name.partition(".")[0]
        if name in without or f"{group_name}." in without:
            continue
        if group_name not in groups:
            groups[group_name] = parser.add_argument_group(group_name.replace("_", " "))
        choices, kind_of_value = choices_of(held(kind)[field.name]) or None, type(field.default)
        groups[group_name].add_argument(
            f"--{destination(name).replace('_', '-')}", default=argparse.SUPPRESS, choices=choices,
            type=partial(meant, choices=choices) if choices else kind_of_value,
            metavar=None if choices else kind_of_value.__name__,
            help=f"{field.metadata['description'].replace('%', '%%')} (default: {field.default})",
        )  # fmt: skip


RETIRED = {"--no-recording": "is the default now, --recording asks for it"}  # options that are left out, and why


def with_new_names(words: Sequence[str], known: Collection[str]) -> tuple[list[str], list[str]]:
    """The words of a command line with old names of options replaced or left out, and a warning for each that was.

    ``known``: the options that there are; what is one of them is not old.
    """
    found, warnings = [], []
    for word in words:
        if word in RETIRED and word not in known:
            warnings.append(f"{word} {RETIRED[word]}")
            continue
        option, equals, value = word.partition("=")
        name = option.removeprefix("--").replace("-", "_")
        if option.startswith("--") and option not in known and name in RENAMED:
            new = f"--{destination(RENAMED[name]).replace('_', '-')}"
            warnings.append(f"{option} is now {new}")
            option = new
        found.append(option + equals + value)
    return found, warnings


def asked_for(config: type[Any], args: argparse.Namespace) -> set[str]:
    """Names of the parameters that were given."""
    return {name for name, _, _ in parameters_of(config) if hasattr(args, destination(name))}


def destination(name: str) -> str:
    """What a parameter is called among the parsed options."""
    return name.replace(".", "_")


def from_options(config: type[T], args: argparse.Namespace) -> T:
    """What is not among the options keeps its default.

    Raises:
        ConfigError: a value that cannot work.
    """
    groups = {}
    for kind in group_types(config):
        names = {field.name: destination(parameter_name(kind, field)) for field in fields(kind)}
        groups[kind] = kind(**{name: getattr(args, found) for name, found in names.items() if hasattr(args, found)})
    return from_groups(config, groups)
