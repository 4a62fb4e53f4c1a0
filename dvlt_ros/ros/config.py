"""The node's own parameters, beside those of the mapper; some groups have parameters of both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from ..errors import ConfigError
from ..export.rerun import check_target
from ..export.scenes import SceneFormat, check_formats
from ..frame_names import frame_name
from ..mapping.config import MapperConfig
from ..mapping.data.region import Region
from ..mapping.outputs.config import ObstaclesConfig
from ..mapping.sensors.gravity import GravitySource
from ..mapping.sensors.rig_config import RigConfig
from ..parameters import check_parameters, group, parameter

Reliability = Literal["auto", "reliable", "best_effort"]
ImageTransport = Literal["raw", "compressed"]
TfMode = Literal["auto", "map_to_odom", "map_to_camera", "odom_to_camera", "none"]
OdomSource = Literal["none", "topic", "tf"]
MaskSource = Literal["none", "image"]
DepthSource = Literal["none", "image", "cloud", "scan"]


def check_frame(name: str, frame: str, may_be_empty: bool = False) -> None:
    """Raises ConfigError: no name of a frame as TF 2 knows them."""
    if frame != frame_name(frame):
        raise ConfigError(
            f"{name}: frames of TF 2 begin with no '/' and no space, got {frame!r}: {frame_name(frame)!r}?"
        )
    if not (frame or may_be_empty):
        raise ConfigError(f"{name} must not be empty")


@dataclass(frozen=True)
class InputConfig:
    """Subscription of images."""

    GROUP: ClassVar[str] = "input"
    transport: ImageTransport = parameter("raw", "raw: image; compressed: image/compressed")
    is_rectified: bool = parameter(False, "the images are those that P of camera_info describes (image_rect)")
    camera_frame: str = parameter("", "optical frame of images that come without a frame_id; others keep theirs")
    reliability: Reliability = parameter(
        "auto", "reliability of the image subscription; auto: what is offered", expert=True
    )

    def __post_init__(self) -> None:
        check_parameters(self)
        check_frame("input.camera_frame", self.camera_frame, may_be_empty=True)


@dataclass(frozen=True)
class OdometrySourceConfig:
    """Source of odometry."""

    GROUP: ClassVar[str] = "odometry"
    source: OdomSource = parameter("none", "where metres come from: topic: odom; tf: odometry.frame in the TF tree")
    frame: str = parameter("odom", "frame of odometry from TF; messages on odom name their own")

    def __post_init__(self) -> None:
        check_parameters(self)
        check_frame("odometry.frame", self.frame)


@dataclass(frozen=True)
class DepthSourceConfig:
    """Source of measured depth."""

    GROUP: ClassVar[str] = "measured_depth"
    source: DepthSource = parameter(
        "none", "where metres come from, too: image: sparse_depth/image with its sparse_depth/camera_info; "
        "cloud: sparse_depth/points; scan: scan, of a laser",
    )  # fmt: skip

    def __post_init__(self) -> None:
        check_parameters(self)


@dataclass(frozen=True)
class MaskSourceConfig:
    """Source of masks: what in an image is no part of the map."""

    GROUP: ClassVar[str] = "masks"
    source: MaskSource = parameter(
        "none", "where it is told what does not enter the map, as people or sky: image: mask/image, not 0 where masked"
    )
    wait_s: float = parameter(
        0.2, "an image waits so long for the mask with its stamp, then it goes on without", 0.0, 5.0, expert=True
    )

    def __post_init__(self) -> None:
        check_parameters(self)


@dataclass(frozen=True)
class GravitySourceConfig:
    """Source of the vertical of a new map."""

    GROUP: ClassVar[str] = "gravity"
    source: GravitySource = parameter(
        "auto", "where a new map has up from; imu: imu; mount: frames.base in TF, taken to be level; auto: with "
        "odometry its frame, with several cameras their mounts, else the first image is taken to be level",
    )  # fmt: skip

    def __post_init__(self) -> None:
        check_parameters(self)


@dataclass(frozen=True)
class FramesConfig:
    """Names of frames."""

    GROUP: ClassVar[str] = "frames"
    map: str = parameter("map", "frame of the map")
    base: str = parameter(
        "base_link", "obstacles: the robot's frame whose z = 0 is the ground, base_footprint if there is one; "
        "cameras: the frame that they are mounted on; frames.prefix goes before it",
    )  # fmt: skip
    prefix: str = parameter("", "put before all frames that lack it, for several robots in one TF tree")

    def __post_init__(self) -> None:
        check_parameters(self)
        check_frame("frames.map", self.map)
        check_frame("frames.base", self.base)
        check_frame("frames.prefix", self.prefix, may_be_empty=True)


@dataclass(frozen=True)
class TfConfig:
    """Published transforms, and how long look-ups wait."""

    GROUP: ClassVar[str] = "tf"
    mode: TfMode = parameter(
        "auto", "map_to_camera: map -> root of the camera's TF tree; map_to_odom: map -> odom; odom_to_camera: "
        "visual_odometry.frame -> that root, for a mapper that takes our odometry; none: no TF; "
        "auto: map_to_odom with odometry, else map_to_camera",
    )  # fmt: skip
    tolerance_s: float = parameter(0.1, "map -> odom is stamped this far ahead", 0.0, 5.0, live=True, expert=True)
    timeout_s: float = parameter(
        0.1, "a transform that is later than its image is waited for so long, if the one before it came", 0.0, 1.0,
        expert=True,
    )  # fmt: skip

    def __post_init__(self) -> None:
        check_parameters(self)


@dataclass(frozen=True)
class OutputConfig:
    """Published topics."""

    GROUP: ClassVar[str] = "output"
    publish_unscaled: bool = parameter(
        False, "publish depth, points, poses and TF although their unit is unknown; REP-103 wants metres", live=True
    )
    points_stride: int = parameter(2, "every n-th pixel of rows and columns becomes a point", 1, 64, live=True)
    rerun: str = parameter("", "live view in Rerun: spawn, host:port of a viewer, or a file.rrd; empty: none")
    width: int = parameter(0, "width of images out in pixels; 0: the first image's", 0, 8192, expert=True)
    height: int = parameter(0, "height of images out in pixels; 0: the first image's", 0, 8192, expert=True)
    points_organized: bool = parameter(
        False, "points as an image with NaN instead of a list without", live=True, expert=True
    )
    map_rate_hz: float = parameter(
        1.0, "map_points and path are published this often", 0.01, 30.0, live=True, expert=True
    )
    stale_after_s: float = parameter(
        2.0, "without images for so long the diagnostics are an error", 0.1, 600.0, live=True, expert=True
    )

    def __post_init__(self) -> None:
        check_parameters(self)
        if self.rerun:
            check_target(self.rerun)
        if bool(self.width) != bool(self.height):
            raise ConfigError(
                f"output.width and output.height must both be 0 or both be set, got {self.width} and {self.height}"
            )


@dataclass(frozen=True)
class VisualOdometryConfig:
    """Odometry from the images, for state estimators and other mappers."""

    GROUP: ClassVar[str] = "visual_odometry"
    frame: str = parameter(
        "visual_odom", "frame of the topic odometry; frames.base is its child, whose mount must be in TF"
    )

    def __post_init__(self) -> None:
        check_parameters(self)


@dataclass(frozen=True)
class MapsConfig:
    """Maps on disk."""

    GROUP: ClassVar[str] = "maps"
    directory: str = parameter("~/.ros/dvlt_maps", "where ~/save_map writes; nothing is written elsewhere")
    file: str = parameter(
        "", "what ~/load_map loads, in maps.directory, named as ~/save_map has; empty: the newest map", live=True
    )
    region: str = parameter(
        "", "what ~/delete_region deletes of the current map, at all heights: x_min y_min x_max y_max", live=True
    )
    export: tuple[str, ...] = parameter(
        (), "scenes for other programs that ~/save_map leaves, too: colmap, nerfstudio, splats", live=True
    )

    def __post_init__(self) -> None:
        check_parameters(self)
        check_formats(self.export, "maps.export")
        if self.region:
            Region.parse(self.region, "maps.region")

    @property
    def scene_formats(self) -> tuple[SceneFormat, ...]:
        """``export``, each format once."""
        return check_formats(self.export, "maps.export")


@dataclass(frozen=True)
class NodeConfig:
    """Inputs, outputs and names of the node; the group of the cameras is shared with the mapper."""

    input: InputConfig = group(InputConfig)
    cameras: RigConfig = group(RigConfig)
    odometry: OdometrySourceConfig = group(OdometrySourceConfig)
    measured_depth: DepthSourceConfig = group(DepthSourceConfig)
    masks: MaskSourceConfig = group(MaskSourceConfig)
    gravity: GravitySourceConfig = group(GravitySourceConfig)
    frames: FramesConfig = group(FramesConfig)
    tf: TfConfig = group(TfConfig)
    output: OutputConfig = group(OutputConfig)
    obstacles: ObstaclesConfig = group(ObstaclesConfig)
    visual_odometry: VisualOdometryConfig = group(VisualOdometryConfig)
    maps: MapsConfig = group(MapsConfig)

    def __post_init__(self) -> None:
        if self.odometry.source == "tf" and self.frames.map == self.odometry.frame:
            raise ConfigError(f"frames.map and odometry.frame are two frames, got {self.frames.map!r} for both")
        if self.tf.mode == "map_to_odom" and self.odometry.source == "none":
            raise ConfigError("tf.mode map_to_odom needs odometry: set odometry.source to topic or tf")
        if self.tf.mode == "odom_to_camera" and not self.has_metric_source:
            raise ConfigError(
                "tf.mode odom_to_camera needs metres: from odometry.source, measured_depth.source or cameras.names"
            )
        if self.gravity.source != "auto" and self.odometry.source != "none":
            raise ConfigError(
                f"gravity.source must be auto beside odometry, whose frame is z up, got {self.gravity.source!r}"
            )

    @property
    def has_metric_source(self) -> bool:
        """Whether there is a source of metric scale: odometry, several cameras, or measured depth."""
        return self.odometry.source != "none" or bool(self.cameras.names) or self.measured_depth.source != "none"

    @property
    def placement(self) -> TfMode:
        """``tf.mode`` with auto resolved."""
        if self.tf.mode != "auto":
            return self.tf.mode
        return "map_to_camera" if self.odometry.source == "none" else "map_to_odom"


@dataclass(frozen=True)
class Settings:
    """All parameters of the node."""

    mapper: MapperConfig = group(MapperConfig)
    node: NodeConfig = group(NodeConfig)
