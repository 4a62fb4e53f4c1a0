"""Admission of frames: refuses unusable ones with a reason, groups a rig's frames into sets, and loads images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from ...errors import InputError
from ...health import Health
from ..data.counters import Counters
from ..data.frames import OUT_OF_ORDER_S, Frame, Picture
from ..data.turn import ImageRotation, Turn
from ..data.views import View
from ..sensors.rig import Rig
from .gate import MIN_CONTRAST, Thumbnail
from .stamps import StampOrder, step_back_s

BLANK = f"the image shows nothing (contrast below {MIN_CONTRAST:g}); is the camera covered?"
REFUSED_IN_ROW = 5  # images of which none is taken: no longer a passing fault


class Opened(NamedTuple):
    """A loaded frame that is not blank."""

    frame: Frame
    picture: Picture  # turned
    thumbnail: Thumbnail
    turn: Turn


class Admission:
    """Counts refused frames, and frames of a rig that match no others. ``rig`` is None with one camera."""

    def __init__(
        self, rig: Rig | None, counters: Counters, notify: Callable[[str], None], rotation: ImageRotation
    ) -> None:
        self._rig = rig
        self._counters = counters
        self._notify = notify
        self._rotation = rotation
        self._latest_ns: dict[str, int] = {}  # stamps by camera
        self._late_ns: dict[str, int] = {}  # of a camera's last frame, if that was refused as late
        self._order = StampOrder()
        self._reported = ""  # the last report about silent or unsynchronized cameras
        self.covered: frozenset[str] = frozenset()  # cameras whose latest image is blank
        self._refused_in_row = 0
        self._has_taken = False
        self._refusal = ""  # of the latest frame that was refused

    @property
    def latest_stamp_ns(self) -> int:
        """Of all cameras; -1: there was no frame."""
        return max(self._latest_ns.values(), default=-1)

    def frame_sets(self, frame: Frame, max_gap_s: float) -> list[tuple[Frame, ...]]:
        """The frame sets that are known to go on after this frame; one whose stamp jumps waits for the next one."""
        if problem := frame.problem or self._out_of_order(frame):
            self.refuse(frame, problem)
            return []
        self._latest_ns[frame.camera] = frame.stamp_ns
        believed: list[tuple[Frame, ...]] = []
        for frames in self._completed(frame):
            checked = self._order.put(frames, max_gap_s)
            believed += checked.believed
            for odd in checked.odd:
                self.refuse(odd, checked.reason)
        return believed

    def release(self) -> list[tuple[Frame, ...]]:
        """The frame set whose stamp has jumped, if one waits: no other frame comes."""
        held = self._order.release()
        return [held] if held else []

    def forget(self) -> None:
        """Another stream begins; a frame set that waits counts as dropped."""
        waiting = len(self._order.release())
        self._counters.add(accepted=waiting, dropped=waiting)
        self._order = StampOrder()

    def _completed(self, frame: Frame) -> list[tuple[Frame, ...]]:
        """The frame sets that a frame completes; with one camera, itself."""
        if self._rig is None:
            return [(frame,)]
        if frame.camera not in self._rig.cameras:
            self.refuse(frame, f"the rig has no camera '{frame.camera}'")
            return []
        matched = self._rig.synchronizer.put(frame)
        self._counters.add(accepted=matched.num_lost, dropped=matched.num_lost)
        self._report(self._rig)
        return matched.sets

    def open(self, frames: Sequence[Frame]) -> list[Opened]:
        """Loads the frames of a set; refuses those that are unreadable or blank, and returns the others."""
        opened: list[Opened] = []
        for index, frame in enumerate(frames):
            try:
                opened.append(self._open(frame, opened))
            except InputError as error:
                self.refuse(frame, str(error))
            except Exception:
                self._counters.add(refused=len(opened) + len(frames) - index)
                raise
        return opened

    def health(self) -> Health:
        """Of the images that come; a stream of which nothing is taken is an error."""
        if self._refused_in_row >= REFUSED_IN_ROW and self._refusal != BLANK:
            return Health.error(f"the last {self._refused_in_row} images were all refused: {self._refusal}")
        if self.covered:
            names = ", ".join(sorted(filter(None, self.covered)))
            is_all = len(self.covered) == (1 if self._rig is None else len(self._rig.cameras))
            return Health.warn(f"the map waits: {BLANK}" if is_all else f"cameras: {names}: {BLANK}")
        if self._refused_in_row and not self._has_taken:
            return Health.warn(f"no image could be used yet: {self._refusal}")
        return Health.ok()

    def refuse(self, frame: Frame, problem: str) -> None:
        """Counts and reports a frame that cannot be used."""
        self._refused_in_row += 1
        self._refusal = problem
        self._counters.add(refused=1)
        self._notify(f"{frame.name or f'frame {frame.stamp_ns * 1e-9:.3f} s'}{_of(frame)} refused: {problem}")

    def _open(self, frame: Frame, others: Sequence[Opened]) -> Opened:
        picture = frame.load()
        thumbnail = Thumbnail.of(picture.image)
        self.covered = self.covered | {frame.camera} if thumbnail.is_blank else self.covered - {frame.camera}
        if thumbnail.is_blank:
            raise InputError(BLANK)
        turn = Turn.of(self._rotation, picture.image.shape[:2])
        picture = turn.picture(picture)
        if self._rig is None:
            return self._taken(Opened(frame, picture, thumbnail, turn))
        if picture.intrinsics is None:
            raise InputError("cameras of a rig need a camera_info, and none has come that fits this image")
        height, width = picture.image.shape[:2]
        first = others[0] if others else None
        if first is not None and first.picture.image.shape[:2] != (height, width):
            its_height, its_width = first.picture.image.shape[:2]
            raise InputError(
                f"it is {width} x {height}, those of '{first.frame.camera}' are {its_width} x {its_height}; "
                "the images of a rig must be of one size"
            )
        self._rig.learn(frame)
        return self._taken(Opened(frame, picture, thumbnail, turn))

    def _taken(self, opened: Opened) -> Opened:
        self._refused_in_row, self._has_taken = 0, True
        return opened

    def _out_of_order(self, frame: Frame) -> str:
        """What is wrong with a frame's stamp; empty: nothing."""
        if frame.stamp_ns < 0:
            return f"its stamp is {frame.stamp_ns * 1e-9:.3f} s"
        back_s = (self._latest_ns.get(frame.camera, -1) - frame.stamp_ns) * 1e-9
        late_ns = self._late_ns.pop(frame.camera, None)
        if not 0 <= back_s < OUT_OF_ORDER_S or (late_ns is not None and frame.stamp_ns > late_ns):
            return ""  # two late ones in their order: it was the stamp before them that was too far ahead
        self._late_ns[frame.camera] = frame.stamp_ns
        return f"its stamp is {back_s:.3f} s behind the frame before it"

    def _report(self, rig: Rig) -> None:
        """Reports silent or unsynchronized cameras, once per change."""
        silent, problem = rig.synchronizer.silent, rig.synchronizer.problem
        said = f"silent: {', '.join(silent)}; the others go on" if silent else problem
        if bool(said) == bool(self._reported) and (not silent or said == self._reported):
            return
        self._reported = said
        self._notify(f"cameras: {said or 'all are here again'}")


