"""Commands of README and documentation, in the order in which a reader meets them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
IN_WORKSPACE = "ros2 run dvlt_ros "  # in front of a command that has the same name without ROS


@dataclass(frozen=True)
class Command:
    """One command as it is printed, continued lines joined."""

    page: str  # relative to the repository
    line: int
    text: str  # without the comment behind it

    @property
    def runs(self) -> str:
        """What is run for it where there is no `ros2`."""
        return self.text.removeprefix(IN_WORKSPACE)

    def __str__(self) -> str:
        return f"{self.page}:{self.line}: {self.text}"


def commands_of(page: Path) -> list[Command]:
    """Every command of a page's ``bash`` blocks."""
    found: list[Command] = []
    text = page.read_text()
    for block in re.finditer(r"^```bash\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        line = text[: block.start(1)].count("\n") + 1
        for printed in re.split(r"(?<!\\)\n(?=(?:[^\"]*\"[^\"]*\")*[^\"]*\Z)", block[1]):
            command = without_comment(re.sub(r"\s*\\\n\s*", " ", printed)).strip()
            if command:
                found.append(Command(str(page.relative_to(ROOT)), line, command))
            line += printed.count("\n") + 1
    return found


def without_comment(text: str) -> str:
    """Up to a # that begins a word outside of quotes."""
    quote = ""
    for index, character in enumerate(text):
        if character in "\"'":
            quote = "" if character == quote else quote or character
        elif character == "#" and not quote and (index == 0 or text[index - 1].isspace()):
            return text[:index]
    return text
