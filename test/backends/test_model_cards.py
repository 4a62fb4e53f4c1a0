"""What is said of each model: licence, command, name; and the tools that take any of them."""

from __future__ import annotations

import json
import logging
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from upstreams import STAND_INS, Scene, install, make_scene

from dvlt_ros import reconstruct_bag
from dvlt_ros.backends import is_installed, load_model, model_card, model_names
from dvlt_ros.backends.images import prepare_for
from dvlt_ros.backends.protocol import ModelCard, WeightsCard
from dvlt_ros.backends.registry import checkpoint_title, licence_warning
from dvlt_ros.checkpoints import DEFAULT
from dvlt_ros.demo import DEMO_SEQUENCE
from dvlt_ros.errors import ConfigError, WeightsError
from dvlt_ros.geometry import camera_directions, pixel_centers, project

DOCS = Path(__file__).parents[2] / "docs" / "how-to" / "other-models.md"


@pytest.mark.parametrize(
    ("weights", "title"),
    [
        ("", DEFAULT),
        ("embedded", DEFAULT),
        ("dvlt-nano", "dvlt-nano"),
        ("/runs/kitchen/last", "kitchen/last"),
        ("/runs/kitchen/best", "kitchen/best"),
        ("/models/mine", "mine"),
        ("nvidia/dvlt", "nvidia/dvlt"),
    ],
)
def test_checkpoints_are_called_so_that_they_can_be_told_apart(weights, title):
    assert checkpoint_title("dvlt", weights) == f"Déjà View {title}"


@pytest.mark.parametrize("name", STAND_INS)
def test_a_missing_package_gives_the_command_that_installs_it(monkeypatch, name):
    card = model_card(name)
    monkeypatch.setitem(sys.modules, card.package, None)
    assert not is_installed(name)
    with pytest.raises(ConfigError) as caught:
        load_model(name, "somewhere.safetensors")
    assert name in str(caught.value)
    assert card.install in str(caught.value)


def test_gated_weights_say_how_to_get_them(load):
    load("vggt-omega")
    with pytest.raises(WeightsError, match=r"vggt_omega_1b_512\.pt.*safetensors"):
        load_model("vggt-omega")


def test_non_commercial_weights_are_said_aloud():
    assert "NON-COMMERCIAL" in licence_warning(model_card("vggt"), "facebook/VGGT-1B")
    assert licence_warning(model_card("da3-base"), "depth-anything/DA3-BASE") is None
    assert licence_warning(model_card("mapanything"), "facebook/map-anything-apache") is None
    assert "CC-BY-NC" in licence_warning(model_card("mapanything"), "facebook/map-anything")


def test_weights_of_unknown_licence_are_said_at_loading(load, caplog):
    with caplog.at_level(logging.WARNING):
        load("pi3x")
    assert "is not known here" in caplog.text
    assert "CC-BY-NC" in caplog.text


def test_commercial_users_have_a_choice_of_defaults():
    free = {name for name in model_names() if model_card(name).default_weights.allows_commercial_use}
    assert free == {"dvlt", "da3-base", "mapanything"}


def test_the_page_has_every_model_with_command_and_licences():
    page = DOCS.read_text()
    for name in model_names():
        card = model_card(name)
        (row, *_) = [line for line in page.splitlines() if line.startswith(f"| `{name}` |")]
        assert card.code_licence in row
        assert f"{card.image_size} / {card.patch_size}" in row
        assert ("metres" in row) == card.is_metric
        assert card.install in page
        assert all(weights.source in page and weights.licence in page for weights in card.weights if card.install)


def test_our_own_model_is_one_of_them(make_model, tmp_path):
    dvlt = make_model()
    dvlt.save_pretrained(tmp_path)
    model = load_model("dvlt", tmp_path)
    images = torch.rand(3, 3, 28, 42, generator=torch.Generator().manual_seed(0))
    found = model.predict(images, num_steps=2)
    with torch.inference_mode():
        expected = dvlt(images[None], num_steps=2)
    torch.testing.assert_close(found.depth, expected.depth[0])
    torch.testing.assert_close(found.points, expected.points[0])
    poses = expected.cameras().world_from_cam[0]  # random weights: some are not known
    torch.testing.assert_close(found.world_from_cam, poses, equal_nan=True)
    assert (model.min_steps, model.max_steps) == (2, 4)


def test_names_that_nobody_has_are_refused_with_those_that_are():
    with pytest.raises(ConfigError, match="model must be one of dvlt, vggt"):
        load_model("vgtt")
    with pytest.raises(ConfigError, match="got 'vgtt'"):
        is_installed("vgtt")
    assert is_installed("dvlt")


