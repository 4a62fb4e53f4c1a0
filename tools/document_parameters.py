"""Writes the table of parameters into docs/node.md, from the dataclasses that own them.

python tools/document_parameters.py
"""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import get_type_hints

from dvlt_ros.parameters import choices_of
from dvlt_ros.ros.config import Settings

PAGE = Path(__file__).resolve().parents[1] / "docs" / "node.md"
BEGIN, END = "<!-- parameters -->\n", "<!-- end of parameters -->\n"


def table() -> str:
    """Markdown rows: those that may change while the node runs have a star."""
    rows = ["| parameter | default | range | meaning |", "| --- | --- | --- | --- |"]
    for config in get_type_hints(Settings).values():
        for field in fields(config):
            data, choices = field.metadata, choices_of(get_type_hints(config)[field.name])
            span = ", ".join(map(str, choices)) or ("" if data["low"] is None else f"{data['low']} … {data['high']}")
            default = "empty" if field.default in ("", ()) else f"`{field.default}`".lower()
            rows.append(f"| `{field.name}`{' *' * data['live']} | {default} | {span} | {data['description']} |")
    return "\n".join(rows) + "\n"


def updated(page: str) -> str:
    before, rest = page.split(BEGIN)
    return before + BEGIN + table() + END + rest.split(END)[1]


if __name__ == "__main__":
    PAGE.write_text(updated(PAGE.read_text()))
