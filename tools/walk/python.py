"""Python blocks of README and documentation: those of a page in one process, one after the other, as they are read."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dvlt_ros.checkpoints import EMBEDDED_WEIGHTS

from .commands import ROOT

PHOTOS = "photos/"  # that a block names
BESIDE = ("0.jpg", "1.jpg", "2.jpg")


@dataclass(frozen=True)
class Block:
    """One block as it is printed."""

    page: str  # relative to the repository
    line: int  # of its first line
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}: Python, {self.text.strip().splitlines()[0]}"


@dataclass(frozen=True)
class Change:
    """What runs in place of what is printed."""

    printed: str
    runs: str
    reason: str


@dataclass(frozen=True)
class LeftOut:
    """Blocks of a page that contain ``text`` and are not run."""

    page: str
    text: str
    reason: str

    def covers(self, block: Block) -> bool:
        return block.page == self.page and self.text in block.text


CHANGES = (
    Change('"nvidia/dvlt"', repr(str(EMBEDDED_WEIGHTS)), "its weights are for non-commercial use only"),
    Change(".cuda()", ".cpu()", "no GPU"),
    Change('"cuda"', '"cpu"', "no GPU"),
)
LEFT_OUT = (
    LeftOut("docs/how-to/benchmarks.md", "LOOKED_FOR", "parts of files for a new data set; test/training has some"),
    LeftOut("docs/how-to/other-models.md", "da3-base", "needs packages and weights; test/backends has stand-ins"),
    LeftOut("docs/how-to/other-models.md", "class Another", "a new file for a network that does not exist"),
    LeftOut("docs/how-to/runtimes.md", "InferenceSession", "exporting takes a minute; test/runtimes runs such graphs"),
)  # fmt: skip


def blocks_of(page: Path) -> list[Block]:
    text, name = page.read_text(), str(page.relative_to(ROOT))
    found = re.finditer(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [Block(name, text[: block.start(1)].count("\n") + 1, block[1]) for block in found]


def reason_for_leaving_out(block: Block) -> str:
    """Empty: it is run."""
    return next((rule.reason for rule in LEFT_OUT if rule.covers(block)), "")


def changed(text: str) -> tuple[str, list[str]]:
    """What runs for a text, and why it is not as printed."""
    used = [change for change in CHANGES if change.printed in text]
    for change in used:
        text = text.replace(change.printed, change.runs)
    return text, [change.reason for change in used]


def idle_rules(blocks: Sequence[Block]) -> list[Change | LeftOut]:
    """Those that no block needs any more."""
    idle: list[Change | LeftOut] = [rule for rule in LEFT_OUT if not any(map(rule.covers, blocks))]
    kept = [block.text for block in blocks if not reason_for_leaving_out(block)]
    return idle + [change for change in CHANGES if not any(change.printed in text for text in kept)]


def run_blocks(blocks: Sequence[Block], names: dict[str, Any]) -> None:
    """One after the other; all find and leave ``names``."""
    for block in blocks:
        padded = "\n" * (block.line - 1) + changed(block.text)[0]  # so that an error names the line of the page
        exec(compile(padded, block.page, "exec"), names)


def run_apart(blocks: Sequence[Block], folder: Path, log: Path) -> None:
    """In this process, which it changes: output goes to ``log``, and what the page does not make is there."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.chdir(folder)
    run_blocks(blocks, given(folder))
    sys.stdout.flush()


def given(folder: Path) -> dict[str, Any]:
    """What the pages say in words: photos on the disk, their names and their pixels."""
    import cv2

    from .inputs import pictures, write_photos

    if not (folder / PHOTOS).exists():
        write_photos(folder / PHOTOS, "")
    shown = pictures(len(BESIDE))
    for name, pixels in zip(BESIDE, shown, strict=True):
        cv2.imwrite(str(folder / name), cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
    return {"__name__": "__main__", "pictures": shown, "paths": sorted(map(str, (folder / PHOTOS).iterdir()))}
