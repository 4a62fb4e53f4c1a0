"""Frames and predictors of the room of room.py."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from room import FRAME_NS, FakePredictor, picture, walk

from dvlt_ros.mapping.data.frames import Frame, Picture


@pytest.fixture
def make_frame() -> Callable[..., Frame]:
    """A frame of noise, so that every one differs from the one before; the n-th has stamp n * 0.1 s."""

    def make(number: int, *, stamp_ns: int | None = None, frame_id: str = "cam", shows: Picture | None = None) -> Frame:
        stamp_ns = number * FRAME_NS if stamp_ns is None else stamp_ns
        shown = picture(number) if shows is None else shows
        return Frame(stamp_ns, frame_id, received_ns=stamp_ns, load=lambda: shown)

    return make


@pytest.fixture
def make_predictor() -> Callable[..., FakePredictor]:
    """Of a walk whose n-th pose has stamp n * 0.1 s, from n = 1."""

    def make(count: int = 60, **options: object) -> FakePredictor:
        return FakePredictor({(i + 1) * FRAME_NS: p for i, p in enumerate(walk(count))}, **options)  # type: ignore[arg-type]

    return make
