"""The page's parts with a model that needs no weights."""

from __future__ import annotations

import pytest
from wall import Wall

from dvlt_ros.demo import DEMO_SEQUENCE
from dvlt_ros.mapping.inference.model_predictor import WindowPredictor
from dvlt_ros.web.model_host import ModelHost
from dvlt_ros.web.photos import read_photos
from dvlt_ros.web.reconstruction import reconstruct


@pytest.fixture(scope="session")
def paths():
    """Three photos of one room."""
    return sorted(DEMO_SEQUENCE.glob("*.jpg"))[:3]


@pytest.fixture
def wall():
    return Wall()


@pytest.fixture
def model_host(wall):
    return ModelHost("cpu", load=lambda _: WindowPredictor(wall))


@pytest.fixture(scope="module")
def scene(paths):
    return reconstruct(WindowPredictor(Wall()), "dvlt", read_photos(paths, 3))
