"""One activation of the node: images in, the mapping thread, the publishing thread."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from contextlib import ExitStack, closing

from geometry_msgs.msg import PoseWithCovarianceStamped
from rclpy.lifecycle import LifecycleNode

from ...errors import DvltError, InputError
from ...health import Health
from ...mapping.data.frames import Frame
from ...mapping.data.region import Region
from ...mapping.mapping_thread import MappingThread
from ...mapping.maps.map_update import MapUpdate
from ...mapping.maps.saved_map import SavedMap
from ..complaints import Complaints
from ..inputs.intake import Intake
from ..inputs.pose_hint import PoseHintIntake, pose_hint
from ..outputs.publishing import PublishingThread
from ..outputs.surfaces import SurfaceThread
from ..parameters import Parameters
from ..status_board import StatusBoard
from .parts import Parts


class Stream:
    """Runs from construction to `stop`. Frames that arrive while it is paused are ignored."""

    def __init__(
        self, node: LifecycleNode, parts: Parts, parameters: Parameters, complain: Complaints,
        published: Callable[[], None],
    ) -> None:  # fmt: skip
        """The publishing thread calls ``published`` after each window."""
        self.paused = False
        self.board = StatusBoard()
        self._mapper, self._sensors = parts.mapper, parts.sensors
        self._complain = complain
        self.publishing = PublishingThread(
            parts.outputs, parts.mapper,
            config=lambda: parameters.current.node,
            budget_ms=lambda: parameters.current.mapper.budget.latency_ms,
            now_ns=lambda: node.get_clock().now().nanoseconds,
            fail=lambda error: complain(f"publication failed: {describe_error(error)}"),
            published=published,
            board=self.board,
        )  # fmt: skip
        self._surfaces = SurfaceThread(
            parts.outputs.surfaces, parts.mapper, lambda: parameters.current.node, self.board,
            fail=lambda error: complain(f"mesh or grid failed: {describe_error(error)}"),
        )  # fmt: skip
        self.mapping = MappingThread(parts.mapper, self._deliver, self._on_failure, self._on_loop_failure)
        config = parameters.current.node
        cameras = config.cameras.names or ("",)
        with ExitStack() as opened:  # if one subscription fails, the others are closed
            self.intakes = [
                opened.enter_context(closing(Intake(node, config, self._offer, self.board, camera)))
                for camera in cameras
            ]
            map_frame = config.frames.prefix + config.frames.map
            opened.enter_context(closing(PoseHintIntake(node, map_frame, self._hint, complain)))
            self._subscribed = opened.pop_all()
        self.publishing.start()
        self._surfaces.start()
        self.mapping.start()

    def stop(self) -> None:
        """Closes the subscriptions, then ends its threads."""
        self._subscribed.close()
        self.mapping.stop()
        self.publishing.stop()
        self._surfaces.stop()

    def follow(self) -> None:
        """Follows the publishers' reliability, see `FollowingSubscription`."""
        for intake in self.intakes:
            intake.follow()

    @property
    def intake(self) -> Intake:
        """The first camera's."""
        return self.intakes[0]

    def restart(self) -> Future[None]:
        """Begins another map between two windows."""
        return self.mapping.request(self._mapper.reset)

    def load(self, saved: SavedMap) -> Future[None]:
        """Loads a saved map between two windows; the next frame begins another map beside it."""

        def action() -> None:
            self._mapper.load(saved)
            self.publishing.renew_map()

        return self.mapping.request(action)

    def delete_region(self, region: Region) -> Future[str]:
        """Deletes a part of the current map between two windows; the future says what."""

        def action() -> str:
            deleted = self._mapper.delete_region(region)
            self.publishing.renew_map()
            return deleted

        return self.mapping.request(action)

    def _hint(self, message: PoseWithCovarianceStamped) -> None:
        """Where the robot is in the saved map, about; between two windows, as the mount may have to be waited for."""

        def action() -> None:
            try:
                if self._sensors is None:
                    raise InputError("initialpose: TF is not used (tf.mode: none), so the camera's mount is not known")
                base_from_cam, latest_ns = self._sensors.base_from_cam, self._mapper.latest_stamp_ns
                self._mapper.hint(pose_hint(message, self.intake.frame_id, latest_ns, base_from_cam))
            except DvltError as error:
                self._complain(f"initialpose is not used: {str(error).removeprefix('initialpose: ')}")

        self.mapping.request(action)

    def _offer(self, frame: Frame) -> None:
        if not self.paused:
            self.mapping.offer(frame)

    def _deliver(self, update: MapUpdate) -> None:
        self.publishing.deliver(update)
        self.board.post("mapping", Health.ok())

    def _on_loop_failure(self, error: Exception) -> None:
        self._complain(f"a loop could not be checked, or keyframes not adjusted: {describe_error(error)}")

    def _on_failure(self, error: Exception) -> None:
        problem = f"a window failed: {describe_error(error)}"
        self.board.post("mapping", Health.error(problem))
        self._complain(problem)


def describe_error(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
