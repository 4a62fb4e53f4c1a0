"""Writes everything that tells of the node's parameters, from the dataclasses that own them.

python tools/document_parameters.py

The tables on the page of parameters, config/reconstruct.yaml, and config/parameters.json, from which the launch file
has names and descriptions of its arguments.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import Field
from pathlib import Path
from typing import Any, get_type_hints

import yaml

from dvlt_ros.parameter_names import LAUNCH_ARGUMENTS
from dvlt_ros.parameters import choices_of, parameters_of
from dvlt_ros.ros.config import Settings

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "reference" / "parameters.md"  # it has the marks below
YAML_FILE = ROOT / "config" / "reconstruct.yaml"
JSON_FILE = ROOT / "config" / "parameters.json"
BEGIN, END = "<!-- parameters -->\n", "<!-- end of parameters -->\n"
YAML_HEAD = """\
# Written by tools/document_parameters.py. The parameters that people change; those for experts are in {page}.
# `ros2 param describe /dvlt NAME` tells of one.
# A line without # overrides the node's default; a commented one shows it.
/**:
  ros__parameters:
    # One camera alone knows no metres: depth, points, poses and TF are right up to ONE UNKNOWN FACTOR. They are good to
    # look at, not to drive by. Remove this line and the node withholds them as long as it has no scale.
    output.publish_unscaled: true
"""
OVERRIDDEN = ("output.publish_unscaled",)  # above
Parameter = tuple[str, type[Any], Field[Any]]


def groups() -> dict[str, list[Parameter]]:
    """Those with everyday parameters first; in each the everyday ones first."""
    found: dict[str, list[Parameter]] = {}
    for entry in parameters_of(Settings):
        found.setdefault(entry[0].partition(".")[0], []).append(entry)
    for entries in found.values():
        entries.sort(key=lambda entry: entry[2].metadata["expert"])
    return dict(sorted(found.items(), key=lambda item: item[1][0][2].metadata["expert"]))


def about(entries: list[Parameter]) -> str:
    """What the dataclasses of these parameters say of themselves."""
    kinds = dict.fromkeys(kind for _, kind, _ in entries)
    return " ".join((kind.__doc__ or "").partition("\n")[0] for kind in kinds)


def tables() -> str:
    """Markdown, a table for each group: * may change while the node runs, † is for experts."""
    return "\n".join("\n".join(_table(group, entries)) for group, entries in groups().items()) + "\n"


def _table(group: str, entries: list[Parameter]) -> Iterator[str]:
    yield f"### `{group}`\n\n{about(entries)}\n"
    yield "| parameter | default | range | meaning |\n| --- | --- | --- | --- |"
    for name, kind, field in entries:
        data, choices = field.metadata, choices_of(get_type_hints(kind)[field.name])
        span = ", ".join(map(str, choices)) or ("" if data["low"] is None else f"{data['low']} … {data['high']}")
        default = "empty" if field.default in ("", ()) else f"`{field.default}`".lower()
        marks = " *" * data["live"] + " †" * data["expert"]
        yield f"| `{name}`{marks} | {default} | {span} | {data['description']} |"
    yield ""


def updated(page: str) -> str:
    """The page with the tables of now."""
    before, rest = page.split(BEGIN)
    return before + BEGIN + "\n" + tables() + END + rest.split(END)[1]


def yaml_text() -> str:
    """The everyday parameters, commented, as they are by default."""
    text = YAML_HEAD.format(page=PAGE.relative_to(ROOT))
    for entries in groups().values():
        shown = [e for e in entries if not e[2].metadata["expert"] and e[0] not in OVERRIDDEN]
        lines = [f"# {name}: {_yaml_value(field.default)}" for name, _, field in shown]
        width = max(map(len, lines), default=0)
        if shown:
            text += f"\n    # {about(shown)}\n"
        for line, (_, kind, field) in zip(lines, shown, strict=True):
            choices = choices_of(get_type_hints(kind)[field.name])
            one_of = f" (one of {', '.join(map(str, choices))})" if choices else ""
            text += f"    {line:<{width}}  # {field.metadata['description']}{one_of}\n"
    return text


def _yaml_value(value: Any) -> str:
    return json.dumps(value) if value in ("", ()) else yaml.safe_dump(value).removesuffix("\n...\n").strip()


def json_text() -> str:
    """All parameters, with the launch file's arguments for some."""
    arguments = {name: argument for argument, name in LAUNCH_ARGUMENTS.items()}
    lines = []
    for entries in groups().values():
        for name, kind, field in entries:
            data, choices = field.metadata, choices_of(get_type_hints(kind)[field.name])
            known = {"type": type(field.default).__name__, "default": field.default, "choices": choices, **data}
            known["launch_argument"] = arguments.get(name, "")
            lines.append(f"{json.dumps(name)}: {json.dumps(known, ensure_ascii=False)}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def texts() -> dict[Path, str]:
    """All files, as they should be."""
    return {PAGE: updated(PAGE.read_text()), YAML_FILE: yaml_text(), JSON_FILE: json_text()}


if __name__ == "__main__":
    for path, text in texts().items():
        path.write_text(text)
