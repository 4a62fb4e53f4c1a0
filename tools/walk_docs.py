"""Run every command and Python block of README and docs/ as printed, on small inputs and a CPU; fail where one fails.

    python tools/walk_docs.py [PAGE ...]       # or: make docs-commands

Each page has a folder of its own; its commands run in their order, and then its Python blocks in theirs. The report
lists what ran, what was shortened, and what needs something that is not there, with the reason.
"""

from __future__ import annotations

import argparse
import os
import runpy
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from threading import Lock

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from walk.commands import PAGES, ROOT, Command, commands_of
from walk.inputs import make_inputs
from walk.python import Block, blocks_of, changed, reason_for_leaving_out, run_apart
from walk.python import idle_rules as idle_rules_of_python
from walk.rules import LEFT_OUT, MAY_END_WITH_1, SHORTENED, idle_rules, rule_for

PRELOADED = (
    "torch", "matplotlib.pyplot", "dvlt_ros.reconstruct_bag", "dvlt_ros.training.train", "dvlt_ros.training.evaluate",
)  # fmt: skip
LIMIT_S = 300.0


@dataclass(frozen=True)
class Outcome:
    command: Command | Block
    seconds: float
    problem: str  # empty: it ran
    remark: str = ""


def executables() -> dict[str, str]:
    """What setup.py installs: module:function by name."""
    captured: dict = {}
    import setuptools

    setuptools.setup, original = captured.update, setuptools.setup
    try:
        here = Path.cwd()
        os.chdir(ROOT)
        runpy.run_path(str(ROOT / "setup.py"))
    finally:
        setuptools.setup = original
        os.chdir(here)
    return dict(entry.split(" = ") for entry in captured["entry_points"]["console_scripts"])


def write_shims(folder: Path, commands: dict[str, str]) -> None:
    """The executables for a shell, as `pip install` would write them."""
    for name, target in commands.items():
        module, _, function = target.partition(":")
        body = f"import sys\nfrom {module} import {function}\nsys.exit({function}())\n"
        (folder / name).write_text(f"#!{sys.executable}\n{body}")
        (folder / name).chmod(0o755)


def call(words: list[str], target: str, folder: Path, log: Path) -> None:
    """A command in a process of its own that has PyTorch already; ``target`` is module:function, or a module."""
    os.chdir(folder)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    sys.argv = words
    module, _, function = target.partition(":")
    if not function:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        return
    sys.exit(getattr(import_module(module), function)())


@dataclass(frozen=True)
class Page:
    """What a page of the documentation shows."""

    commands: list[Command]
    blocks: list[Block]


