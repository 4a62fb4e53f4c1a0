"""What a recording says about its cameras: where they are, how they see, and where the robot was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from dvlt_ros.errors import DataError
from dvlt_ros.lens import Lens, lens_of_camera_info
from dvlt_ros.sources.messages import is_colour, is_depth, stamp_ns_of
from dvlt_ros.sources.recording import CAMERA_INFO, IMAGES, ODOMETRY, Recording
from dvlt_ros.sources.transforms import TransformTree, read_odometry, read_transforms


@dataclass(frozen=True)
class Topics:
    """Which topics to use; what is None is found, or not there."""

    image: str | None = None
    depth: str | None = None
    camera_info: str | None = None
    depth_camera_info: str | None = None  # found: beside the depth topic; else the colour camera's
    odometry: str | None = None


@dataclass(frozen=True)
class FoundTopics:
    """Which topics are used."""

    image: str
    depth: str
    camera_info: str
    depth_camera_info: str | None  # None: the colour camera's
    odometry: str | None = None  # None: poses come from TF


@dataclass(frozen=True)
class LensTrack:
    """The camera_info messages of one camera, each of which holds until the next."""

    topic: str
    stamps_ns: np.ndarray  # (N,) where the camera changed
    lenses: Sequence[Lens | DataError]

    def at(self, stamp_ns: int) -> Lens:
        """The camera at a time; before the first message, the first one.

        Raises:
            DataError: that message has no camera to offer.
        """
        index = max(0, int(np.searchsorted(self.stamps_ns, stamp_ns, side="right")) - 1)
        lens = self.lenses[index]
        if isinstance(lens, DataError):
            raise DataError(f"{self.topic}: {lens}")
        return lens


@dataclass(frozen=True)
class Rig:
    """Everything about a recording but its images."""

    topics: FoundTopics
    world_frame: str
    camera_frame: str
    depth_frame: str
    lens: LensTrack
    depth_lens: LensTrack
    transforms: TransformTree


def find_topics(recording: Recording, asked: Topics) -> FoundTopics:
    """All topics but odometry, which only poses need.

    Raises:
        DataError: a topic that is missing or not unique; it lists the candidates and the option.
    """
    image = recording.choose(asked.image, "colour images", "--image-topic", IMAGES, is_colour)
    depth = recording.choose(asked.depth, "depth images", "--depth-topic", IMAGES, is_depth)
    beside = asked.camera_info or recording.camera_info_beside(image)
    info = recording.choose(beside, "camera_info", "--camera-info-topic", (CAMERA_INFO,), lambda _: True)
    depth_info = asked.depth_camera_info or recording.camera_info_beside(depth)
    if depth_info is not None:
        option = "--depth-camera-info-topic"
        depth_info = recording.choose(depth_info, "camera_info", option, (CAMERA_INFO,), lambda _: True)
    return FoundTopics(image, depth, info, depth_info)


def read_rig(
    recording: Recording, asked: Topics, world_frame: str | None, camera_frame: str | None, rectified: bool
) -> Rig:
    """Topics, cameras and poses. Poses come from TF, or from odometry if it is asked for or TF does not move.

    ``rectified``: the images are already pinhole images, those of P in their camera_info.

    Raises:
        DataError: whatever is missing, ambiguous or not connected, with what to pass instead.
    """
    topics = find_topics(recording, asked)
    image_frame, depth_frame = (_frame_id(recording, topic) for topic in (topics.image, topics.depth))
    camera_frame = (camera_frame or image_frame).lstrip("/")
    if not camera_frame:
        raise DataError(f"{recording.path}: {topics.image} has no frame_id: pass --camera-frame")
    if not depth_frame:
        raise DataError(f"{recording.path}: {topics.depth} has no frame_id, so that its camera is not known")
    depth_frame = camera_frame if depth_frame == image_frame else depth_frame
    transforms, world_frame, odometry = _poses(recording, asked.odometry, world_frame, camera_frame)
    lens = _lenses(recording, topics.camera_info, rectified)
    depth_lens = lens if topics.depth_camera_info is None else _lenses(recording, topics.depth_camera_info, rectified)
    topics = replace(topics, odometry=odometry)
    return Rig(topics, world_frame, camera_frame, depth_frame, lens, depth_lens, transforms)


def _poses(
    recording: Recording, odometry: str | None, world_frame: str | None, camera_frame: str
) -> tuple[TransformTree, str, str | None]:
    """The transforms, the world frame, and the odometry topic if it is used."""
    if odometry is None:
        tree = read_transforms(recording)
        world = (world_frame or tree.root(camera_frame)).lstrip("/")
        if world_frame is not None and world not in tree.frames:
            raise DataError(f"{recording.path}: no frame {world!r} in TF; frames known: {tree.frames}")
        if tree.root(world) == tree.root(camera_frame) and tree.moves(world, camera_frame):
            return tree, world, None
        if not recording.topics_of(ODOMETRY):
            raise DataError(
                f"{recording.path}: no moving transform from {world!r} to the camera frame {camera_frame!r}, "
                f"and no odometry; frames known: {tree.frames}; record /tf and /tf_static, or pass --camera-frame"
            )
    odometry = recording.choose(odometry, "odometry", "--odom-topic", (ODOMETRY,), lambda _: True)
    tree, odometry_frame = read_odometry(recording, odometry)
    world = (world_frame or odometry_frame).lstrip("/")
    tree.moves(world, camera_frame)  # raises where they are not connected
    return tree, world, odometry


def _lenses(recording: Recording, topic: str, rectified: bool) -> LensTrack:
    stamps: list[int] = []
    lenses: list[Lens | DataError] = []
    for _, message in recording.messages(topic):
        lens: Lens | DataError
        try:
            lens = lens_of_camera_info(message, rectified)
        except DataError as error:
            lens = error
        if not lenses or str(lens) != str(lenses[-1]):
            stamps.append(stamp_ns_of(message.header))
            lenses.append(lens)
    if not lenses:
        raise DataError(f"{recording.path}: {topic}: no camera_info can be read")
    order = np.argsort(stamps, kind="stable")
    return LensTrack(topic, np.array(stamps, dtype=np.int64)[order], [lenses[i] for i in order])


def _frame_id(recording: Recording, topic: str) -> str:
    return recording.first(topic).header.frame_id.lstrip("/")
