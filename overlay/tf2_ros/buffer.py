"""A tree of frames over time, and the transform between any two of them."""

from __future__ import annotations

import threading
import time as steady
from typing import Any, TypeAlias

import numpy as np
from builtin_interfaces.msg import Time as TimeMessage
from geometry_msgs.msg import TransformStamped
from rclpy.clock import Clock, JumpThreshold
from rclpy.duration import Duration
from rclpy.logging import get_logger
from rclpy.time import Time

from .exceptions import (
    ConnectivityException,
    ExtrapolationException,
    InvalidArgumentException,
    LookupException,
    TransformException,
)
from .frame_history import IDENTITY, FrameHistory, Pose, Sample

DEFAULT_CACHE_TIME = Duration(seconds=10)
AnyTime: TypeAlias = "Time | TimeMessage"  # of rclpy, or a message
Chain = dict[str, Pose]  # ancestor -> ancestor_from_frame, from the frame itself up to its root


class Buffer:
    """Thread-safe; waits on new data and on a steady clock."""

    def __init__(self, cache_time: Duration | None = None, node: Any = None) -> None:
        self._max_age_ns = (cache_time or DEFAULT_CACHE_TIME).nanoseconds
        self._frames: dict[str, FrameHistory] = {}  # by child
        self._names: set[str] = set()
        self._changed = threading.Condition()
        self.clock = node.get_clock() if node is not None else Clock()
        backward = JumpThreshold(min_forward=None, min_backward=Duration(seconds=-1), on_clock_change=True)
        self.jump_handle = self.clock.create_jump_callback(backward, post_callback=self._on_jump)

    def set_transform(self, transform: TransformStamped, authority: str) -> None:
        self._insert(transform, authority, is_static=False)

    def set_transform_static(self, transform: TransformStamped, authority: str) -> None:
        self._insert(transform, authority, is_static=True)

    def clear(self) -> None:
        """Forget all that moves; static transforms stay."""
        with self._changed:
            for history in self._frames.values():
                history.clear()

    def all_frames_as_yaml(self) -> str:
        """The tree: every frame with its newest parent."""
        with self._changed:
            newest = {child: history.samples[-1] for child, history in self._frames.items() if history.samples}
        lines = [f"{child}: \n  parent: '{sample.parent}'\n" for child, sample in sorted(newest.items())]
        return "".join(lines) or "{}"

    def lookup_transform(
        self, target_frame: str, source_frame: str, time: AnyTime, timeout: Duration = Duration()  # noqa: B008
    ) -> TransformStamped:  # fmt: skip
        """target_from_source at `time` (zero: the latest that all frames between have)."""
        self.can_transform(target_frame, source_frame, time, timeout)
        return self.lookup_transform_core(target_frame, source_frame, time)

    def lookup_transform_full(
        self, target_frame: str, target_time: AnyTime, source_frame: str, source_time: AnyTime, fixed_frame: str,
        timeout: Duration = Duration(),  # noqa: B008
    ) -> TransformStamped:  # fmt: skip
        """target at `target_time` from source at `source_time`, through a frame that does not move between."""
        fixed_from_source = self.lookup_transform(fixed_frame, source_frame, source_time, timeout)
        target_from_fixed = self.lookup_transform(target_frame, fixed_frame, target_time, timeout)
        stamp_ns = Time.from_msg(target_from_fixed.header.stamp).nanoseconds
        return to_message(target_frame, source_frame, stamp_ns, to_pose(target_from_fixed) @ to_pose(fixed_from_source))

    def can_transform(
        self, target_frame: str, source_frame: str, time: AnyTime, timeout: Duration = Duration(),  # noqa: B008
        return_debug_tuple: bool = False,
    ) -> bool | tuple[bool, str]:  # fmt: skip
        deadline_s = steady.monotonic() + timeout.nanoseconds * 1e-9
        with self._changed:
            result = self.can_transform_core(target_frame, source_frame, time)
            while not result[0] and (left_s := deadline_s - steady.monotonic()) > 0:
                self._changed.wait(left_s)
                result = self.can_transform_core(target_frame, source_frame, time)
        return result if return_debug_tuple else result[0]

    def can_transform_core(self, target_frame: str, source_frame: str, time: AnyTime) -> tuple[bool, str]:
        try:
            self.lookup_transform_core(target_frame, source_frame, time)
        except TransformException as error:
            return False, str(error)
        return True, ""

    def lookup_transform_core(self, target_frame: str, source_frame: str, time: AnyTime) -> TransformStamped:
        asked_ns = nanoseconds_of(time)
        with self._changed:
            if target_frame == source_frame:  # known or not
                return to_message(target_frame, source_frame, asked_ns or self._latest_ns(target_frame), IDENTITY)
            for role, frame in (("target_frame", target_frame), ("source_frame", source_frame)):
                self._require_known(role, frame)
            stamp_ns = asked_ns or self._latest_common_ns(target_frame, source_frame)
            target, source, common = self._chains_to_common_ancestor(target_frame, source_frame, stamp_ns)
            pose = target[common].inverse() @ source[common]
        return to_message(target_frame, source_frame, stamp_ns, pose)

    def _insert(self, transform: TransformStamped, authority: str, is_static: bool) -> None:
        parent, child = transform.header.frame_id.removeprefix("/"), transform.child_frame_id.removeprefix("/")
        pose, stamp_ns = normalised(to_pose(transform)), nanoseconds_of(transform.header.stamp)
        if (problem := reason_to_refuse(parent, child, pose)) is not None:
            get_logger("tf2_buffer").error(f"Ignoring transform from authority '{authority}': {problem}")
            return
        with self._changed:
            history = self._frames.get(child)
            if history is None or history.is_static != is_static:  # one that turns static, or moving, begins anew
                history = self._frames[child] = FrameHistory(is_static, self._max_age_ns)
            self._names.update((parent, child))
            if history.insert(Sample(stamp_ns, parent, pose)):
                self._changed.notify_all()

    def _require_known(self, role: str, frame: str) -> None:
        if not frame:
            raise InvalidArgumentException(
                f"Invalid argument passed to lookupTransform argument {role}: frame_id is empty"
            )
        if frame.startswith("/"):
            raise InvalidArgumentException(
                f'Invalid argument "{frame}" passed to lookupTransform argument {role}: frame_ids cannot start with "/"'
            )
        if frame not in self._names:
            raise LookupException(f'"{frame}" passed to lookupTransform argument {role} does not exist.')

    def _chain(self, frame: str, stamp_ns: int) -> tuple[Chain, ExtrapolationException | None]:
        """As far up as there is data at that time, and what ended it before the root."""
        chain: Chain = {frame: IDENTITY}
        current, pose = frame, IDENTITY
        while (history := self._frames.get(current)) is not None:
            try:
                sample = history.at(stamp_ns)
            except ExtrapolationException as error:
                return chain, error
            if sample is None:  # forgotten: at a time of one's own choice that is an extrapolation
                return chain, ExtrapolationException(f"no data of frame [{current}]") if stamp_ns else None
            current, pose = sample.parent, sample.pose @ pose
            if current in chain:
                raise LookupException(f"The tf tree is invalid because it contains a loop at frame {current}")
            chain[current] = pose
        return chain, None

    def _chains_to_common_ancestor(
        self, target_frame: str, source_frame: str, stamp_ns: int
    ) -> tuple[Chain, Chain, str]:
        target, target_error = self._chain(target_frame, stamp_ns)
        source, source_error = self._chain(source_frame, stamp_ns)
        common = next((frame for frame in source if frame in target), None)
        if common is not None:
            return target, source, common
        if (error := source_error or target_error) is not None:
            context = f", when looking up transform from frame [{source_frame}] to frame [{target_frame}]"
            raise ExtrapolationException(f"{error}{context}")
        raise ConnectivityException(
            f"Could not find a connection between '{target_frame}' and '{source_frame}' because they are not part "
            "of the same tree. Tf has two or more unconnected trees."
        )

    def _latest_common_ns(self, target_frame: str, source_frame: str) -> int:
        """The newest stamp that every moving frame between the two has; 0 if nothing between them moves."""
        target, source, common = self._chains_to_common_ancestor(target_frame, source_frame, 0)
        between = [list(chain)[: list(chain).index(common)] for chain in (target, source)]
        stamps_ns = [self._latest_ns(frame) for frames in between for frame in frames]
        return min((stamp for stamp in stamps_ns if stamp), default=0)

    def _latest_ns(self, frame: str) -> int:
        """0 for a frame that is static, or not known."""
        history = self._frames.get(frame)
        return 0 if history is None or history.is_static or not history.samples else history.samples[-1].stamp_ns

    def _on_jump(self, _: Any) -> None:
        get_logger("tf2_buffer").warning("Detected jump back in time. Clearing tf buffer.")
        self.clear()


