"""Images that several files refine."""

import pytest
from textured_room import frames, walk


@pytest.fixture(scope="module")
def images():
    return frames(walk(6, step=0.1))
