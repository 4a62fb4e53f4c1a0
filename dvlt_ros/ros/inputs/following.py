"""Subscriptions that take what is offered."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription

from ..complaints import Complaints, Guard
from ..config import Reliability

QUEUE = QoSProfile(depth=5, history=HistoryPolicy.KEEP_LAST)
LATCHED = ReliabilityPolicy.RELIABLE, DurabilityPolicy.TRANSIENT_LOCAL
MAX_TOPICS = 3  # that are named as others with images


class FollowingSubscription:
    """A subscription with the reliability and durability that all publishers offer, looked at anew by `follow`.

    A reliable subscription does not match best-effort publishers, and a best-effort one loses big images from
    reliable ones; a volatile one misses what was published once before it came, and a transient-local one does not
    match volatile publishers. So nothing is right before the publishers are known. Of a state, such as camera_info,
    what was published once is heard also beside volatile publishers, by a second subscription. What a callback raises
    is counted and said; the node goes on.
    """

    def __init__(
        self, node: Node, kind: type, topic: str, callback: Callable[..., None], reliability: Reliability,
        qos: QoSProfile = QUEUE, is_state: bool = False,
    ) -> None:  # fmt: skip
        """``is_state``: only the newest message counts, and it may come twice."""
        self._node = node
        self._is_state = is_state
        self._kind = kind
        self._callback = callback
        self._asked = reliability
        self._qos = qos
        self.topic = node.resolve_topic_name(topic)
        self.reliability = ReliabilityPolicy.BEST_EFFORT if reliability == "best_effort" else ReliabilityPolicy.RELIABLE
        self.durability = DurabilityPolicy.VOLATILE
        self._takes_info = len(inspect.signature(callback).parameters) > 1
        self._guard = Guard(self.topic, Complaints(node.get_logger().error))
        self._subscription = self._subscribe(self.reliability, self.durability)
        self._of_latched: Subscription[Any] | None = None  # beside a volatile one

    def follow(self) -> None:
        offers = [info.qos_profile for info in self._node.get_publishers_info_by_topic(self.topic)]
        if not offers:
            return
        wanted = self.reliability, self.durability
        if self._asked == "auto":
            reliable = all(offer.reliability == ReliabilityPolicy.RELIABLE for offer in offers)
            latched = all(offer.durability == DurabilityPolicy.TRANSIENT_LOCAL for offer in offers)
            wanted = (
                ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
                DurabilityPolicy.TRANSIENT_LOCAL if latched and reliable else DurabilityPolicy.VOLATILE,
            )
        if wanted != (self.reliability, self.durability):
            self.reliability, self.durability = wanted
            self._node.destroy_subscription(self._subscription)
            self._subscription = self._subscribe(*wanted)
        self._follow_latched(self._is_state and self.durability != LATCHED[1] and any(map(is_latched, offers)))

    def _follow_latched(self, is_wanted: bool) -> None:
        if is_wanted and self._of_latched is None:
            self._of_latched = self._subscribe(*LATCHED)
        elif not is_wanted and self._of_latched is not None:
            self._node.destroy_subscription(self._of_latched)
            self._of_latched = None

    @property
    def refusal(self) -> str:
        """Why the latest message was refused that was; empty: none was."""
        return self._guard.refusal

    @property
    def num_publishers(self) -> int:
        return self._node.count_publishers(self.topic)

    def silence(self) -> str:
        """What is known of the publishers, of a topic on which nothing comes."""
        offered = {info.topic_type for info in self._node.get_publishers_info_by_topic(self.topic)}
        wanted = type_name(self._kind)
        if not offered:
            others = ", ".join(self._elsewhere(wanted)[:MAX_TOPICS])
            return "it has no publisher" + (f"; {wanted} comes on {others}" if others else "")
        if wanted not in offered:
            return f"its publisher sends {', '.join(sorted(offered))} and not {wanted}"
        return (
            "it has a publisher; with best effort and the default transport big messages get lost: see "
            f"config/fastdds.xml, or set input.reliability (now {self.reliability.name.lower()})"
        )

    def _elsewhere(self, wanted: str) -> list[str]:
        """Topics of that type that others publish."""
        own = {publisher.topic_name for publisher in self._node.publishers}
        topics = [topic for topic, types in self._node.get_topic_names_and_types() if wanted in types]
        return [topic for topic in topics if topic not in own and self._node.count_publishers(topic)]

    def close(self) -> None:
        self._follow_latched(is_wanted=False)
        self._node.destroy_subscription(self._subscription)

    def _subscribe(self, reliability: ReliabilityPolicy, durability: DurabilityPolicy) -> Subscription[Any]:
        qos = QoSProfile(
            depth=self._qos.depth, history=self._qos.history, reliability=reliability, durability=durability
        )
        quiet = SubscriptionEventCallbacks(incompatible_qos=lambda _: None, use_default_callbacks=False)
        return self._node.create_subscription(self._kind, self.topic, self._on_message, qos, event_callbacks=quiet)

    def _on_message(self, message: Any, info: dict[str, int]) -> None:
        self._guard(self._callback, message, *([info] if self._takes_info else []))


def is_latched(offer: QoSProfile) -> bool:
    """Whether a publisher keeps what it has published for those that come later."""
    return (offer.reliability, offer.durability) == LATCHED


def type_name(kind: type) -> str:
    """As ROS's tools write it, sensor_msgs/msg/Image for example."""
    return f"{kind.__module__.partition('.')[0]}/msg/{kind.__name__}"
