"""What happens before the first frame comes: kernels are chosen, memory is reserved, the budget learns the machine."""

from __future__ import annotations

import numpy as np

from ..data.frames import Frame, Picture
from ..data.views import View
from ..inference.prediction import Preparable
from .front_end import FrontEnd

PICTURE_SIZE = (480, 640)  # height, width: the shape of most robots' cameras


def warm_up(engine: FrontEnd) -> None:
    """Two windows of noise, as small as they get. The first one waits for kernels, the second tells what they take.

    So the first window of a stream has an estimate: that of this machine, for another number of views by the law of
    cost in `latency.py`. A network that prepares for a shape does so for windows of full size.
    """
    image = np.random.default_rng(0).integers(0, 255, (*PICTURE_SIZE, 3), dtype=np.uint8)
    picture = Picture(image, None)
    frame = Frame(1, "warm_up", 0, lambda: picture)
    views = [View(-1 - i, frame, picture) for i in range(engine.limits.window_size)]
    if isinstance(engine.predictor, Preparable):
        engine.predictor.prepare(views, engine.limits.image_size)
    engine.rehearse(views[:2])
    engine.rehearse(views[:2])
