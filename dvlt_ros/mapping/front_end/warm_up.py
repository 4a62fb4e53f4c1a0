"""Before the first frame: kernels are chosen, memory is reserved, and the budget learns how fast the machine is."""

from __future__ import annotations

import numpy as np

from ..data.frames import Frame, Picture
from ..data.views import View
from ..inference.prediction import Preparable
from .front_end import FrontEnd

PICTURE_SIZE = (480, 640)  # height, width: the shape of most robots' cameras


def warm_up(front_end: FrontEnd) -> None:
    """Runs two windows of noise, as small as possible: the first loads the kernels, the second is timed.

    Thus the first window of a stream has a predicted time, through the cost model in `latency.py` for another number of
    views. A network that compiles for a shape does so for windows of full size.
    """
    image = np.random.default_rng(0).integers(0, 255, (*PICTURE_SIZE, 3), dtype=np.uint8)
    picture = Picture(image, None)
    frame = Frame(1, "warm_up", 0, lambda: picture)
    numbers = range(-front_end.limits.window_size, 0)
    views = [View(number, frame, picture, frame_set=number) for number in numbers]  # no rig's mounts hold between them
    if isinstance(front_end.predictor, Preparable):
        front_end.predictor.prepare(views, front_end.limits.image_size)
    front_end.rehearse(views[:2])
    front_end.rehearse(views[:2])
