"""All parameters of the mapper, each group in the dataclass of the stage that reads it."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import ConfigError
from ..parameters import group
from .budget.config import BudgetConfig, WindowConfig
from .inference.config import ModelConfig
from .inference.refining import RefinementConfig
from .keyframes.config import KeyframeConfig
from .loops.config import LoopsConfig
from .maps.config import MapConfig
from .outputs.config import ObstaclesConfig
from .scale.estimator import ScaleConfig
from .sensors.gravity import GravityConfig
from .sensors.odometry import OdometryConfig
from .sensors.rig_config import RigConfig
from .sensors.sparse_depth import SparseDepthConfig
from .submaps.config import ConfidenceConfig, MasksConfig, RegistrationConfig
from .surfaces.config import SurfacesConfig
from .surfaces.grid import Band


@dataclass(frozen=True)
class MapperConfig:
    """From frames to a map."""

    model: ModelConfig = group(ModelConfig)
    budget: BudgetConfig = group(BudgetConfig)
    window: WindowConfig = group(WindowConfig)
    keyframes: KeyframeConfig = group(KeyframeConfig)
    confidence: ConfidenceConfig = group(ConfidenceConfig)
    masks: MasksConfig = group(MasksConfig)
    registration: RegistrationConfig = group(RegistrationConfig)
    refinement: RefinementConfig = group(RefinementConfig)
    map: MapConfig = group(MapConfig)
    surfaces: SurfacesConfig = group(SurfacesConfig)
    obstacles: ObstaclesConfig = group(ObstaclesConfig)
    odometry: OdometryConfig = group(OdometryConfig)
    scale: ScaleConfig = group(ScaleConfig)
    cameras: RigConfig = group(RigConfig)
    measured_depth: SparseDepthConfig = group(SparseDepthConfig)
    gravity: GravityConfig = group(GravityConfig)
    loops: LoopsConfig = group(LoopsConfig)

    def __post_init__(self) -> None:
        smallest = 2 * len(self.cameras.names)
        if self.window.size < smallest:
            raise ConfigError(
                f"window.size must be at least {smallest}, two frame sets of {len(self.cameras.names)} cameras "
                f"(cameras.names), got {self.window.size}"
            )

        if self.budget.references > self.window.size:
            raise ConfigError(
                f"budget.references must be at most the views of a window, {self.window.size} (window.size), got "
                f"{self.budget.references}"
            )

    @property
    def band(self) -> Band:
        """Heights above the floor that the grid's obstacles have."""
        return Band(self.obstacles.min_height_m, self.obstacles.max_height_m)
