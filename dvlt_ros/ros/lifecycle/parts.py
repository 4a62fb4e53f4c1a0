"""What the node consists of from configure to cleanup."""

from __future__ import annotations

from contextlib import ExitStack, closing
from dataclasses import dataclass

from rclpy.lifecycle import LifecycleNode

from ...mapping.front_end.front_end import FrontEnd
from ...mapping.front_end.warm_up import warm_up
from ...mapping.inference.loading import digest_of, load_predictor
from ...mapping.loop_closer import LoopParts, prepare_loops
from ...mapping.maps.builder import MapBuilder
from ...mapping.maps.metric_map import MetricMap
from ...mapping.maps.unscaled_map import UnscaledMap
from ...mapping.sensors.rig import Rig
from ..complaints import Complaints
from ..config import NodeConfig, Settings
from ..inputs.sensors import Sensors
from ..inputs.tf_tree import CameraAnchor, OdomAnchor
from ..outputs.topics import Outputs
from ..parameters import Parameters


@dataclass(frozen=True, eq=False)
class Parts:
    engine: FrontEnd
    map: MetricMap | UnscaledMap
    builder: MapBuilder
    loops: LoopParts
    checkpoint: str  # digest; empty: no places are recognised
    outputs: Outputs
    sensors: Sensors | None  # None: nothing is asked of TF
    anchor: CameraAnchor | OdomAnchor | None  # None: nothing is published on it
    opened: ExitStack  # what `close` closes

    @property
    def metric(self) -> MetricMap | None:
        return self.map if isinstance(self.map, MetricMap) else None

    def configure(self, settings: Settings) -> None:
        """What may change at any time."""
        self.engine.configure(settings.mapper)
        if self.metric is not None:
            self.metric.configure(settings.mapper.scale)
        if self.loops.detector is not None:
            self.loops.detector.configure(settings.mapper.loops)

    def close(self) -> None:
        self.opened.close()


def assemble(node: LifecycleNode, parameters: Parameters, complain: Complaints) -> Parts:
    """Loads the weights and warms up, which takes a while.

    Raises:
        DvltError: a configuration or weights that cannot work; nothing stays open.
    """
    settings = parameters.current
    config, mapper = settings.node, settings.mapper
    predictor = load_predictor(mapper.model)
    with ExitStack() as opened:
        sensors = opened.enter_context(closing(Sensors(node, settings, complain))) if _asks_tf(config) else None
        cameras = mapper.cameras
        rig = Rig(cameras.names, sensors.base_from_cam, cameras) if sensors and cameras.names else None
        loops = prepare_loops(mapper.loops, predictor, config.has_metric_source)
        gravity = None if sensors is None else sensors.gravity()
        engine = FrontEnd(predictor, mapper, complain, rig=rig, gravity=gravity, loops=loops.detector)
        warm_up(engine)
        map_: MetricMap | UnscaledMap = UnscaledMap(loops.graph)
        if sensors is not None and config.has_metric_source:
            map_ = MetricMap(sensors.camera_in_odom, mapper.scale, sensors.measured_depth(), loops.graph)
        anchor = None if sensors is None else _make_anchor(node, parameters, sensors)
        if anchor is not None:
            opened.enter_context(closing(anchor))
        tree, odometry = (None, None) if sensors is None else (sensors.tree, sensors.odometry)
        outputs = opened.enter_context(closing(Outputs(node, config, anchor, odometry, tree)))
        builder = MapBuilder(mapper.map, cameras.leading)
        checkpoint = "" if loops.detector is None else digest_of(mapper.model.weights)
        return Parts(engine, map_, builder, loops, checkpoint, outputs, sensors, anchor, opened.pop_all())


def _asks_tf(config: NodeConfig) -> bool:
    return config.placement != "none" or config.has_metric_source or config.gravity.source != "auto"


def _make_anchor(node: LifecycleNode, parameters: Parameters, sensors: Sensors) -> CameraAnchor | OdomAnchor | None:
    config = parameters.current.node
    map_frame = config.frames.prefix + config.frames.map
    if config.placement == "map_to_camera":
        return CameraAnchor(sensors.tree, map_frame)
    if config.placement == "map_to_odom":
        return OdomAnchor(node, sensors.tree, map_frame, lambda: parameters.current.node)
    return None
