"""The node's own parameters, beside those that the engine owns."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from ..backends import DEFAULT_MODEL, model_card
from ..errors import ConfigError
from ..export.rerun import check_target
from ..mapping.config import MappingConfig
from ..mapping.loops.detector import LoopDetectorConfig
from ..mapping.loops.place_index import PlaceIndexConfig
from ..mapping.loops.verification import LoopVerificationConfig
from ..mapping.scale.estimator import ScaleConfig
from ..mapping.sensors.gravity import GravityConfig, GravitySource
from ..mapping.sensors.odometry import OdometryConfig
from ..mapping.sensors.rig_config import RigConfig
from ..mapping.sensors.sparse_depth import SparseDepthConfig
from ..parameters import check_parameters, parameter

NAME = re.compile(r"[A-Za-z_]\w*(/[A-Za-z_]\w*)*")
Reliability = Literal["auto", "reliable", "best_effort"]
ImageTransport = Literal["raw", "compressed"]
TfMode = Literal["auto", "map_to_odom", "map_to_camera", "none"]
OdomSource = Literal["none", "topic", "tf"]
DepthSource = Literal["none", "image", "cloud", "scan"]
NodePrecision = Literal["auto", "float32", "bfloat16", "int8"]


@dataclass(frozen=True)
class NodeConfig:
    """What the node reads, publishes and calls things."""

    model: str = parameter(DEFAULT_MODEL, "which model: dvlt, or one of docs/models.md, each with its own licence")
    weights: str = parameter(
        "", "checkpoint: directory, .safetensors file or Hugging Face id; empty: the model's own, dvlt's is embedded"
    )
    device: str = parameter("auto", "cpu, cuda, cuda:1, ...; auto: the GPU if there is one")
    precision: NodePrecision = parameter(
        "auto", "what the network multiplies in; auto: float32 on a CPU, bfloat16 autocast on a GPU; int8: CPU only"
    )
    merged_keys: int = parameter(
        1, "above 1 not exact: global attention sees so many by so many patches as one; for many tokens", 1, 8
    )
    max_gpu_memory_mb: int = parameter(0, "what this process may take of the GPU's memory; 0: all", 0, 1_000_000)
    image_transport: ImageTransport = parameter("raw", "raw: image; compressed: image/compressed")
    image_reliability: Reliability = parameter("auto", "reliability of the image subscription; auto: what is offered")
    image_is_rectified: bool = parameter(False, "the images are those that P of camera_info describes (image_rect)")
    cameras: tuple[str, ...] = parameter(
        (), "names of several cameras on one robot, each with topics of its own: left/image; empty: one camera, image"
    )
    camera_frame: str = parameter("", "optical frame of images that come without a frame_id; others keep theirs")
    map_frame: str = parameter("map", "frame of the map")
    frame_prefix: str = parameter("", "put before all frames that lack it, for several robots in one TF tree")
    tf_mode: TfMode = parameter(
        "auto", "map_to_camera: map -> root of the camera's TF tree; map_to_odom: map -> odom; none: no TF; "
        "auto: map_to_odom with odometry, else map_to_camera",
    )  # fmt: skip
    tf_tolerance_s: float = parameter(0.1, "map -> odom is stamped this far ahead", 0.0, 5.0, live=True)
    tf_timeout_s: float = parameter(
        0.1, "a transform that is later than its image is waited for so long, if the one before it came", 0.0, 1.0
    )
    odom_source: OdomSource = parameter("none", "where metres come from: topic: odom; tf: odom_frame in the TF tree")
    odom_frame: str = parameter("odom", "frame of odometry from TF; messages on odom name their own")
    depth_source: DepthSource = parameter(
        "none", "where metres come from, too: image: sparse_depth/image with its sparse_depth/camera_info; "
        "cloud: sparse_depth/points; scan: scan, of a laser",
    )  # fmt: skip
    gravity_source: GravitySource = parameter(
        "auto", "where a new map has up from; imu: imu; mount: base_frame in TF, taken to be level; auto: with "
        "odometry its frame, with several cameras their mounts, else the first image is taken to be level",
    )  # fmt: skip
    publish_unscaled: bool = parameter(
        False, "publish depth, points, poses and TF although their unit is unknown; REP-103 wants metres", live=True
    )
    output_width: int = parameter(0, "width of images out in pixels; 0: the first image's", 0, 8192)
    output_height: int = parameter(0, "height of images out in pixels; 0: the first image's", 0, 8192)
    points_organized: bool = parameter(False, "points as an image with NaN instead of a list without", live=True)
    points_stride: int = parameter(2, "every n-th pixel of rows and columns becomes a point", 1, 64, live=True)
    base_frame: str = parameter(
        "base_link", "obstacles: the robot's frame whose z = 0 is the ground, base_footprint if there is one; "
        "cameras: the frame that they are mounted on; frame_prefix goes before it",
    )  # fmt: skip
    obstacle_min_height_m: float = parameter(0.05, "obstacles: what is lower is ground", -10.0, 100.0, live=True)
    obstacle_max_height_m: float = parameter(
        2.0, "obstacles: under what is higher the robot fits", -10.0, 100.0, live=True
    )
    map_rate_hz: float = parameter(1.0, "map_points and path are published this often", 0.01, 30.0, live=True)
    map_directory: str = parameter("~/.ros/dvlt_maps", "where ~/save_map writes; nothing is written elsewhere")
    map_file: str = parameter(
        "", "what ~/load_map loads, in map_directory, named as ~/save_map has; empty: the newest map", live=True
    )
    rerun: str = parameter("", "live view in Rerun: spawn, host:port of a viewer, or a file.rrd; empty: none")
    stale_after_s: float = parameter(
        2.0, "without images for so long the diagnostics are an error", 0.1, 600.0, live=True
    )

    def __post_init__(self) -> None:
        check_parameters(self)
        model_card(self.model)
        if self.rerun:
            check_target(self.rerun)
        if len(self.cameras) == 1 or len(set(self.cameras)) < len(self.cameras):
            raise ConfigError(f"cameras must be empty or two names or more, each once, got {list(self.cameras)}")
        if unfit := [name for name in self.cameras if not NAME.fullmatch(name)]:
            raise ConfigError(f"cameras must be names of topics (letters, digits, _ and /), got {unfit}")
        if bool(self.output_width) != bool(self.output_height):
            raise ConfigError(
                f"output_width and output_height must both be 0 or both be set, got {self.output_width} and "
                f"{self.output_height}"
            )
        if self.tf_mode == "map_to_odom" and self.odom_source == "none":
            raise ConfigError("tf_mode map_to_odom needs odometry: set odom_source to topic or tf")
        if self.gravity_source != "auto" and self.odom_source != "none":
            raise ConfigError(
                f"gravity_source must be auto beside odometry, whose frame is z up, got {self.gravity_source!r}"
            )
        lowest, highest = self.obstacle_min_height_m, self.obstacle_max_height_m
        if lowest >= highest:
            raise ConfigError(f"obstacle_max_height_m must be above obstacle_min_height_m, got {highest} and {lowest}")

    @property
    def has_metric_source(self) -> bool:
        """Whether lengths can become metres: by odometry, by the distance of two cameras, or by measured depth."""
        return self.odom_source != "none" or bool(self.cameras) or self.depth_source != "none"

    @property
    def placement(self) -> TfMode:
        """What ``tf_mode`` comes to."""
        if self.tf_mode != "auto":
            return self.tf_mode
        return "map_to_camera" if self.odom_source == "none" else "map_to_odom"


@dataclass(frozen=True)
class Settings:
    """All parameters of the node, each in the dataclass that owns it."""

    engine: MappingConfig
    node: NodeConfig
    odometry: OdometryConfig
    scale: ScaleConfig
    rig: RigConfig
    depth: SparseDepthConfig
    gravity: GravityConfig
    closing: LoopDetectorConfig
    places: PlaceIndexConfig
    loops: LoopVerificationConfig
