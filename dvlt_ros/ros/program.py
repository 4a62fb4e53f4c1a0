"""A ROS program from its arguments to its end."""

from __future__ import annotations

import argparse
import re
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager
from threading import Event, Thread

import rclpy
from rclpy.exceptions import NameValidationException, ParameterException
from rclpy.executors import SingleThreadedExecutor
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from rclpy.utilities import remove_ros_args

from ..errors import DvltError
from ..programs import answer_first, end_by, interrupt

LOOK_S = 0.5  # the executor looks so often whether it is to end: what wakes it may find it between two waits
CALLBACK_LIMIT_S = 3.0  # that a callback gets at the end; longer ones load weights, which leaves nothing behind
SOURCE_LINE = re.compile(r", at /\S+:\d+")  # of rcl, in its errors

RclError: type[Exception] = rclpy_implementation.RCLError


@contextmanager
def ros_program(name: str, description: str | None, args: Sequence[str] | None) -> Iterator[None]:
    """rclpy around a program. What is refused ends it with one line; SIGINT and SIGTERM end it with status 0.

    The context stays valid until the end of the block: signals reach Python alone, as KeyboardInterrupt of the main
    thread. A second one ends the process at once.

    Args:
        args: those of `rclpy.init`, without the program's name; None: those of the process.
    """
    try:
        refuse_other_arguments(name, description, args)
        rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    except rclpy_implementation.UnknownROSArgsError as error:
        sys.exit(f"{name}: not known after --ros-args: {error}")
    except RuntimeError as error:  # of rcl
        sys.exit(f"{name}: {in_one_line(error)}")
    answer_first(interrupt, signal.SIGINT, signal.SIGTERM)
    try:
        yield
    except (DvltError, ImportError, ParameterException, NameValidationException, RclError) as error:
        sys.exit(f"{name}: {in_one_line(error)}")
    except KeyboardInterrupt:
        pass
    finally:
        rclpy.try_shutdown()


def refuse_other_arguments(program: str, description: str | None, args: Sequence[str] | None) -> None:
    """Refuses all arguments but parameters and remappings; `--help` shows the description.

    Raises:
        RuntimeError: what follows --ros-args is not understood.
    """
    parser = argparse.ArgumentParser(
        program,
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Parameters and remappings follow --ros-args; `ros2 param describe` describes them.",
    )
    parser.parse_args(remove_ros_args([program, *(sys.argv[1:] if args is None else args)])[1:])


def in_one_line(error: Exception) -> str:
    return " ".join(SOURCE_LINE.sub("", str(error)).split())


def spin(node: Node) -> None:
    """Runs a node's callbacks on a thread of their own, until a signal comes or a callback raises.

    So a signal is answered at once, and comes in the middle of no callback.

    Raises:
        KeyboardInterrupt: a signal came; no callback runs any more.
        Exception: that of a callback.
    """
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    is_over = Event()

    def work() -> None:
        while not is_over.is_set():
            executor.spin_once(timeout_sec=LOOK_S)

    done = Future[None]()
    try:
        start(work, done, "dvlt executor")
        done.result()
    except KeyboardInterrupt as stop:
        is_over.set()
        executor.wake()
        if not wait([done], CALLBACK_LIMIT_S).done:
            end_by(*stop.args)
        executor.shutdown()
        raise


def start(action: Callable[[], None], done: Future[None], name: str) -> None:
    """Runs an action on a thread that does not outlive the process; ``done`` gets its end or its error."""

    def perform() -> None:
        try:
            action()
        except BaseException as error:
            done.set_exception(error)
        else:
            done.set_result(None)

    Thread(target=perform, name=name, daemon=True).start()
