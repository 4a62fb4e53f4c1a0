"""Images and camera_info: callbacks keep references, the mapping thread decodes."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from ...errors import InputError
from ...frame_names import frame_name
from ...health import Health
from ...imaging import ImageDecoder, View
from ...lens import Lens, lens_of_camera_info
from ...mapping.data.frames import Frame, Picture
from ...sources.messages import UNSET, stamp_ns_of
from ..complaints import Complaints, Guard
from ..config import NodeConfig, Reliability
from ..status_board import StatusBoard

QUEUE = QoSProfile(depth=5, history=HistoryPolicy.KEEP_LAST)
MAX_CAMERAS = 16  # frames and sizes whose camera_info is kept
LATCHED = ReliabilityPolicy.RELIABLE, DurabilityPolicy.TRANSIENT_LOCAL
MAX_TOPICS = 3  # that are named as others with images
MAX_TRANSIT_NS = 10 * 10**9  # an older receive time is of another clock


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


class Intake:
    """Turns image messages of one camera into frames, which the mapper decodes when it needs them."""

    def __init__(
        self, node: Node, config: NodeConfig, offer: Callable[[Frame], None], board: StatusBoard, camera: str = ""
    ) -> None:
        """The topics of a rig's ``camera`` begin with its name; problems of its camera_info go to ``board``."""
        self._camera = camera
        self._config, self._offer = config, offer
        self._lenses: dict[tuple[str, tuple[int, int]], Lens] = {}
        self._decoder = ImageDecoder()  # used by the worker alone
        self._last_ns = time.monotonic_ns()
        self.has_images = False  # since the subscription
        self.frame_id = ""  # of the latest image
        self._board = board
        topics = f"{camera}/" if camera else ""
        kind, topic = Image, node.resolve_topic_name(f"{topics}image")
        if config.input.transport == "compressed":
            kind, topic = CompressedImage, f"{topic}/compressed"
        self.images = FollowingSubscription(node, kind, topic, self._on_image, config.input.reliability)
        self.infos = FollowingSubscription(
            node, CameraInfo, f"{topics}camera_info", self._on_info, "auto", is_state=True
        )

    @property
    def silence_s(self) -> float:
        """Seconds since the last image, or since the subscription."""
        return (time.monotonic_ns() - self._last_ns) * 1e-9

    def follow(self) -> None:
        self.images.follow()
        self.infos.follow()

    def close(self) -> None:
        self.images.close()
        self.infos.close()

    def _on_image(self, message: Image | CompressedImage, info: dict[str, int]) -> None:
        received_ns = self._last_ns = receive_time_ns(info)
        self.has_images, self.frame_id = True, self._frame_of(message)
        stamp_ns, load = stamp_ns_of(message.header), partial(self._load, message)
        problem = "" if stamp_ns else UNSET
        self._offer(Frame(stamp_ns, self.frame_id, received_ns, load, self._camera, problem=problem))

    def _on_info(self, message: CameraInfo) -> None:
        """Keeps the lens by frame_id and image size."""
        try:
            lens = lens_of_camera_info(message, self._config.input.is_rectified)
        except InputError as error:
            self._post_camera_info(str(error))
            return
        key = frame_name(message.header.frame_id), lens.size
        lenses = {known: lens for known, lens in self._lenses.items() if known != key} | {key: lens}
        if len(lenses) > MAX_CAMERAS:
            del lenses[next(iter(lenses))]
        self._lenses = lenses  # replaced as a whole: the mapping thread may read it at any time

    def _load(self, message: Image | CompressedImage) -> Picture:
        """Raises InputError for an image without frame, pixels or a known encoding; the node goes on."""
        frame = self._frame_of(message)
        if not frame:
            raise InputError("it has no frame_id; the driver must set it, or input.camera_frame here")
        try:
            image = self._decoder.colour(message)
        except InputError as error:
            raise InputError(f"it does not decode: {error}") from error
        height, width = image.shape[:2]
        lens = self._lens_of(frame_name(message.header.frame_id), (height, width))
        view = View(image, lens).pinhole()
        return Picture(view.image, None if view.lens is None else view.lens.intrinsics)

    def _frame_of(self, message: Image | CompressedImage) -> str:
        return frame_name(message.header.frame_id) or frame_name(self._config.input.camera_frame)

    def _lens_of(self, frame: str, size: tuple[int, int]) -> Lens | None:
        """The camera_info of an image's frame, else the only one of its size: it came on the topic beside it."""
        lenses = self._lenses
        if (lens := lenses.get((frame, size))) is not None:
            self._post_camera_info("")
            return lens
        others = [(other, lens) for (other, its_size), lens in lenses.items() if its_size == size]
        if len(others) == 1:
            (other, lens) = others[0]
            self._post_camera_info(f"its frame_id is '{other}', that of the images '{frame}'; it is used all the same")
            return lens
        if lenses:
            known = ", ".join(f"'{other}' {size[1]} x {size[0]}" for other, size in lenses)
            self._post_camera_info(f"none for '{frame}' {size[1]} x {size[0]}, only for {known}")
        return None

    def _post_camera_info(self, problem: str) -> None:
        """An empty text: there is no problem."""
        text = f"camera_info: {problem}" if problem else ""
        self._board.post("camera_info", Health.unless(text), source=self._camera)


def type_name(kind: type) -> str:
    """As ROS's tools write it, sensor_msgs/msg/Image for example."""
    return f"{kind.__module__.partition('.')[0]}/msg/{kind.__name__}"


def receive_time_ns(info: dict[str, int]) -> int:
    """Receive time of a message on the steady clock; the current time if the middleware does not give it."""
    now_ns, received_ns = time.monotonic_ns(), info.get("received_timestamp", 0)
    transit_ns = time.time_ns() - received_ns
    return now_ns - transit_ns if received_ns > 0 and 0 <= transit_ns < MAX_TRANSIT_NS else now_ns