def reason_to_refuse(parent: str, child: str, pose: Pose) -> str | None:
    if not parent or not child:
        return f"frame_id '{parent}' or child_frame_id '{child}' is empty"
    if parent == child:
        return f"frame_id and child_frame_id are both '{child}'"
    if np.isnan(pose.translation).any() or np.isnan(pose.rotation).any():
        return f"child_frame_id '{child}' has a value that is NaN, or a quaternion of length 0"
    return None


def normalised(pose: Pose) -> Pose:
    """With a quaternion of length 1, of whatever length it came; NaN of length 0."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return Pose(pose.translation, pose.rotation / np.linalg.norm(pose.rotation))


def nanoseconds_of(time: AnyTime) -> int:
    return time.nanoseconds if isinstance(time, Time) else int(time.sec) * 10**9 + int(time.nanosec)


def to_pose(transform: TransformStamped) -> Pose:
    t, q = transform.transform.translation, transform.transform.rotation
    return Pose(np.array([t.x, t.y, t.z]), np.array([q.x, q.y, q.z, q.w]))


def to_message(target_frame: str, source_frame: str, stamp_ns: int, pose: Pose) -> TransformStamped:
    message = TransformStamped()
    message.header.stamp = Time(nanoseconds=stamp_ns).to_msg()
    message.header.frame_id, message.child_frame_id = target_frame, source_frame
    t, q = message.transform.translation, message.transform.rotation
    t.x, t.y, t.z = pose.translation.tolist()
    q.x, q.y, q.z, q.w = pose.rotation.tolist()
    return message
