"""The network over windows: cached features change nothing, every view is encoded once, the device can be full."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from dvlt_ros.errors import ConfigError
from dvlt_ros.mapping.data.frames import Frame, Picture
from dvlt_ros.mapping.data.views import View
from dvlt_ros.mapping.inference.config import ModelConfig
from dvlt_ros.mapping.inference.dvlt_predictor import DvltPredictor
from dvlt_ros.mapping.inference.prediction import DeviceMemoryError, Preparable
from dvlt_ros.model import prepare_images
from dvlt_ros.model.stages import update_sizes

SIZE, IMAGE_SIZE = (42, 56), 56


@pytest.fixture(scope="module")
def views():
    rng = np.random.default_rng(0)

    def view(number, intrinsics=None):
        picture = Picture(rng.integers(0, 255, (*SIZE, 3), dtype=np.uint8), intrinsics)
        return View(number, Frame(number + 1, "cam", 0, lambda: picture), picture)

    return [view(number) for number in range(6)]


@pytest.fixture
def predictor(make_model):
    return DvltPredictor(make_model(), "cpu")


def count_encoded(predictor, monkeypatch):
    encoded, encode = [], predictor.model.encode
    monkeypatch.setattr(predictor.model, "encode", lambda images: (encoded.append(images.shape[1]), encode(images))[1])
    return encoded


def test_a_window_with_cached_features_equals_the_model_itself(predictor, views, monkeypatch):
    encoded = count_encoded(predictor, monkeypatch)
    predictor.predict(views[:4], 3, IMAGE_SIZE, range(4))
    found = predictor.predict(views[2:], 3, IMAGE_SIZE, [1, 2, 3])
    assert encoded == [4, 2]
    with torch.inference_mode():
        images = prepare_images([view.picture.image for view in views[2:]], IMAGE_SIZE).images
        expected = predictor.model(images, num_steps=3)
    np.testing.assert_allclose(found.depth, expected.depth[0, 1:].numpy(), rtol=1e-4)
    np.testing.assert_allclose(found.confidence, expected.depth_confidence[0, 1:].numpy(), rtol=1e-4)


def test_what_is_kept_is_one_window(predictor, views):
    for start in range(3):
        predictor.predict(views[start : start + 3], 2, IMAGE_SIZE, [2])
    assert set(predictor._encoded) == {(number, IMAGE_SIZE) for number in (2, 3, 4)}
    predictor.predict(views[2:5], 2, 28, [2])
    assert set(predictor._encoded) == {(number, 28) for number in (2, 3, 4)}


@pytest.mark.parametrize(("device", "shapes"), [("cuda", [(6, 42, 56)]), ("cpu", [])])
def test_only_a_gpu_has_something_to_prepare(predictor, views, monkeypatch, device, shapes):
    prepared = []
    monkeypatch.setattr(predictor.model, "prepare", lambda *shape: prepared.append(shape))
    predictor.device = torch.device(device)
    assert isinstance(predictor, Preparable)
    predictor.prepare(views, IMAGE_SIZE)
    assert prepared == shapes


def test_known_intrinsics_are_kept_and_only_a_rotation_is_fitted(predictor, views):
    k = np.array([[60.0, 0, 28.0], [0, 60.0, 21.0], [0, 0, 1]])
    known = [View(v.number, v.frame, Picture(v.picture.image, k)) for v in views[:3]]
    found = predictor.predict(known, 2, 28, [0, 2])
    np.testing.assert_allclose(found.intrinsics[0], [[30.0, 0, 14.0], [0, 30.0, 10.5 - 3], [0, 0, 1]], rtol=1e-5)
    assert found.mapping.network_size == (14, 28)


def test_unknown_intrinsics_are_one_camera_for_all_views(predictor, views):
    found = predictor.predict(views[:4], 2, IMAGE_SIZE, range(4))
    assert (found.intrinsics == found.intrinsics[0]).all()


def test_no_memory_is_an_error_of_its_own_and_the_next_window_works(predictor, views, monkeypatch):
    step = predictor.model.step

    def fail(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB")

    monkeypatch.setattr(predictor.model, "step", fail)
    with pytest.raises(DeviceMemoryError, match="no memory for 3 views at 56 pixels"):
        predictor.predict(views[:3], 2, IMAGE_SIZE, [0])
    monkeypatch.setattr(predictor.model, "step", step)
    assert np.isfinite(predictor.predict(views[:2], 2, IMAGE_SIZE, [0]).depth).all()


def test_other_errors_are_not_taken_for_missing_memory(predictor, views, monkeypatch):
    def fail(*_):
        raise RuntimeError("a kernel failed")

    monkeypatch.setattr(predictor.model, "step", fail)
    with pytest.raises(RuntimeError, match="a kernel failed"):
        predictor.predict(views[:3], 2, IMAGE_SIZE, [0])


def test_several_references_are_the_models_fused_answer_and_not_for_windows_apart(predictor, views):
    alone = predictor.predict_apart(views[:4], 3, IMAGE_SIZE)
    predictor.use_references(3)
    found = predictor.predict(views[:4], 3, IMAGE_SIZE, range(4))
    with torch.inference_mode():
        images = prepare_images([view.picture.image for view in views[:4]], IMAGE_SIZE).images
        expected = predictor.model(images, num_steps=3, references=3)
    np.testing.assert_allclose(found.depth, expected.depth[0].numpy(), rtol=1e-4)
    np.testing.assert_array_equal(predictor.predict_apart(views[:4], 3, IMAGE_SIZE).depth, alone.depth)
    assert not np.array_equal(found.depth, alone.depth)


def test_the_loop_ends_with_the_first_settled_update_and_never_above_the_budget(make_model, views):
    network = make_model()
    with torch.inference_mode():
        images = prepare_images([view.picture.image for view in views[:3]], IMAGE_SIZE).images
        begun = network.begin(network.encode(images))
        states = [begun, *network.states(begun, 4)]
    patches = begun.grid[0] * begun.grid[1]
    tokens = [state.tokens[:, :, -patches:] for state in states]
    sizes = [float(update_sizes(before, after)) for before, after in pairwise(tokens)]
    for settled in (1.0, sizes[1], min(sizes) / 2):
        wanted = next((k for k, size in enumerate(sizes, start=1) if size <= settled * (1 + 1e-4)), 4)
        found = DvltPredictor(network, "cpu", settled_update=settled * (1 + 1e-4)).predict(
            views[:3], 4, IMAGE_SIZE, range(3)
        )
        assert found.num_steps == wanted
        with torch.inference_mode():
            expected = network.decode(states[wanted]).depth[0].numpy()
        np.testing.assert_allclose(found.depth, expected, rtol=1e-3)


def test_a_model_without_a_loop_cannot_settle():
    with pytest.raises(ConfigError, match=r"model\.settled_update is for dvlt"):
        ModelConfig(name="da3-base", settled_update=0.1)
