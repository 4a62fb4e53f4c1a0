"""The latency budget.

In: measured times of windows, and the frames that wait. Out: K of the next window (`Plan`), and the quality level
(window size and resolution) if K alone cannot keep the budget.
"""

from .controller import BudgetController
from .latency import LatencyModel, WindowTime
from .limits import Limits
from .overhead import Overhead
from .plans import Plan
from .quality_levels import QualityLevel, QualityLevels

__all__ = [
    "BudgetController",
    "LatencyModel",
    "Limits",
    "Overhead",
    "Plan",
    "QualityLevel",
    "QualityLevels",
    "WindowTime",
]
