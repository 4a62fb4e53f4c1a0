"""`ros2 run dvlt_ros reconstruct`: a lifecycle node from camera images to depth, points, poses and a map.

configure   loads the weights, warms up, makes the publishers
activate    subscribes, starts the worker and the publishing thread
deactivate  stops both
cleanup     frees the device
"""

from __future__ import annotations

import gc
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import rclpy
import torch
from diagnostic_msgs.msg import DiagnosticStatus
from diagnostic_updater import DiagnosticStatusWrapper, Updater
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.exceptions import ParameterException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from std_srvs.srv import SetBool, Trigger

from ..engine.builder import MapBuilder
from ..engine.engine import Engine
from ..engine.gravity import Gravity
from ..engine.loading import digest_of
from ..engine.loop_closer import LoopParts, prepare_loops
from ..engine.metric_map import MetricMap
from ..engine.relocalisation import load_saved_map
from ..engine.rig import Rig
from ..engine.sparse_depth import SparseDepth
from ..engine.unscaled_map import UnscaledMap
from ..engine.warming import warm_up
from ..errors import ConfigError, DvltError, InputError
from .command_line import refuse_other_arguments
from .complaints import Complaints
from .config import NodeConfig, Settings
from .device import load_predictor
from .frame_outputs import prefixed
from .imu import ImuIntake, gravity_of_mount
from .odometry import OdometryIntake
from .outputs import Outputs
from .parameters import Parameters
from .process import settle_process
from .saving import open_map, save_map
from .sparse_depth import SparseDepthIntake
from .status import Condition, status_message
from .stream import Stream
from .tf_tree import LATEST, CameraAnchor, OdomAnchor, TfTree, TreeError

FOLLOW_PERIOD_S = 0.5
STATUS_PERIOD_S = 1.0


