"""Other people's models behind one protocol: stand-ins with their interfaces and a scene whose geometry is known."""

from __future__ import annotations

import importlib.util
import logging

import pytest
import torch
from safetensors.torch import save_file, save_model
from torch import nn
from upstreams import FACTOR, STAND_INS, make_scene

from dvlt_ros.backends import MultiViewPrediction, is_installed, load_model, model_names
from dvlt_ros.backends.upstream import IMAGENET_MEAN, IMAGENET_STD, fitted_intrinsics, normalized
from dvlt_ros.errors import InputError, WeightsError
from dvlt_ros.geometry import invert_pose, pixel_centers, project, transform_points

METRIC = {"pi3x", "mapanything"}
NORMALIZED = {
    "mast3r": ((0.5,) * 3, (0.5,) * 3),
    **dict.fromkeys(("da3-base", "da3-large", "da3-giant", "mapanything"), (IMAGENET_MEAN, IMAGENET_STD)),
}


def images_of(scene):
    return torch.rand(len(scene.depth), 3, *scene.depth.shape[1:], generator=torch.Generator().manual_seed(1))


def test_every_model_but_ours_has_a_stand_in():
    assert set(STAND_INS) | {"dvlt"} == set(model_names())


@pytest.mark.parametrize("name", STAND_INS)
def test_what_comes_out_is_the_scene_in_our_conventions(load, name):
    model, scene = load(name)
    assert is_installed(name)
    found = model.predict(images_of(scene))
    truth = scene.scaled(torch.tensor(FACTOR))  # the checkpoint's weight
    first_from_world = invert_pose(truth.world_from_cam[0])
    close = {"rtol": 1e-4, "atol": 1e-4}
    torch.testing.assert_close(found.depth, truth.depth, **close)
    torch.testing.assert_close(found.confidence, truth.confidence, **close)
    torch.testing.assert_close(found.intrinsics, truth.intrinsics, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(found.world_from_cam, first_from_world @ truth.world_from_cam, **close)
    torch.testing.assert_close(found.points, transform_points(first_from_world, truth.points), **close)
    assert found.is_metric == model.card.is_metric == (name in METRIC)
    assert all(value.dtype == torch.float32 for value in vars(found).values() if isinstance(value, torch.Tensor))


@pytest.mark.parametrize("name", STAND_INS)
def test_depth_intrinsics_and_poses_say_the_same_as_the_points(load, name):
    """Half a pixel of another convention would show."""
    model, scene = load(name)
    found = model.predict(images_of(scene))
    points_cam = transform_points(invert_pose(found.world_from_cam), found.points)
    pixels = pixel_centers(*found.depth.shape[1:], like=found.depth).expand(*found.depth.shape, 2)
    torch.testing.assert_close(project(points_cam, found.intrinsics), pixels, rtol=0, atol=0.02)
    torch.testing.assert_close(points_cam[..., 2], found.depth, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", STAND_INS)
def test_each_gets_images_normalised_as_it_wants_them(load, name):
    model, scene = load(name)
    images = images_of(scene)
    model.predict(images)
    (shown,) = scene.shown
    expected = normalized(images, *NORMALIZED[name]) if name in NORMALIZED else images
    torch.testing.assert_close(shown, expected)


def test_the_point_head_of_vggt_is_the_direct_answer(load):
    model, scene = load("vggt")
    found = model.predict(images_of(scene))
    torch.testing.assert_close(found.direct_points, found.points, rtol=1e-4, atol=1e-4)
    model, scene = load("da3-base")
    assert model.predict(images_of(scene)).direct_points is None


@pytest.mark.parametrize("name", ["vggt", "da3-base", "pi3", "pi3x"])
def test_weights_that_do_not_fit_are_refused_by_name(load, name, tmp_path):
    load(name)  # installs the stand-in
    save_file({"factors": torch.tensor(1.0)}, tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match=r"other\.safetensors: missing factor"):
        load_model(name, tmp_path / "other.safetensors")
    prefix = "model." if name.startswith("da3") else ""
    save_file({prefix + "factor": torch.ones(2)}, tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match="of another shape factor"):
        load_model(name, tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match="never read"):
        load_model(name, tmp_path / "weights.pt")


@pytest.mark.parametrize("name", ["mapanything", "mast3r"])
def test_weights_that_upstream_cannot_load_are_an_error_of_ours(load, name, tmp_path):
    load(name)
    save_file({"factors": torch.tensor(1.0)}, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match=r"model\.safetensors: missing factor"):  # upstream would not have said so
        load_model(name, tmp_path)
    save_file({"factor": torch.ones(2)}, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match="cannot load it"):
        load_model(name, tmp_path)


def test_tensors_that_are_not_used_are_named_in_the_log(load, tmp_path, caplog):
    load("pi3")
    save_file({"factor": torch.tensor(1.0), "surplus": torch.ones(1)}, tmp_path / "more.safetensors")
    with caplog.at_level(logging.WARNING):
        load_model("pi3", tmp_path / "more.safetensors")
    assert "surplus" in caplog.text


@pytest.mark.parametrize(
    ("images", "reason"),
    [
        (torch.rand(3, 28, 42), r"must be \(S, 3, H, W\)"),
        (torch.rand(2, 3, 28, 41), "multiples of 14"),
        (torch.zeros(2, 3, 28, 42, dtype=torch.uint8), "floating point"),
        (torch.full((2, 3, 28, 42), 255.0), r"in \[0, 1\]"),
        (torch.full((2, 3, 28, 42), torch.nan), r"in \[0, 1\]"),
    ],
)
def test_images_that_no_model_can_take_are_refused(load, images, reason):
    model, _ = load("pi3")
    with pytest.raises(InputError, match=reason):
        model.predict(images)


def test_a_model_without_a_loop_knows_one_number_of_steps(load):
    model, scene = load("pi3")
    assert (model.min_steps, model.max_steps) == (1, 1)
    model.predict(images_of(scene), num_steps=1)
    with pytest.raises(InputError, match="has no loop"):
        model.predict(images_of(scene), num_steps=8)


def test_fitted_intrinsics_survive_what_is_not_a_point():
    scene = make_scene((20, 30))
    points = scene.points_cam.clone()
    points[0, :5] = torch.nan
    points[1, 3:9, 4:20, 2] = -1.0
    torch.testing.assert_close(fitted_intrinsics(points), scene.intrinsics, rtol=1e-4, atol=1e-3)
    assert fitted_intrinsics(torch.full_like(points, torch.nan)).isnan().any()


def test_a_prediction_moves_whole(load):
    model, scene = load("vggt")
    found = model.predict(images_of(scene)).to("meta")
    tensors = [value for value in vars(found).values() if isinstance(value, torch.Tensor)]
    assert len(tensors) == 6
    assert {tensor.device.type for tensor in tensors} == {"meta"}


def test_predictions_of_unequal_shapes_are_refused():
    scene = make_scene((4, 6))
    with pytest.raises(InputError, match="intrinsics must be"):
        MultiViewPrediction(
            scene.depth, scene.confidence, scene.intrinsics[:2], scene.world_from_cam, torch.zeros(3, 4, 6, 3)
        )


@pytest.mark.skipif(
    importlib.util.find_spec("depth_anything_3") is None,
    reason="depth-anything-3 is not installed; `pip install --no-deps depth-anything-3` (docs/how-to/other-models.md) runs this",
)
def test_random_weights_of_the_real_depth_anything_3_have_the_right_shapes(tmp_path):
    from depth_anything_3.cfg import create_object, load_config
    from depth_anything_3.registry import MODEL_REGISTRY

    network = create_object(load_config(MODEL_REGISTRY["da3-base"]))
    save_model(nn.ModuleDict({"model": network}), str(tmp_path / "model.safetensors"))  # one name of shared tensors
    found = load_model("da3-base", tmp_path).predict(torch.rand(3, 3, 56, 70))
    assert found.depth.shape == found.confidence.shape == (3, 56, 70)
    assert found.points.shape == (3, 56, 70, 3)
    assert (found.confidence >= 1).all()
    assert torch.isfinite(found.world_from_cam).all()
