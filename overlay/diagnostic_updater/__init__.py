"""The part of the real diagnostic_updater that dvlt_ros uses. The real one's camel case names are kept."""

from .status import DiagnosticStatusWrapper as DiagnosticStatusWrapper
from .updater import DiagnosticTask as DiagnosticTask
from .updater import FunctionDiagnosticTask as FunctionDiagnosticTask
from .updater import Updater as Updater
