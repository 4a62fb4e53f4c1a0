"""A model on its stand-in."""

from __future__ import annotations

import pytest
from upstreams import CENTRED, ONE_FOCAL, install, make_scene

from dvlt_ros.backends import load_model, model_card


@pytest.fixture
def load(monkeypatch, tmp_path):
    """A model on its stand-in, and the scene that it sees."""

    def make(name):
        patch = model_card(name).patch_size
        scene = make_scene((2 * patch, 3 * patch), centred=name in CENTRED)
        if name in ONE_FOCAL:
            scene.intrinsics[:, 1, 1] = scene.intrinsics[:, 0, 0]

        def see(images):
            scene.shown.append(images.detach().clone())
            return scene

        checkpoint = install(monkeypatch, name, see, tmp_path)
        return load_model(name, checkpoint), scene

    return make
