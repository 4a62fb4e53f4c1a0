"""The groups of the mapper's parameters that the front end reads."""

from __future__ import annotations

from typing import Protocol

from ..budget.config import BudgetConfig, WindowConfig
from ..inference.config import ModelConfig
from ..keyframes.config import KeyframeConfig
from ..submaps.config import ConfidenceConfig, MasksConfig, RegistrationConfig


class FrontEndConfig(Protocol):
    """Groups of parameters; `MapperConfig` has them all."""

    @property
    def model(self) -> ModelConfig: ...

    @property
    def budget(self) -> BudgetConfig: ...

    @property
    def window(self) -> WindowConfig: ...

    @property
    def keyframes(self) -> KeyframeConfig: ...

    @property
    def confidence(self) -> ConfidenceConfig: ...

    @property
    def masks(self) -> MasksConfig: ...

    @property
    def registration(self) -> RegistrationConfig: ...
