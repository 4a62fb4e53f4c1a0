"""The odometry of a recording: of a bag its messages or its TF, of anything else a TUM file of the camera's poses."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import DataError
from ..frame_names import frame_name
from .open import is_bag
from .recording import ODOMETRY, Recording, open_recording
from .times import unit_remark
from .transforms import Transform, TransformTree, read_odometry, read_transforms
from .tum import read_trajectory

OPTION = "--odom"


@dataclass(frozen=True, eq=False)
class RecordedOdometry:
    """Where the robot's base was, and where on it the camera is."""

    name: str  # a topic, "TF", or a file
    odom_frame: str
    base_frame: str  # the camera's own frame if the poses are the camera's
    tree: TransformTree  # odom_frame -> base_frame -> ... -> camera
    is_of_messages: bool = True  # whose stamp is not set if it is 0; in a file that is a time
    remark: str = ""  # of a file whose times are not in seconds

    @property
    def samples(self) -> list[Transform]:
        """odom_from_base as it was recorded."""
        return self.tree.samples(self.base_frame)

    def base_from_cam(self, camera_frame: str, stamp_ns: int, max_gap_ns: int) -> np.ndarray:
        """(4, 4) at a stamp. Raises DataError: the recording does not tell."""
        return self.tree.look_up(self.base_frame, frame_name(camera_frame), stamp_ns, max_gap_ns, is_mount=True)


def open_odometry(path: Path, asked: str, odom_frame: str, camera_frame: str) -> RecordedOdometry:
    """The odometry beside the images in ``path``.

    Args:
        asked: a topic, "tf", the file of a TUM trajectory of the camera's poses, or "auto": of a bag the only odometry
            topic, else TF.
        odom_frame: of odometry in TF; messages name their own.
        camera_frame: of the images, optical axes.

    Raises:
        DataError: there is none, it is not unique, or its mount is not known.
    """
    if asked not in ("auto", "tf") and Path(asked).is_file():
        return _from_tum(Path(asked), odom_frame, camera_frame)
    if "." in asked:  # no topic has one
        raise DataError(f"{OPTION} {asked}: no such file")
    if not is_bag(path):
        raise DataError(f"{path}: not a bag, so its odometry must be a TUM file, which {OPTION} {asked} is not")
    with open_recording(path) as recording:
        if asked == "tf" or (asked == "auto" and not recording.topics_of(ODOMETRY)):
            return _from_tf(recording, frame_name(odom_frame), frame_name(camera_frame))
        topic = recording.choose(
            None if asked == "auto" else asked, "odometry", f"{OPTION} TOPIC", (ODOMETRY,), lambda _: True
        )
        tree, found_frame = read_odometry(recording, topic)
        return _checked(recording, topic, found_frame, frame_name(camera_frame), tree)


def _from_tf(recording: Recording, odom_frame: str, camera_frame: str) -> RecordedOdometry:
    tree = read_transforms(recording)
    found = _checked(recording, "TF", odom_frame, camera_frame, tree)
    if not found.samples:
        raise DataError(f"{recording.path}: TF: {odom_frame!r} -> {found.base_frame!r} does not move: no odometry")
    return found


def _checked(
    recording: Recording, name: str, odom_frame: str, camera_frame: str, tree: TransformTree
) -> RecordedOdometry:
    """With the frame that moves in odom, which must be above the camera."""
    try:
        return RecordedOdometry(name, odom_frame, tree.below(odom_frame, camera_frame), tree)
    except DataError as error:
        raise DataError(f"{recording.path}: {name} does not lead to the camera: {error}") from error


def _from_tum(path: Path, odom_frame: str, camera_frame: str) -> RecordedOdometry:
    tree, frame = TransformTree(), frame_name(camera_frame)
    times, translations, quaternions = read_trajectory(path)
    for stamp_ns, translation, quaternion in zip(times.stamps_ns, translations, quaternions, strict=True):
        x, y, z = translation.tolist()
        tree.add(Transform(odom_frame, frame, int(stamp_ns), (x, y, z), tuple(quaternion.tolist())), static=False)
    if not tree.samples(frame):
        raise DataError(f"{path}: no poses")
    remark = unit_remark(times, str(path))
    return RecordedOdometry(str(path), odom_frame, frame, tree, is_of_messages=False, remark=remark)