class Walk:
    """Runs commands in the folders of their pages."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._executables = executables()
        (scratch / "bin").mkdir()
        write_shims(scratch / "bin", self._executables)
        self._seen: set[str] = set()  # what was run, on whichever page
        self._lock = Lock()
        self._context = get_context("forkserver")
        self._context.set_forkserver_preload(list(PRELOADED))

    def page(self, page: Page) -> list[Outcome]:
        outcomes = [self.run(command) for command in page.commands if rule_for(command, LEFT_OUT) is None]
        blocks = [block for block in page.blocks if not reason_for_leaving_out(block)]
        return [*outcomes, *(self.run_python(blocks) if blocks else [])]

    def is_new(self, command: Command) -> bool:
        with self._lock:
            known = command.runs in self._seen
            self._seen.add(command.runs)
        return not known

    def run(self, command: Command) -> Outcome:
        if not self.is_new(command):
            return Outcome(command, 0.0, "", "as above or on another page")
        folder = self._folder_of(command)
        rule = rule_for(command, SHORTENED)
        text = command.runs if rule is None or rule.appended is None else f"{command.runs} {rule.appended}"
        words = shlex.split(text)
        log = self._scratch / f"{folder.name}_{command.line}.log"
        started = time.monotonic()
        try:
            make_inputs(folder, text, words)
            status = self.start(text, words, folder, log)
        except Exception as error:  # an input that cannot be made fails its command, not the walk
            return Outcome(command, time.monotonic() - started, f"{type(error).__name__}: {error}")
        said = log.read_text(errors="replace")
        is_verdict = status == 1 and MAY_END_WITH_1.covers(command) and MAY_END_WITH_1.reason in said
        problem = "" if status == 0 or is_verdict else f"exit status {status}\n{said[-1500:]}"
        return Outcome(command, time.monotonic() - started, problem, "" if rule is None else rule.reason)

    def run_python(self, blocks: list[Block]) -> list[Outcome]:
        """Each in an equal part of the time of all; where one fails, all have, because the rest builds on it."""
        folder = self._folder_of(blocks[0])
        log, started = self._scratch / f"{folder.name}_python.log", time.monotonic()
        status = self._in_process(run_apart, blocks, folder, log)
        seconds = (time.monotonic() - started) / len(blocks)
        problem = "" if status == 0 else f"exit status {status}\n{log.read_text(errors='replace')[-1500:]}"
        remarks = [", ".join(dict.fromkeys(changed(block.text)[1])) for block in blocks]
        return [Outcome(block, seconds, problem, remark) for block, remark in zip(blocks, remarks, strict=True)]

    def _folder_of(self, command: Command | Block) -> Path:
        folder = self._scratch / command.page.replace("/", "_").removesuffix(".md")
        folder.mkdir(exist_ok=True)
        return folder

    def start(self, text: str, words: list[str], folder: Path, log: Path) -> int | None:
        """Its exit status; None after `LIMIT_S`."""
        target = self._executables.get(words[0])
        if words[:2] in (["python", "-m"], ["python3", "-m"]):
            target, words = words[2], words[2:]
        if target is None or "$(" in text:
            path = f"{self._scratch / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"
            with log.open("w") as output:
                shell = subprocess.run(
                    ["bash", "-ec", text], cwd=folder, env=os.environ | {"PATH": path}, stdout=output,
                    stderr=subprocess.STDOUT, timeout=LIMIT_S, check=False,
                )  # fmt: skip
            return shell.returncode
        return self._in_process(call, words, target, folder, log)

    def _in_process(self, function: Callable[..., None], *args: object) -> int | None:
        """Its exit status; None after `LIMIT_S`."""
        process = self._context.Process(target=function, args=args)
        process.start()
        process.join(LIMIT_S)
        if process.is_alive():
            process.kill()
            process.join()
            return None
        return process.exitcode


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Runs every command and Python block of README and docs/.")
    parser.add_argument("pages", nargs="*", type=Path, default=PAGES, help="pages (default: all)")
    parser.add_argument("--jobs", type=int, default=2, help="pages at a time (default: 2)")
    args = parser.parse_args(argv)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    pages = [Page(commands_of(page.resolve()), blocks_of(page.resolve())) for page in args.pages]
    every = [command for page in pages for command in page.commands]
    blocks = [block for page in pages for block in page.blocks]
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(args.jobs) as threads:
        walk = Walk(Path(scratch))
        outcomes = [outcome for page in threads.map(walk.page, pages) for outcome in page]
    for outcome in outcomes:
        state = "FAILED" if outcome.problem else "ran" if not outcome.remark else "short" if outcome.seconds else "same"
        remark = f"    [{outcome.remark}]" if outcome.remark else ""
        print(f"{state:>6} {outcome.seconds:5.1f} s  {outcome.command}{remark}")
        if outcome.problem:
            print(outcome.problem)
    print("\nnot run, and why:")
    for rule in LEFT_OUT:
        left_out = [command for command in every if rule_for(command, LEFT_OUT) is rule]
        for command in left_out:
            print(f"  {command}    [{rule.reason}]")
    for block in blocks:
        if reason := reason_for_leaving_out(block):
            print(f"  {block}    [{reason}]")
    failed = sum(bool(outcome.problem) for outcome in outcomes)
    idle = [*idle_rules(every), *idle_rules_of_python(blocks)] if args.pages is PAGES else []
    for unused in idle:
        print(f"a rule that nothing needs: {unused}")
    print(f"{len(outcomes)} run, {failed} failed, {len(every) + len(blocks) - len(outcomes)} left out")
    return 1 if failed or idle else 0


if __name__ == "__main__":
    sys.exit(main())
