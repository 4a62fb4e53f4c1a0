"""What is done with the network's answer within a prediction, if anything is: its time, and the limit of it."""

from __future__ import annotations

from ..inference.prediction import Predictor, TimeLimited


class BesideNetwork:
    """The part of a predictor's time that the latency budget may limit; nothing for a plain network."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor if isinstance(predictor, TimeLimited) else None

    @property
    def spent_ms(self) -> float:
        """In the latest prediction."""
        return 0.0 if self._predictor is None else self._predictor.beside_ms

    def usual_ms(self, num_views: int, num_new: int) -> float:
        """See `TimeLimited.usual_beside_ms`."""
        return 0.0 if self._predictor is None else self._predictor.usual_beside_ms(num_views, num_new)

    def usual_joint_ms(self, num_views: int) -> float:
        """See `TimeLimited.usual_joint_ms`."""
        return 0.0 if self._predictor is None else self._predictor.usual_joint_ms(num_views)

    def limit(self, milliseconds: float) -> None:
        """See `TimeLimited.limit`."""
        if self._predictor is not None:
            self._predictor.limit(milliseconds)
