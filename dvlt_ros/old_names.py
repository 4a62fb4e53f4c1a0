"""Executables under the names that they had before `dvlt_` was put in front; each says so and goes on."""

from __future__ import annotations

import sys
from importlib.metadata import entry_points
from pathlib import Path


def main() -> object:
    old = Path(sys.argv[0]).name
    new = f"dvlt_{old}"
    print(f"{old}: this command is called {new} now; the old name will be removed", file=sys.stderr)
    command = next(iter(entry_points(group="console_scripts", name=new)))
    sys.argv[0] = str(Path(sys.argv[0]).with_name(new))
    return command.load()()