@pytest.mark.parametrize("patch_size", [14, 16])
@pytest.mark.parametrize("size", [(480, 640), (640, 360), (333, 501)])
def test_images_fit_any_patch_and_pixels_find_back(patch_size, size):
    image_size = {14: 518, 16: 512}[patch_size]
    prepared = prepare_for(patch_size, [torch.rand(3, *size)] * 2, image_size)
    height, width = prepared.images.shape[-2:]
    assert height % patch_size == width % patch_size == 0
    assert max(height, width) == image_size
    mapping = prepared.mappings[0]
    assert mapping.network_size == (height, width)
    # The direction of a pixel is that of the original's own pixel with the original's intrinsics.
    intrinsics = torch.tensor([[600.0, 0, 310.0], [0, 610.0, 200.0], [0, 0, 1]])
    directions = camera_directions(mapping.intrinsics_to_network(intrinsics), height, width)
    original = mapping.to_original(pixel_centers(height, width, like=directions))
    torch.testing.assert_close(project(directions, intrinsics), original, rtol=1e-4, atol=1e-3)
    assert original.min() >= 0
    assert (original <= torch.tensor([size[1], size[0]])).all()


def test_cards_refuse_what_cannot_be():
    with pytest.raises(ConfigError, match="multiple of 14"):
        ModelCard("x", "X", 512, 14, False, "MIT", (WeightsCard("a/b", "MIT", True),))
    with pytest.raises(ConfigError, match="must name the weights"):
        ModelCard("x", "X", 518, 14, False, "MIT", ())


def test_the_offline_tool_takes_any_model(monkeypatch, tmp_path):
    def see(images):
        scene = make_scene(tuple(images.shape[-2:]), len(images))
        step = torch.arange(len(images)) * torch.tensor([[0.1], [0.0], [0.0]])
        poses = torch.eye(4).repeat(len(images), 1, 1)
        poses[:, :3, 3] = step.T
        return replace(scene, depth=1 + images.mean(1), world_from_cam=poses)

    checkpoint = install(monkeypatch, "da3-base", see, tmp_path)
    photos = [str(path) for path in sorted(DEMO_SEQUENCE.glob("*.jpg"))[:6]]
    (tmp_path / "photos").mkdir()
    for path in photos:
        shutil.copy(path, tmp_path / "photos")
    arguments = [str(tmp_path / "photos"), "--model", "da3-base", "--model-image-size", "56", "--device", "cpu"]
    arguments += ["--keyframes-min-change", "0", "--registration-max-residual", "0.9"]
    reconstruct_bag.main([*arguments, "--weights", str(checkpoint), "--output", str(tmp_path / "out")])
    assert len(np.loadtxt(tmp_path / "out" / "trajectory_0.txt")) == len(photos)
    monkeypatch.setitem(sys.modules, "depth_anything_3", None)
    monkeypatch.delitem(sys.modules, "depth_anything_3.cfg")
    with pytest.raises(SystemExit, match="pip install --no-deps depth-anything-3"):
        reconstruct_bag.main([*arguments, "--output", str(tmp_path / "other")])


def test_evaluate_puts_any_model_beside_the_others(monkeypatch, tmp_path):
    """A stand-in that sees the truth, in a unit and a world of its own, is right."""
    from dvlt_ros.training import evaluate
    from dvlt_ros.training.synthetic import load_benchmark

    (truth,) = load_benchmark().batches(batch=1, device=torch.device("cpu"), count=1)

    def see(images):
        depth = truth.depth[0].clamp_min(0.1)
        scene = Scene(depth, torch.full_like(depth, 2.0), truth.intrinsics[0], truth.world_from_cam[0])
        return scene.scaled(torch.tensor(3.0))

    checkpoint = install(monkeypatch, "da3-base", see, tmp_path)
    options = ["--windows", "1", "--device", "cpu", "--steps", "4", "8", "--json", str(tmp_path / "figures.json")]
    with pytest.raises(SystemExit) as end:
        evaluate.main([f"da3-base={checkpoint}", *options, "--pictures", str(tmp_path / "grid.png")])
    assert end.value.code == 0
    (row,) = json.loads((tmp_path / "figures.json").read_text())["results"]  # no loop: one K
    assert row["K"] == 1
    assert row["abs_rel"] < 1e-4
    assert row["rel_l2"] < 1e-4
    assert row["inlier_ratio"] > 0.999
    assert row["auc@3"] > 0.99
    assert (tmp_path / "grid.png").stat().st_size > 10_000


def test_evaluate_says_what_is_missing_before_it_begins(monkeypatch):
    from dvlt_ros.training import evaluate

    monkeypatch.setattr(evaluate, "load_windows", lambda *_: pytest.fail("it began"))
    monkeypatch.setitem(sys.modules, "vggt", None)
    with pytest.raises(SystemExit, match=r"pip install git.*vggt"):
        evaluate.main(["dvlt", "vggt", "--device", "cpu"])
    with pytest.raises(SystemExit, match="device 'cuda:99' is not here"):
        evaluate.main(["dvlt", "--device", "cuda:99"])
