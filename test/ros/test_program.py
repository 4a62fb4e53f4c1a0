"""From its arguments to its end: bad arguments end a ROS program with one line, signals end it in good order."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not here; `make venv` brings it, `make test` runs this")

from diagnostic_msgs.msg import DiagnosticStatus
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.executors import SingleThreadedExecutor
from sensor_msgs.msg import Image

from dvlt_ros.demo import DEMO_SEQUENCE
from dvlt_ros.ros import node, program
from dvlt_ros.ros.tools import play_camera

LIMIT_S = 60.0  # only a failure reaches it
SMALL = ("model.image_size:=56", "budget.k_max:=2", "model.device:=cpu", "output.publish_unscaled:=true")


@pytest.mark.parametrize("main", [node.main, play_camera.main])
@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["-p"], "-p flag"),
        (["-p", "window.size"], "-p window.size"),
        (["-p", "window.size:=[1,a"], "window.size:=[1,a"),
        (["--params-file", "/nowhere.yaml"], "/nowhere.yaml"),
        (["-r", "image"], "-r image"),
        (["-r", "__node:=a/b"], "__node:=a/b"),
        (["--log-level", "banana"], "banana"),
        (["--bogus"], "not known after --ros-args: ['--bogus']"),
    ],
)
def test_what_follows_ros_args_is_refused_in_one_line(main, arguments, named):
    with pytest.raises(SystemExit) as ended:
        main(["--ros-args", *arguments])
    said = str(ended.value)
    assert said.startswith(("dvlt_reconstruct: ", "dvlt_play_camera: "))
    assert named in said
    assert "\n" not in said
    assert "/project/" not in said  # a line of rcl's source helps nobody


@pytest.mark.parametrize("main", [node.main, play_camera.main])
def test_other_arguments_are_refused(main, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--input", "photos"])
    assert ended.value.code == 2
    assert "unrecognized arguments: --input photos" in capsys.readouterr().err


def test_what_rcl_refuses_of_the_environment_ends_with_one_line(monkeypatch):
    def refuse(**_):
        raise program.RclError("ROS_DOMAIN_ID is not\nan integral number, at /project/src/rcl/domain_id.c:62")

    monkeypatch.setattr(program.rclpy, "init", refuse)
    with pytest.raises(SystemExit, match=r"^dvlt_play_camera: ROS_DOMAIN_ID is not an integral number$"):
        play_camera.main([])


class Program:
    """A ROS program in a process of its own, and who changes the state of a lifecycle node."""

    def __init__(self, ros, module, *parameters):
        namespace = f"/test{os.getpid()}"  # whoever else is in this domain
        words = ["-r", f"__ns:={namespace}", *(word for parameter in parameters for word in ("-p", parameter))]
        domain = {"ROS_DOMAIN_ID": str(ros.get_default_context().get_domain_id())}
        local = {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", f"dvlt_ros.ros.{module}", "--ros-args", *words],
            env=os.environ | domain | local, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        self.me, self.executor = ros.create_node("caller", namespace=namespace), SingleThreadedExecutor()
        self.executor.add_node(self.me)

    def until(self, condition, what):
        deadline_s = time.monotonic() + LIMIT_S
        while not condition():
            assert time.monotonic() < deadline_s, f"{what} did not come"
            assert self.process.poll() is None, self.process.communicate()[0]
            self.executor.spin_once(timeout_sec=0.05)

    def ask(self, transition):
        client = self.me.create_client(ChangeState, "dvlt/change_state")
        self.until(client.service_is_ready, "the node")
        request = ChangeState.Request()
        request.transition.id = transition
        return client.call_async(request)

    def change(self, transition):
        answer = self.ask(transition)
        self.until(answer.done, "the new state")
        assert answer.result().success

    def hear(self, words):
        for line in self.process.stdout:
            if words in line:
                return
        raise AssertionError(f"not said: {words}")

    def end(self, *signals):
        """Exit status; it says nothing that looks like an error."""
        for number in signals:
            self.process.send_signal(number)
        said, _ = self.process.communicate(timeout=LIMIT_S)
        assert not any(word in said for word in ("Traceback", "invalid", "rror")), said
        return self.process.returncode

    def close(self):
        self.process.kill()
        self.process.communicate()
        self.executor.shutdown()
        self.me.destroy_node()


@pytest.fixture
def start(ros):
    programs = []

    def make(*arguments):
        programs.append(Program(ros, *arguments))
        return programs[-1]

    yield make
    for started in programs:
        started.close()


def test_the_node_ends_well_with_frames_in_flight(start):
    started = start("node", *SMALL)
    started.change(Transition.TRANSITION_CONFIGURE)
    started.change(Transition.TRANSITION_ACTIVATE)
    camera = started.me.create_publisher(Image, "image", 10)
    counts = []
    started.me.create_subscription(
        DiagnosticStatus, "status", lambda m: counts.append({v.key: v.value for v in m.values}), 10
    )
    started.until(camera.get_subscription_count, "the node's subscription")
    message = Image(height=48, width=64, encoding="rgb8", step=3 * 64)
    message.data.frombytes(np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8).tobytes())
    message.header.frame_id = "cam"

    def is_in_flight():
        message.header.stamp.sec += 1
        camera.publish(message)
        return counts and int(counts[-1].get("in_flight", 0)) > 0

    started.until(is_in_flight, "a frame in flight")
    assert started.end(signal.SIGINT) == 0


def test_the_node_ends_at_once_while_it_configures(start):
    started = start("node", *SMALL)
    started.ask(Transition.TRANSITION_CONFIGURE)
    assert started.end(signal.SIGINT) in (0, -signal.SIGINT)


def test_the_player_ends_well_while_it_plays(start):
    started = start("tools.play_camera", f"source:={DEMO_SEQUENCE}", "rate_hz:=5.0", "wait_for_subscriber_s:=0.0")
    started.hear("playing ")
    assert started.end(signal.SIGTERM) == 0


def test_what_a_callback_raises_ends_spinning(ros):
    node = ros.create_node("broken")

    def fail():
        raise LookupError("a bug")

    node.create_timer(0.001, fail)
    with pytest.raises(LookupError, match="a bug"):
        program.spin(node)
    node.destroy_node()


def test_no_callback_runs_when_spinning_has_ended(ros):
    node = ros.create_node("timed")
    runs = threading.Event()
    node.create_timer(0.001, runs.set)

    def interrupt():
        runs.wait()
        os.kill(os.getpid(), signal.SIGINT)  # unlike raise_signal, to the main thread

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        program.spin(node)
    runs.clear()
    assert not runs.wait(0.05)
    node.destroy_node()
