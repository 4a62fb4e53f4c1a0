"""A camera, a listener and a caller around a node, over real DDS."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np
from configs import dotted
from diagnostic_msgs.msg import DiagnosticStatus
from geometry_msgs.msg import PoseWithCovarianceStamped
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from nav_msgs.msg import Odometry
from nav_msgs.msg import Path as PathMessage
from rcl_interfaces.srv import SetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.time import Time
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2
from tf2_msgs.msg import TFMessage

from dvlt_ros.ros.config import Settings
from dvlt_ros.ros.node import ReconstructNode

HEIGHT, WIDTH = 48, 64
NAMES = dotted(Settings)  # parameters are called with _ for the dot here
ROOM = sorted((Path(__file__).parents[3] / "dvlt_ros" / "demo" / "room").glob("*.jpg"))
QUICK = {
    "model_device": "cpu", "output_publish_unscaled": True, "output_map_rate_hz": 20.0, "model_image_size": 56,
    "budget_k_max": 2, "keyframes_min_change": 0.0, "registration_max_residual": 0.9, "output_points_stride": 1,
    "output_stale_after_s": 600.0,  # on a busy machine nothing is silent before the test says so
}  # fmt: skip
LIMIT_S = 60.0  # only a failure reaches it
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
TOPICS = {
    "depth/image": (Image, 10),
    "depth/image/compressedDepth": (CompressedImage, 10),
    "depth/camera_info": (CameraInfo, 10),
    "rgb/image_rect": (Image, 10),
    "confidence/image": (Image, 10),
    "points": (PointCloud2, 10),
    "obstacles": (PointCloud2, 10),
    "pose": (PoseWithCovarianceStamped, 10),
    "odometry": (Odometry, 50),
    "path": (PathMessage, LATCHED),
    "map_points": (PointCloud2, LATCHED),
    "status": (DiagnosticStatus, 10),
}
SETS = ("depth/image", "depth/camera_info", "rgb/image_rect", "confidence/image", "points", "pose")


class Robot:
    """A camera, a listener to all outputs and a caller of all services, around a node that spins on its own thread."""

    def __init__(
        self, ros, weights, namespace="/", transport="raw", reliability=ReliabilityPolicy.RELIABLE, **parameters
    ):
        parameters = QUICK | {"model_weights": weights} | parameters
        parameters["input_transport"] = transport
        overrides = [Parameter(NAMES.get(name, name), value=value) for name, value in parameters.items()]
        self.node = ReconstructNode(namespace=namespace, parameter_overrides=overrides)
        self.me = ros.create_node("robot", namespace=namespace)
        self.messages = defaultdict(list)
        self.stamp_ns, self.shown = 10**9, 0
        self.complaints = []
        self.node._complaints._say = self.complaints.append
        topic, kind = ("image/compressed", CompressedImage) if transport == "compressed" else ("image", Image)
        self.camera = self.me.create_publisher(kind, topic, QoSProfile(depth=10, reliability=reliability))
        self.camera_info = self.me.create_publisher(CameraInfo, "camera_info", 10)
        for name, (kind, qos) in TOPICS.items():
            self.me.create_subscription(kind, name, self.messages[name].append, qos)
        self.me.create_subscription(TFMessage, "/tf", lambda m: self.messages["/tf"].extend(m.transforms), 100)
        self.executors = [SingleThreadedExecutor() for _ in range(2)]
        for executor, node in zip(self.executors, (self.node, self.me), strict=True):
            executor.add_node(node)
        self.is_over = threading.Event()
        self.threads = [threading.Thread(target=self._spin, args=(e,), daemon=True) for e in self.executors]
        for thread in self.threads:
            thread.start()

    def _spin(self, executor):
        while not self.is_over.is_set():
            executor.spin_once(timeout_sec=1.0)

    def close(self):
        """Threads first: rclpy takes an executor's guard condition away from a callback that is at its end."""
        self.is_over.set()
        for executor, thread in zip(self.executors, self.threads, strict=True):
            executor.wake()
            thread.join()
            executor.shutdown()
        self.node.close()
        self.node.destroy_node()
        self.me.destroy_node()

    @property
    def parts(self):
        """What the node consists of while it is configured."""
        return self.node._parts

    @property
    def sensors(self):
        return self.node._parts.sensors

    def until(self, condition, what="the awaited event"):
        deadline_s = time.monotonic() + LIMIT_S
        while not condition():
            assert time.monotonic() < deadline_s, f"{what} did not come; complaints: {self.complaints}"
            time.sleep(0.005)

    def where_it_spins(self, call, *arguments):
        """On the thread of `me`: rclpy must not wait for what is destroyed at the same moment."""
        done = self.executors[1].create_task(call, *arguments)
        self.until(done.done, "the end of a call")

    def send(self, message, topic):
        """Publishes one message as soon as the node listens."""
        publisher = self.me.create_publisher(type(message), topic, 1)
        self.until(lambda: publisher.get_subscription_count(), f"a subscription to {topic}")
        publisher.publish(message)

    def call(self, kind, name, request):
        client = self.me.create_client(kind, name)
        assert client.wait_for_service(LIMIT_S)
        future = client.call_async(request)
        self.until(future.done, name)
        self.me.destroy_client(client)
        return future.result()

    def ask(self, kind, name, request):
        """A future of what `call` waits for."""
        client = self.me.create_client(kind, name)
        assert client.wait_for_service(LIMIT_S)
        return client.call_async(request)

    def change(self, transition):
        request = ChangeState.Request()
        request.transition.id = transition
        return self.call(ChangeState, f"{self.node.get_name()}/change_state", request).success

    def start(self):
        assert self.change(Transition.TRANSITION_CONFIGURE)
        assert self.change(Transition.TRANSITION_ACTIVATE)
        self.meet()

    def meet(self):
        self.until(lambda: self.camera.get_subscription_count() > 0, "the node's subscription")
        for name in TOPICS:
            self.until(lambda name=name: self.me.count_publishers(name) > 0, name)
        for publisher in vars(self.parts.outputs).values():
            if hasattr(publisher, "get_subscription_count"):
                self.until(lambda p=publisher: p.get_subscription_count() > 0, publisher.topic_name)

    def set(self, **values):
        request = SetParameters.Request()
        request.parameters = [
            Parameter(NAMES.get(name, name), value=value).to_parameter_msg() for name, value in values.items()
        ]
        return self.call(SetParameters, f"{self.node.get_name()}/set_parameters", request).results

    def show(self, *, frame_id="cam", encoding="rgb8", stamp_ns=None, size=(HEIGHT, WIDTH)):
        """Publishes the next picture of the demo's room and returns its stamp."""
        if stamp_ns is None:
            self.stamp_ns += 100_000_000
            stamp_ns = self.stamp_ns
        self.shown += 1
        image = cv2.resize(cv2.imread(str(ROOM[self.shown % len(ROOM)])), size[::-1], interpolation=cv2.INTER_AREA)
        if self.camera.msg_type is CompressedImage:
            message = CompressedImage(format="jpeg")
            message.data.frombytes(cv2.imencode(".jpg", image)[1].tobytes())
        else:
            message = Image(height=size[0], width=size[1], encoding=encoding, step=3 * size[1])
            message.data.frombytes(image.tobytes())
        message.header.stamp, message.header.frame_id = Time(nanoseconds=stamp_ns).to_msg(), frame_id
        self.camera.publish(message)
        return stamp_ns

    def stamps(self, topic):
        return [Time.from_msg(m.header.stamp).nanoseconds for m in self.messages[topic]]

    def show_and_wait(self, count=3):
        """Publishes pictures one after the other and waits until the node has answered each."""
        for _ in range(count):
            stamp_ns = self.show()
            if self.parts.mapper.counters.read().accepted or count > 1:
                self.until(lambda s=stamp_ns: self.parts.mapper.latest_stamp_ns >= s, "admission")
        self.until(lambda: stamp_ns in self.stamps("points"), "the last frame's points")

    def status(self):
        """The next status, as a dictionary with its level and message."""
        seen = len(self.messages["status"])
        self.until(lambda: len(self.messages["status"]) > seen, "a status")
        message = self.messages["status"][-1]
        return {"level": message.level, "message": message.message} | {v.key: v.value for v in message.values}


def as_image(message):
    dtype = {"32FC1": np.float32, "rgb8": np.uint8}[message.encoding]
    return np.frombuffer(message.data, dtype).reshape(message.height, message.width, -1).squeeze()
