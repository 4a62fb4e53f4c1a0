"""A DiagnosticStatus that is easy to fill."""

# ruff: noqa: N802
from __future__ import annotations

from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue


class DiagnosticStatusWrapper(DiagnosticStatus):
    def summary(self, *args: Any) -> None:
        """summary(status) or summary(level, message)"""
        self.level, self.message = level_and_message(args)

    def clearSummary(self) -> None:
        self.summary(DiagnosticStatus.OK, "")

    def mergeSummary(self, *args: Any) -> None:
        """The worse level stays. Messages are joined if both are good or both are bad, else the bad one stays."""
        level, message = level_and_message(args)
        if (level > DiagnosticStatus.OK) == (self.level > DiagnosticStatus.OK):
            self.message = f"{self.message}; {message}" if self.message else message
        elif level > self.level:
            self.message = message
        self.level = max(self.level, level)

    def add(self, key: str, val: str) -> None:
        self.values.append(KeyValue(key=key, value=val))


def level_and_message(args: tuple[Any, ...]) -> tuple[bytes, str]:
    if len(args) == 1:
        return args[0].level, args[0].message
    level, message = args
    return level, str(message)
