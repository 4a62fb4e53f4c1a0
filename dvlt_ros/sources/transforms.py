"""A tree of coordinate frames over time, as TF publishes it. What is not there is an error, always."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np

from ..errors import DataError
from ..frame_names import frame_name
from .border import border
from .messages import stamp_ns_of
from .poses import PoseTrack, pose_from_quaternion
from .recording import TF, Recording

SAME = 1e-9  # metres, and parts of a quaternion: what printing and rounding leave


@dataclass(frozen=True, slots=True)  # a recording has many
class Transform:
    """parent_from_child at a time."""

    parent: str
    child: str
    stamp_ns: int
    translation: tuple[float, float, float]  # metres
    quaternion: tuple[float, float, float, float]  # xyzw

    @classmethod
    def from_message(cls, parent: str, child: str, stamp_ns: int, position: object, orientation: object) -> Transform:
        """Of any message parts with x, y, z and x, y, z, w; names without TF's old leading slash."""
        translation = tuple(float(getattr(position, axis)) for axis in "xyz")
        quaternion = tuple(float(getattr(orientation, axis)) for axis in "xyzw")
        return cls(frame_name(parent), frame_name(child), stamp_ns, translation, quaternion)  # type: ignore[arg-type]


@dataclass
class TransformTree:
    """Add all transforms, then look up. A static one holds at every time."""

    parents: dict[str, str] = field(default_factory=dict)
    _second_parents: dict[str, str] = field(default_factory=dict)
    _static: dict[str, Transform] = field(default_factory=dict)  # by child
    _moving: dict[str, list[Transform]] = field(default_factory=lambda: defaultdict(list))
    _tracks: dict[str, PoseTrack] = field(default_factory=dict)
    _constant: dict[str, bool] = field(default_factory=dict)

    def add(self, transform: Transform, static: bool) -> None:
        if self.parents.setdefault(transform.child, transform.parent) != transform.parent:
            self._second_parents[transform.child] = transform.parent  # an error only for those who need the frame
        elif static:
            self._static[transform.child] = transform
        else:
            self._moving[transform.child].append(transform)

    @property
    def frames(self) -> list[str]:
        return sorted(set(self.parents) | set(self.parents.values()))

    def root(self, frame: str) -> str:
        """The frame at the top of the tree above ``frame``.

        Raises:
            DataError: a frame with two parents on the way, or a circle.
        """
        return self._chain(frame)[-1]

    def below(self, ancestor: str, frame: str) -> str:
        """The frame right below ``ancestor`` on the way up from ``frame``.

        Raises:
            DataError: ``ancestor`` is not above ``frame``.
        """
        chain = self._chain(frame)
        if ancestor not in chain[1:]:
            raise DataError(f"frame {ancestor!r} is not above {frame!r}; frames known: {self.frames}")
        return chain[chain.index(ancestor) - 1]

    def samples(self, child: str) -> list[Transform]:
        """All of the moving edge above a frame, as they were added; none above a frame that stands still."""
        return list(self._moving.get(child, []))

    def moves(self, target: str, source: str) -> bool:
        """Whether anything between two connected frames changes with time.

        Raises:
            DataError: frames that are not connected.
        """
        return any(child in self._moving for child in self._edges(target) ^ self._edges(source, target))

    def look_up(self, target: str, source: str, stamp_ns: int, max_gap_ns: int, is_mount: bool = False) -> np.ndarray:
        """target_from_source (4, 4) at a time, interpolated between transforms at most ``max_gap_ns`` apart.

        ``is_mount``: an edge that never changes holds at every time, also if somebody has published it as one that
        moves, once or now and then.

        Raises:
            DataError: frames that are not connected, or an edge without transforms around that time.
        """
        needed = self._edges(target) ^ self._edges(source, target)  # those above both cancel
        above_from = []
        for frame in (target, source):
            above_from_frame = np.eye(4)
            for child in self._chain(frame)[:-1]:
                if child in needed:
                    above_from_frame = self._edge(child, stamp_ns, max_gap_ns, is_mount) @ above_from_frame
            above_from.append(above_from_frame)
        return np.linalg.inv(above_from[0]) @ above_from[1]

    def _edge(self, child: str, stamp_ns: int, max_gap_ns: int, is_mount: bool) -> np.ndarray:
        name = f"transform {self.parents[child]} -> {child}"
        if child not in self._moving or (is_mount and self._never_changes(child)):
            transform = self._static[child] if child not in self._moving else self._moving[child][0]
            return pose_from_quaternion(transform.translation, transform.quaternion, name)
        if child not in self._tracks:
            samples = self._moving[child]
            stamps, translations, quaternions = (
                [getattr(sample, part) for sample in samples] for part in ("stamp_ns", "translation", "quaternion")
            )
            self._tracks[child] = PoseTrack.from_samples(stamps, translations, quaternions, name)
        try:
            return self._tracks[child].at(stamp_ns, max_gap_ns)
        except DataError as error:
            raise DataError(f"{name}: {error}") from error

    def _never_changes(self, child: str) -> bool:
        """Of an edge that was published as one that moves."""
        if child not in self._constant:
            values = np.array([(*sample.translation, *sample.quaternion) for sample in self._moving[child]])
            self._constant[child] = bool((np.abs(values - values[0]) <= SAME).all())
        return self._constant[child]

    def _edges(self, frame: str, connected_to: str | None = None) -> set[str]:
        """Children of all edges from a frame to its root."""
        chain = self._chain(frame)
        if connected_to is not None and self._chain(connected_to)[-1] != chain[-1]:
            raise DataError(f"no transform connects {connected_to!r} and {frame!r}; frames known: {self.frames}")
        return set(chain[:-1])

    def _chain(self, frame: str) -> list[str]:
        """The frame and all frames above it."""
        chain = [frame]
        while (child := chain[-1]) in self.parents:
            if child in self._second_parents:
                parents = f"{self.parents[child]!r} and {self._second_parents[child]!r}"
                raise DataError(f"frame {child!r} has two parents, {parents}")
            if self.parents[child] in chain:
                raise DataError(f"the transforms above frame {frame!r} go in a circle: {chain}")
            chain.append(self.parents[child])
        return chain