class ReconstructNode(LifecycleNode):
    """Wires engine, topics, parameters, services and the lifecycle; the work is done elsewhere."""

    def __init__(self, name: str = "dvlt", **options: Any) -> None:
        """``options`` are those of rclpy's nodes."""
        super().__init__(name, **options)
        self._engine: Engine | None = None
        self._builder: MapBuilder | None = None
        self._outputs: Outputs | None = None
        self._tree: TfTree | None = None
        self._anchor: CameraAnchor | OdomAnchor | None = None
        self._odometry: OdometryIntake | None = None
        self._metric: MetricMap | None = None
        self._unscaled = UnscaledMap()  # in place of it, without a source of metres
        self._loops = LoopParts()
        self._checkpoint = ""  # digest; empty: no places are recognised
        self._sensors: list[SparseDepthIntake | ImuIntake] = []
        self._stream: Stream | None = None
        self._label = "unconfigured"
        self._complaints = Complaints(self.get_logger().warning)
        self._settings = Parameters(self, lambda: self._engine is not None, self._on_parameters)
        self.create_service(Trigger, "~/reset", self._on_reset)
        self.create_service(Trigger, "~/save_map", self._on_save_map)
        self.create_service(Trigger, "~/load_map", self._on_load_map)
        self.create_service(SetBool, "~/pause", self._on_pause)
        self._status = self.create_publisher(DiagnosticStatus, "status", 5)
        self._updater = Updater(self)
        self._updater.setHardwareID("dvlt_ros")
        self._updater.add("reconstruction", self._diagnose)
        steady = Clock(clock_type=ClockType.STEADY_TIME)  # they go on while simulated time stands still
        self.create_timer(STATUS_PERIOD_S, self._publish_status, clock=steady)
        self.create_timer(FOLLOW_PERIOD_S, self._follow, clock=steady)

    # Lifecycle: a transition that cannot be done fails with its reason in the log, and changes nothing.

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._transition("configure", "inactive", self._configure, undo=self._cleanup)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        def activate() -> None:
            super(ReconstructNode, self).on_activate(state)  # the publishers
            self._activate()

        return self._transition("activate", "active", activate, undo=self._deactivate)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        def deactivate() -> None:
            self._deactivate()
            super(ReconstructNode, self).on_deactivate(state)

        return self._transition("deactivate", "inactive", deactivate)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._transition("clean up", "unconfigured", self._cleanup)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._transition("shut down", "finalized", self.close)

    def close(self) -> None:
        """Ends what runs, in whatever state."""
        self._deactivate()
        self._cleanup()

    def _transition(
        self, name: str, label: str, action: Callable[[], object], undo: Callable[[], None] | None = None
    ) -> TransitionCallbackReturn:
        try:
            action()
        except Exception as error:
            detail = str(error) if isinstance(error, DvltError) else traceback.format_exc()
            self.get_logger().error(f"cannot {name}: {detail}")
            if undo is not None:
                undo()
            return TransitionCallbackReturn.FAILURE
        self._label = label
        return TransitionCallbackReturn.SUCCESS

    def _configure(self) -> None:
        settings = self._settings.current
        node, config = settings.node, settings.engine
        predictor = load_predictor(node, config.image_rotation)
        if node.placement != "none" or node.has_metric_source or node.gravity_source != "auto":
            self._tree = TfTree(self, node.tf_timeout_s)
            self._anchor = self._make_anchor(node, self._tree)
        rig = Rig(node.cameras, self._mount, settings.rig) if node.cameras else None
        loops = prepare_loops(settings.closing, settings.places, settings.loops, predictor, node.has_metric_source)
        gravity = self._find_gravity(settings)
        engine = Engine(predictor, config, self._complaints, rig=rig, gravity=gravity, loops=loops.finder)
        warm_up(engine)
        if node.odom_source != "none" and self._tree is not None:
            self._odometry = OdometryIntake(self, node, settings.odometry, self._tree, self._complaints)
        if node.has_metric_source:
            camera_in_odom = None if self._odometry is None else self._odometry.camera
            self._metric = MetricMap(camera_in_odom, settings.scale, self._find_depth(settings), loops.graph)
        self._loops, self._unscaled = loops, UnscaledMap(loops.graph)
        self._checkpoint = "" if loops.finder is None else digest_of(node.weights)
        self._outputs = Outputs(self, node, self._anchor, self._odometry, self._tree)
        self._builder = MapBuilder(config, node.cameras[0] if node.cameras else "")
        self._engine = engine
        gc.freeze()  # collections in the middle of a window need not look at the network
        what = f"model {node.model}, {node.weights or 'its own weights'}, on {predictor.device}"
        self.get_logger().info(f"ready with {what}, K from {engine.limits.k_min} to {engine.limits.k_max}")
        if node.publish_unscaled and self._metric is None:
            self.get_logger().warning("publish_unscaled: lengths are NOT metres but up to one unknown factor")

    def _mount(self, frame_id: str) -> np.ndarray:
        """base_from_cam (4, 4) of a camera of the rig, metres. Raises InputError: TF does not have it."""
        node = self._settings.current.node
        assert self._tree is not None
        base, camera = (prefixed(node.frame_prefix, frame) for frame in (node.base_frame, frame_id))
        try:
            return self._tree.look_up(base, camera, LATEST)
        except TreeError as error:
            raise InputError(f"its mount is not known: {error}") from error

    def _find_gravity(self, settings: Settings) -> Gravity | None:
        if self._tree is None or settings.node.gravity_source == "auto":
            return None
        if settings.node.gravity_source == "mount":
            return gravity_of_mount(settings.node, settings.gravity, self._tree)
        imu = ImuIntake(self, settings.node, settings.gravity, self._tree, self._complaints)
        self._sensors.append(imu)
        return Gravity("imu", imu.level_from_cam, settings.gravity)

    def _find_depth(self, settings: Settings) -> SparseDepth | None:
        if self._tree is None or settings.node.depth_source == "none":
            return None
        camera_in_odom = None if self._odometry is None else self._odometry.camera
        sensor = SparseDepthIntake(self, settings.node, settings.depth, self._tree, camera_in_odom)
        self._sensors.append(sensor)
        return SparseDepth(sensor.points)

    def _make_anchor(self, config: NodeConfig, tree: TfTree) -> CameraAnchor | OdomAnchor | None:
        map_frame = config.frame_prefix + config.map_frame
        if config.placement == "map_to_camera":
            return CameraAnchor(tree, map_frame)
        if config.placement == "map_to_odom":
            return OdomAnchor(self, tree, map_frame, lambda: self._settings.current.node)
        return None

    def _activate(self) -> None:
        assert self._engine is not None
        assert self._outputs is not None
        assert self._builder is not None
        self._stream = Stream(
            self, self._engine, self._metric or self._unscaled, self._outputs, self._builder, self._settings,
            self._complaints, self._publish_status,
        )  # fmt: skip

    def _deactivate(self) -> None:
        if self._stream is not None:
            self._stream.stop()
            self._stream = None
        if self._anchor is not None:
            self._anchor.stop()

    def _cleanup(self) -> None:
        if self._outputs is not None:
            self._outputs.close()
        for part in (self._anchor, self._odometry, *self._sensors, self._tree):
            if part is not None:
                part.close()
        self._outputs = self._anchor = self._odometry = self._tree = None
        self._metric = self._engine = self._builder = None
        self._unscaled, self._loops = UnscaledMap(), LoopParts()
        self._sensors.clear()
        gc.unfreeze()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    # Parameters, services and timers

    def _on_parameters(self, settings: Settings) -> None:
        if self._engine is not None:
            self._engine.configure(settings.engine)
        if self._metric is not None:
            self._metric.configure(settings.scale)
        if self._loops.finder is not None:
            self._loops.finder.configure(settings.closing, settings.places, settings.loops)

    def _on_reset(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """A new map begins with the next frame."""
        response.success = self._stream is not None
        response.message = "a new map begins" if response.success else f"the node is {self._label}"
        if self._stream is not None:
            self._stream.restart("reset was called")
        return response

    def _on_save_map(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        try:
            if self._builder is None:
                raise ConfigError(f"the node is {self._label}")
            config = self._settings.current.node
            visits = {} if self._loops.finder is None else self._loops.finder.visits()
            for ended in self._builder.kept():  # no loop has joined them
                if len(ended.cloud.points) and not ended.is_as_loaded:
                    save_map(ended, visits, config, self._checkpoint)
            response.message = str(save_map(self._builder.snapshot(), visits, config, self._checkpoint))  # the newest
            response.success = True
        except DvltError as error:
            response.message = f"not saved: {error}"
        return response

    def _on_load_map(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """A file that is refused changes nothing."""
        try:
            if self._engine is None or self._builder is None:
                raise ConfigError(f"the node is {self._label}")
            if self._loops.graph is None:
                raise ConfigError(f"no loops are closed: {self._loops.reason}")
            path, saved = open_map(self._settings.current.node, self._checkpoint)
            if self._stream is None:
                load_saved_map(saved, self._engine, self._metric or self._unscaled, self._builder)
            else:
                self._stream.load(saved)
            response.message = f"{path}: {len(saved.visits)} places, {len(saved.cloud.points)} points"
            response.success = True
        except DvltError as error:
            response.message = f"not loaded: {error}"
        return response

    def _on_pause(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        response.success = self._stream is not None
        response.message = f"the node is {self._label}"
        if self._stream is not None:
            self._stream.paused = request.data
            response.message = "paused" if request.data else "going on"
        return response

    def _follow(self) -> None:
        if self._stream is not None:
            for intake in self._stream.intakes:
                intake.follow()
        if self._odometry is not None:
            self._odometry.follow()
        for sensor in self._sensors:
            sensor.follow()

    def _status_message(self) -> DiagnosticStatus:
        return status_message(
            Condition(
                self.get_fully_qualified_name(), self._label, self._settings.current,
                self._engine, self._metric, self._outputs, self._stream, self._complaints.latest,
                self._loops,
            )
        )  # fmt: skip

    def _publish_status(self) -> None:
        if self._status.get_subscription_count():
            self._status.publish(self._status_message())

    def _diagnose(self, status: DiagnosticStatusWrapper) -> DiagnosticStatusWrapper:
        message = self._status_message()
        status.summary(message.level, message.message)
        for value in message.values:
            status.add(value.key, value.value)
        return status


def main(args: Sequence[str] | None = None) -> None:
    refuse_other_arguments("reconstruct", __doc__, args)
    settle_process()
    rclpy.init(args=args)
    try:
        node = ReconstructNode()
    except (ConfigError, ParameterException) as error:
        rclpy.try_shutdown()
        sys.exit(f"reconstruct: {error}")
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        executor.spin()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except RuntimeError:  # RCLError: a signal may end the context between two looks at it
        if rclpy.ok():
            raise
    finally:
        node.close()
        node.destroy_node()
        rclpy.try_shutdown()


if __name__ == "__main__":
    main()