def reason_for_a_new_map(latest: View | None, taken_ns: Sequence[int], opened: Opened, max_gap_s: float) -> str | None:
    """Why a frame cannot continue the map; None: it can.

    Args:
        latest: newest view of the map or of the next window; None: there is none.
        taken_ns: stamps of the last frame sets, oldest first, even if nothing has come of them.
    """
    frame = opened.frame
    if (back_s := step_back_s(frame.stamp_ns, taken_ns)) >= OUT_OF_ORDER_S:
        return f"stamps went back by {back_s:.1f} s"
    if latest is None:
        return None
    size = opened.picture.image.shape[:2]
    before = latest.picture.image.shape[:2]
    elapsed_s = (frame.stamp_ns - latest.frame.stamp_ns) * 1e-9
    if elapsed_s > max_gap_s:
        return f"no frame for {elapsed_s:.1f} s"
    if frame.camera == latest.frame.camera and frame.frame_id != latest.frame.frame_id:
        return f"the camera is now {frame.frame_id!r}, it was {latest.frame.frame_id!r}"
    if size != before:
        return f"images are now {size[1]} x {size[0]}, they were {before[1]} x {before[0]}"
    return None


def _of(frame: Frame) -> str:
    return f" of '{frame.camera}'" if frame.camera else ""
