"""What a visitor can choose from, and how every surface names it."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from dvlt_ros.backends import checkpoint_title
from dvlt_ros.checkpoints import DEFAULT
from dvlt_ros.errors import ConfigError
from dvlt_ros.mapping.inference.model_predictor import WindowPredictor
from dvlt_ros.web.choices import card_of, choices, parts, title_of
from dvlt_ros.web.model_host import ModelHost
from dvlt_ros.web.panels import pictures_of
from dvlt_ros.web.pictures import depth_overlays
from dvlt_ros.web.scene import Scene


def test_the_embedded_the_published_and_ones_own_checkpoint_are_there(tmp_path):
    own = tmp_path / "runs" / "kitchen"
    own.mkdir(parents=True)
    found = choices([str(own)])
    assert next(iter(found)) == "dvlt"
    assert found["dvlt"] == title_of("dvlt") == f"Déjà View {DEFAULT}"
    assert found["dvlt@nvidia/dvlt"] == "Déjà View nvidia/dvlt (non-commercial)"
    assert found[f"dvlt@{own}"] == "Déjà View kitchen"
    assert parts("dvlt@nvidia/dvlt") == ("dvlt", "nvidia/dvlt")
    assert card_of("dvlt@nvidia/dvlt").name == "dvlt"


@pytest.mark.parametrize("generic", ["model.safetensors", "checkpoint", "best", "last"])
def test_a_name_that_many_checkpoints_have_comes_with_its_folder(tmp_path, generic):
    assert checkpoint_title("dvlt", str(tmp_path / "run" / generic)) == f"Déjà View run/{generic}"
    with pytest.raises(ConfigError, match="model must be one of"):
        checkpoint_title("never")


def test_the_chosen_weights_are_loaded_and_one_model_lives_at_a_time(wall):
    loaded = []

    def load(config):
        loaded.append((config.name, config.weights))
        return WindowPredictor(wall)

    host = ModelHost("cpu", load)
    for choice in ("dvlt", "dvlt", "dvlt@nvidia/dvlt", "dvlt"):
        host._resident(choice)
    assert loaded == [("dvlt", ""), ("dvlt", "nvidia/dvlt"), ("dvlt", "")]


def test_near_is_blue_and_far_is_red_with_a_legend(scene):
    ramp = np.broadcast_to(np.linspace(1, 5, scene.size[1], dtype=np.float32), scene.depth.shape)
    grey = np.full_like(scene.images, 128)
    values = {field.name: getattr(scene, field.name) for field in fields(scene)}
    ramped = Scene(**(values | {"depth": ramp, "images": grey}))
    overlay = depth_overlays(ramped)[0].astype(int)
    red_less_blue = overlay[..., 0] - overlay[..., 2]
    width = scene.size[1]
    assert (red_less_blue[:, width // 8] < -40).all()
    assert (red_less_blue[:, -width // 8] > 40).all()
    bar = pictures_of(ramped).bars["Depth"]
    assert bar.startswith("1.1 <img ")
    assert bar.endswith("> 4.9")
