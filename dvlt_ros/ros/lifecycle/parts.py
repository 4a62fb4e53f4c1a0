"""The parts of the node from configure to cleanup."""

from __future__ import annotations

from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

from rclpy.lifecycle import LifecycleNode

from ...errors import InputError
from ...mapping.inference.loading import load_predictor
from ...mapping.mapper import Mapper
from ...mapping.sensors.rig import Rig
from ...mapping.sensors.suite import Sensors
from ..complaints import Complaints
from ..config import NodeConfig, Settings
from ..inputs.sensors import SensorTopics
from ..inputs.tf_tree import CameraAnchor, OdomAnchor
from ..outputs.topics import Outputs
from ..parameters import Parameters


@dataclass(frozen=True, eq=False)
class Parts:
    mapper: Mapper
    outputs: Outputs
    sensors: SensorTopics | None  # None: TF is not used
    anchor: CameraAnchor | OdomAnchor | None  # None: no transform is published
    opened: ExitStack  # closed by `close`

    def configure(self, settings: Settings) -> None:
        """Applies parameters that may change at any time."""
        self.mapper.configure(settings.mapper)

    def close(self) -> None:
        self.opened.close()


def assemble(node: LifecycleNode, parameters: Parameters, complain: Complaints) -> Parts:
    """Loads the weights and warms up, which takes seconds.

    Raises:
        DvltError: the configuration or the weights cannot be used; nothing stays open.
    """
    settings = parameters.current
    config = settings.node
    predictor = load_predictor(settings.mapper.model)
    with ExitStack() as opened:
        topics = opened.enter_context(closing(SensorTopics(node, settings, complain))) if _uses_tf(config) else None
        mapper = Mapper(
            settings.mapper, predictor, _sensors(topics, settings), complain,
            loop_closed=node.get_logger().info, in_real_time=True,
        )  # fmt: skip
        mapper.warm_up()
        if settings.mapper.map.mode == "localization":
            _load_newest(mapper, config, node)
        anchor = None if topics is None else _make_anchor(node, parameters, topics)
        if anchor is not None:
            opened.enter_context(closing(anchor))
        tree, odometry = (None, None) if topics is None else (topics.tree, topics.odometry)
        outputs = opened.enter_context(closing(Outputs(node, config, anchor, odometry, tree)))
        return Parts(mapper, outputs, topics, anchor, opened.pop_all())


def _load_newest(mapper: Mapper, config: NodeConfig, node: LifecycleNode) -> None:
    """What ~/load_map would load. Without a map the node goes on, and its status says that it is lost."""
    try:
        path, saved = mapper.open(Path(config.maps.directory), config.maps.file)
        mapper.load(saved)
    except InputError as error:
        node.get_logger().warning(f"no saved map is loaded: {error}")
    else:
        node.get_logger().info(f"loaded {path}: {len(saved.stored_submaps)} places")


def _sensors(topics: SensorTopics | None, settings: Settings) -> Sensors:
    if topics is None:
        return Sensors()
    cameras = settings.mapper.cameras
    rig = Rig(cameras.names, topics.base_from_cam, cameras) if cameras.names else None
    return Sensors(rig, topics.camera_in_odom, topics.measured_depth(), topics.gravity())


def _uses_tf(config: NodeConfig) -> bool:
    return config.placement != "none" or config.has_metric_source or config.gravity.source != "auto"


def _make_anchor(
    node: LifecycleNode, parameters: Parameters, sensors: SensorTopics
) -> CameraAnchor | OdomAnchor | None:  # fmt: skip
    config = parameters.current.node
    map_frame = config.frames.prefix + config.frames.map
    if config.placement == "map_to_camera":
        return CameraAnchor(sensors.tree, map_frame)
    if config.placement == "odom_to_camera":
        return CameraAnchor(sensors.tree, config.frames.prefix + config.visual_odometry.frame)
    if config.placement == "map_to_odom":
        return OdomAnchor(node, sensors.tree, map_frame, lambda: parameters.current.node)
    return None
