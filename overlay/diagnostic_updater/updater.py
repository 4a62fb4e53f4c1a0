"""Runs a node's diagnostic tasks periodically and publishes what they say on /diagnostics."""

# ruff: noqa: N802
from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus

from .status import DiagnosticStatusWrapper

TaskFunction = Callable[[DiagnosticStatusWrapper], DiagnosticStatusWrapper]


class DiagnosticTask:
    def __init__(self, name: str) -> None:
        self.name = name

    def getName(self) -> str:
        return self.name

    def run(self, stat: DiagnosticStatusWrapper) -> DiagnosticStatusWrapper:
        return stat


class FunctionDiagnosticTask(DiagnosticTask):
    def __init__(self, name: str, fn: TaskFunction) -> None:
        super().__init__(name)
        self.fn = fn

    def run(self, stat: DiagnosticStatusWrapper) -> DiagnosticStatusWrapper:
        return self.fn(stat)


class Updater:
    def __init__(self, node: Any, period: float = 1.0) -> None:
        self.node, self.hwid, self.verbose = node, "", False
        self.lock = threading.Lock()
        self.tasks: list[DiagnosticTask] = []
        self.publisher = node.create_publisher(DiagnosticArray, "/diagnostics", 1)
        self._period = declared(node, "diagnostic_updater.period", period)
        use_fqn = declared(node, "diagnostic_updater.use_fqn", False)
        self.node_name = f"{node.get_namespace()}/{node.get_name()}" if use_fqn else node.get_name()
        self.timer = node.create_timer(self._period, self.update)

    @property
    def period(self) -> float:
        return self._period

    @period.setter
    def period(self, period: float) -> None:
        self._period = period
        self.node.destroy_timer(self.timer)
        self.timer = self.node.create_timer(period, self.update)

    def setHardwareID(self, hwid: str) -> None:
        self.hwid = hwid

    def add(self, *args: Any) -> None:
        """add(task) or add(name, function)"""
        task = args[0] if len(args) == 1 else FunctionDiagnosticTask(*args)
        with self.lock:
            self.tasks.append(task)
        starting = self._status_of(task)
        starting.summary(DiagnosticStatus.OK, "Node starting up")
        self.publish(starting)

    def removeByName(self, name: str) -> bool:
        with self.lock:
            found = next((task for task in self.tasks if task.getName() == name), None)
            if found is not None:
                self.tasks.remove(found)
        return found is not None

    def update(self) -> None:
        with self.lock:
            statuses = [task.run(self._status_of(task)) for task in self.tasks]
        self.publish(statuses)

    def force_update(self) -> None:
        self.update()

    def broadcast(self, lvl: bytes, msg: str) -> None:
        """The same level and message for every task."""
        statuses = [self._status_of(task) for task in self.tasks]
        for status in statuses:
            status.summary(lvl, msg)
        self.publish(statuses)

    def publish(self, msg: DiagnosticStatus | list[DiagnosticStatus]) -> None:
        array = DiagnosticArray()
        array.header.stamp = self.node.get_clock().now().to_msg()
        for status in msg if isinstance(msg, list) else [msg]:
            array.status.append(DiagnosticStatus(
                level=status.level, name=f"{self.node_name}: {status.name}", message=status.message,
                hardware_id=status.hardware_id, values=status.values,
            ))  # fmt: skip
        self.publisher.publish(array)

    def _status_of(self, task: DiagnosticTask) -> DiagnosticStatusWrapper:
        return DiagnosticStatusWrapper(
            level=DiagnosticStatus.ERROR, name=task.getName(), message="No message was set", hardware_id=self.hwid
        )


def declared(node: Any, name: str, default: Any) -> Any:
    return node.get_parameter(name).value if node.has_parameter(name) else node.declare_parameter(name, default).value