def read_transforms(recording: Recording, without_child: str | None = None) -> TransformTree:
    """The TF tree of a recording; the edge above ``without_child`` is left to odometry."""
    tree = TransformTree()
    for topic, message in recording.messages(*recording.topics_of(TF)):
        with border(f"{recording.path}: {topic}", "a message with other fields"):
            for item in message.transforms:
                part, stamp_ns = item.transform, stamp_ns_of(item.header)
                transform = Transform.from_message(
                    item.header.frame_id, item.child_frame_id, stamp_ns, part.translation, part.rotation
                )
                if transform.child != without_child:
                    tree.add(transform, static=topic.endswith("tf_static"))
    return tree


def read_odometry(recording: Recording, topic: str) -> tuple[TransformTree, str]:
    """TF with the odometry's own edge in place of TF's, and the odometry's frame.

    Raises:
        DataError: odometry that does not say which frame moves in which.
    """
    first = recording.first(topic)
    with border(f"{recording.path}: {topic}", "a message with other fields"):
        parent, child = frame_name(first.header.frame_id), frame_name(first.child_frame_id)
    if not parent or not child:
        raise DataError(f"{recording.path}: {topic} has no frame_id or no child_frame_id: {parent!r}, {child!r}")
    tree = read_transforms(recording, without_child=child)
    for _, message in recording.messages(topic):
        with border(f"{recording.path}: {topic}", "a message with other fields"):
            pose, stamp_ns = message.pose.pose, stamp_ns_of(message.header)
            tree.add(Transform.from_message(parent, child, stamp_ns, pose.position, pose.orientation), static=False)
    return tree, parent
