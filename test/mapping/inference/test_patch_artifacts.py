"""Maps of a linear head: patches meet, edges of the image stay, and other heads are left alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from configs import mapper_config

from dvlt_ros.mapping.data.frames import Frame, Picture
from dvlt_ros.mapping.data.views import View
from dvlt_ros.mapping.inference.dvlt_predictor import DvltPredictor
from dvlt_ros.mapping.inference.patch_artifacts import FAR_APART, without_patch_artifacts
from dvlt_ros.mapping.inference.prediction import WindowPrediction
from dvlt_ros.mapping.inference.refining import RefiningPredictor
from dvlt_ros.mapping.mapper import Mapper
from dvlt_ros.model import PixelMapping, prepare_images
from dvlt_ros.model.config import PATCH_SIZE

IMAGE_SIZE = 56
ROWS, COLUMNS = 4 * PATCH_SIZE, 5 * PATCH_SIZE
SMOOTH = (2 + np.mgrid[:ROWS, :COLUMNS].sum(axis=0) / 100).astype(np.float32)


def prediction(depth, gray, confidence=None):
    confidence = np.full_like(depth, 3.0) if confidence is None else confidence
    mapping = PixelMapping(depth.shape, depth.shape, (1.0, 1.0), (0.0, 0.0))
    return WindowPrediction(depth[None], confidence[None], np.eye(4)[None], np.eye(3)[None], mapping, grays=(gray,))


UNMASKED = Picture(np.zeros((*SMOOTH.shape, 3), np.uint8), None)


def filtered(depth, gray, picture=UNMASKED):
    return without_patch_artifacts(prediction(depth, gray), [picture]).depth[0]


def view(number, image):
    picture = Picture(image, None)
    return View(number, Frame(number + 1, "cam", 0, lambda: picture), picture)


def patched(values, spread, seed=0):
    """Each patch off by a factor of its own."""
    factors = np.exp(np.random.default_rng(seed).normal(0, spread, (ROWS // PATCH_SIZE, COLUMNS // PATCH_SIZE)))
    return (values * np.kron(factors, np.ones((PATCH_SIZE, PATCH_SIZE)))).astype(np.float32)


def step_between_patches(values):
    """Typical step of the logarithm at the borders of patches over that within them."""
    steps = np.abs(np.diff(np.log(values), axis=1))
    at_border = np.arange(COLUMNS - 1) % PATCH_SIZE == PATCH_SIZE - 1
    return np.median(steps[:, at_border]) / np.median(steps[:, ~at_border])


def test_patches_meet_and_depth_is_nearer_to_the_truth():
    depth = patched(SMOOTH, 0.1)
    found = filtered(depth, np.full_like(SMOOTH, 0.5))
    assert step_between_patches(depth) > 8
    assert step_between_patches(found) < 2
    assert np.abs(np.log(found / SMOOTH)).mean() < 0.9 * np.abs(np.log(depth / SMOOTH)).mean()


def test_an_edge_goes_to_where_the_image_has_it_and_no_point_lies_between_the_surfaces():
    column = np.mgrid[:ROWS, :COLUMNS][1]
    depth = np.where(column < 2 * PATCH_SIZE, 1.0, 2.0).astype(np.float32)  # at the border of two patches
    is_near = column < 2 * PATCH_SIZE + 1
    found = filtered(depth, np.where(is_near, 0.9, 0.1).astype(np.float32))
    np.testing.assert_allclose(found, np.where(is_near, 1.0, 2.0), rtol=1e-3)


@pytest.mark.parametrize("factor", [0.5 * FAR_APART, 2 * FAR_APART])
def test_without_an_edge_in_the_image_only_surfaces_that_may_be_one_are_joined(factor):
    is_near = np.mgrid[:ROWS, :COLUMNS][1] < 2 * PATCH_SIZE
    depth = np.where(is_near, 1.0, np.exp(factor)).astype(np.float32)
    found = np.log(filtered(depth, np.full_like(depth, 0.5)))
    between = (found > 0.1 * factor) & (found < 0.9 * factor)
    assert between.any() == (factor < FAR_APART)


def test_what_is_masked_and_what_is_no_content_do_not_mix_with_the_rest():
    rows, columns = np.mgrid[:ROWS, :COLUMNS]
    masked, inside = columns < 20, rows > 10
    depth = np.select([~inside, masked], [8.0, 1.0], 4.0).astype(np.float32)
    picture = Picture(UNMASKED.image, None, inside=inside, masked=masked)
    np.testing.assert_allclose(filtered(depth, np.full_like(depth, 0.5), picture), depth, rtol=1e-5)


def test_what_is_unknown_stays_so_and_confidence_begins_at_one():
    rng = np.random.default_rng(1)
    depth, gray = patched(SMOOTH, 0.1), rng.random(SMOOTH.shape, dtype=np.float32)
    depth[10:20, 10:30] = np.nan
    confidence = np.where(rng.random(SMOOTH.shape) < 0.5, 1.0, 20.0).astype(np.float32)
    found = without_patch_artifacts(prediction(depth, gray, confidence), [UNMASKED])
    np.testing.assert_array_equal(np.isfinite(found.depth[0]), np.isfinite(depth))
    assert found.confidence.min() >= 1
    assert (found.depth.dtype, found.confidence.dtype) == (np.float32, np.float32)


@pytest.mark.parametrize(("head", "is_filtered"), [("linear", True), ("conv", False)])
def test_only_the_maps_of_a_linear_head_are_filtered_and_each_by_its_own_image(make_model, head, is_filtered):
    images = np.random.default_rng(2).integers(0, 255, (3, 42, 56, 3), dtype=np.uint8)
    predictor = DvltPredictor(make_model(depth_head_type=head), "cpu")
    views = [view(number, image) for number, image in enumerate(images)]
    found = predictor.predict(views, 2, IMAGE_SIZE, [0, 2])
    expected = prepare_images(list(images), IMAGE_SIZE).images[0].mean(dim=1).numpy()
    np.testing.assert_allclose(found.grays, expected[[0, 2]] if is_filtered else (), atol=1e-6)
    after = without_patch_artifacts(found, [views[0].picture, views[2].picture])
    assert (after is found) is not is_filtered
    through_refinement = RefiningPredictor(predictor, 0.0).predict(views, 2, IMAGE_SIZE, [2])
    np.testing.assert_allclose(through_refinement.grays, expected[[2]] if is_filtered else (), atol=1e-6)


def test_the_map_is_without_patch_artifacts(make_predictor, make_frame, monkeypatch):
    predictor, depths = make_predictor(), []
    predict = predictor.predict

    def with_steps(views, *args):
        found = predict(views, *args)
        step = np.where(np.mgrid[: found.depth.shape[1], : found.depth.shape[2]][1] % PATCH_SIZE < 7, 0.95, 1.05)
        depth = (found.depth * step).astype(np.float32)
        found = replace(found, depth=depth, grays=tuple(np.full_like(values, 0.5) for values in depth))
        depths.append(found)
        return found

    monkeypatch.setattr(predictor, "predict", with_steps)
    mapper = Mapper(mapper_config(refinement_mode="off"), predictor)
    updates = [update for number in (1, 2, 3) if (update := mapper.add(make_frame(number))) is not None]
    updates += mapper.finish()
    (seen, plain), pictures = (updates[0].frames[0].depth, depths[0].depth[0]), [UNMASKED] * len(depths[0].depth)
    expected = without_patch_artifacts(depths[0], pictures).depth[0]
    np.testing.assert_allclose(seen / np.nanmedian(seen), expected / np.nanmedian(expected), rtol=1e-3)
    assert np.abs(expected / plain - 1).max() > 0.03
