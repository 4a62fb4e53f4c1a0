"""Entry points of all programs: Ctrl-C ends each of them at any moment, by the signal itself, without a traceback.

While a program imports its libraries, the signal has its default effect: there is nothing to tidy up yet. Then it is a
KeyboardInterrupt as usual; another one, a second later or more, ends the process at once. Where SIGINT was
ignored from the start, as for background jobs of a shell script, it stays so.
"""

from __future__ import annotations

import io
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from types import FrameType, TracebackType
from typing import NoReturn

SAME_S = 1.0  # a terminal and `ros2 launch` may both send the same Ctrl-C


def leave_interrupts_to_the_system() -> None:
    """Ctrl-C ends the process without any Python code, until `run`."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def run(main: Callable[[], int | None]) -> NoReturn:
    """Ends the process with what ``main`` returns, or as Ctrl-C ends it."""
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
        answer_first(interrupt, signal.SIGINT)
    sys.excepthook = _report
    print_any_name()
    sys.exit(main())


def print_any_name() -> None:
    """What the terminal has no letter for, or is no text, as its escape: the name of a file must not end a program."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def interrupt(number: int) -> None:
    """Raises KeyboardInterrupt."""
    raise KeyboardInterrupt(number)


def answer_first(answer: Callable[[int], None], *numbers: int) -> None:
    """The first of these signals is answered so, by the main thread; one that comes later ends the process at once."""
    first_s: float | None = None

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal first_s
        if first_s is None:
            first_s = time.monotonic()
            answer(number)
        elif time.monotonic() - first_s > SAME_S:
            end_by(number)  # only now: a handler that is removed earlier may meet a signal that is on its way

    for number in numbers:
        signal.signal(number, handle)


def end_by(number: int = signal.SIGINT) -> None:
    """Ends the process as the signal does."""
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)


def _report(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    if not issubclass(kind, KeyboardInterrupt):  # by which Python itself then ends
        sys.__excepthook__(kind, error, traceback)


@contextmanager
def interrupts_between_steps() -> Iterator[Callable[[], bool]]:
    """Ctrl-C sets what the yielded function returns, and is raised when the block ends; a second one ends the process.

    For work that is cut only between two of its steps, and whose result until then is worth writing.
    """
    before = signal.getsignal(signal.SIGINT)
    if not callable(before) or threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    came: list[int] = []
    answer_first(came.append, signal.SIGINT)
    try:
        yield lambda: bool(came)
    finally:
        signal.signal(signal.SIGINT, before)
    if came:
        raise KeyboardInterrupt


def _program(module: str) -> Callable[[], NoReturn]:
    def start() -> NoReturn:
        leave_interrupts_to_the_system()
        run(import_module(f"dvlt_ros.{module}").main)

    return start


bag_to_dataset = _program("training.bag_to_dataset")
benchmark = _program("benchmark")
demo = _program("ros.tools.demo")
evaluate = _program("training.evaluate")
evaluate_benchmarks = _program("training.benchmarking.command")
evaluate_trajectory = _program("evaluate_trajectory")
export = _program("runtimes.command")
merge_maps = _program("merge_maps")
play_camera = _program("ros.tools.play_camera")
prepare = _program("training.prepare.command")
probe = _program("training.probes.command")
reconstruct = _program("ros.node")
reconstruct_bag = _program("reconstruct_bag")
render = _program("training.gaussians.render")
train = _program("training.train")
web = _program("web.__main__")
