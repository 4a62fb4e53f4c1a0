"""Windows of any network corrected by the geometry of their tracks."""

from .refiner import WindowRefiner
from .window import NetworkAnswer, PosePrior, Refined, Report, WindowFrame

__all__ = ["NetworkAnswer", "PosePrior", "Refined", "Report", "WindowFrame", "WindowRefiner"]
