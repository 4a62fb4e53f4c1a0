"""A scene is what the mapper makes of the photos, as `reconstruct_bag` has it; what is left out is said."""

from __future__ import annotations

import shutil

import cv2
import numpy as np
import pytest
import torch
from wall import Wall

from dvlt_ros import reconstruct_bag
from dvlt_ros.checkpoints import EMBEDDED_WEIGHTS
from dvlt_ros.demo import DEMO_SEQUENCE
from dvlt_ros.errors import ConfigError, InputError
from dvlt_ros.mapping.inference.config import ModelConfig
from dvlt_ros.mapping.inference.loading import load_predictor
from dvlt_ros.mapping.inference.model_predictor import WindowPredictor
from dvlt_ros.mapping.keyframes.admission import BLANK
from dvlt_ros.photos import windows
from dvlt_ros.web.photos import Photos, read_photos
from dvlt_ros.web.reconstruction import fit_together, reconstruct, reference_first
from dvlt_ros.web.visitors.reader import Reader

COUNT, STEPS = 4, 3
needs_weights = pytest.mark.skipif(not EMBEDDED_WEIGHTS.is_dir(), reason="the embedded checkpoint is not here")


@pytest.fixture(autouse=True)
def unrefined(monkeypatch):
    """The network tells poses that its pictures do not show: they are not refined."""
    monkeypatch.setattr("dvlt_ros.mapping.mapper.refined", lambda predictor, *_: predictor)


@pytest.fixture(scope="module")
def predictor():
    return load_predictor(ModelConfig(device="cpu"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Some photos and the camera that took them."""
    folder = tmp_path_factory.mktemp("photos")
    for path in [*sorted(DEMO_SEQUENCE.glob("*.jpg"))[:COUNT], DEMO_SEQUENCE / "camera_info.yaml"]:
        shutil.copy(path, folder)
    return folder


def of_bag(folder, output, monkeypatch, references=1):
    """The frames that `reconstruct_bag` gives out for these photos; the page cuts nothing by confidence."""
    frames = []

    class Results(reconstruct_bag.Results):
        def add(self, update):
            frames.extend(update.frames)
            super().add(update)

    monkeypatch.setattr(reconstruct_bag, "Results", Results)
    options = {"--budget-k-min": STEPS, "--budget-k-max": STEPS, "--confidence-cut-share": 0, "--device": "cpu"}
    options["--budget-references"] = references
    words = [str(word) for option in options.items() for word in option]
    reconstruct_bag.main([str(folder), "--output", str(output), *words])
    return frames


@needs_weights
def test_more_references_than_photos_is_one_clear_line(folder, predictor):
    with pytest.raises(ConfigError, match=r"^budget\.references must be at most the views of a window, 4 .*, got 5$"):
        reconstruct(predictor, "dvlt", read_photos([folder], COUNT), num_steps=STEPS, references=5)


@needs_weights
@pytest.mark.parametrize(("is_calibrated", "references"), [(True, 1), (False, 1), (True, 3)])
def test_the_page_and_reconstruct_bag_give_the_same(
    folder, predictor, is_calibrated, references, tmp_path, monkeypatch
):
    shutil.copytree(folder, tmp_path / "in")
    if not is_calibrated:
        (tmp_path / "in" / "camera_info.yaml").unlink()
    frames = of_bag(tmp_path / "in", tmp_path / "out", monkeypatch, references)
    photos = read_photos([tmp_path / "in"], COUNT)
    scene = reconstruct(predictor, "dvlt", photos, num_steps=STEPS, references=references)
    assert len(frames) == len(scene.titles) == COUNT
    cam_from_map = np.linalg.inv(frames[0].map_from_cam)
    for index, frame in enumerate(frames):
        np.testing.assert_allclose(scene.world_from_cam[index], cam_from_map @ frame.map_from_cam, atol=1e-6)
        np.testing.assert_allclose(scene.depth[index], frame.depth, rtol=1e-6)
        np.testing.assert_allclose(scene.confidence[index], frame.confidence, rtol=1e-6)
        np.testing.assert_allclose(scene.intrinsics[index], frame.intrinsics, rtol=1e-6)
    assert np.isfinite(scene.depth).mean() > 0.99
    assert np.ptp(scene.world_from_cam[:, :3, 3], axis=0).max() > 1e-3


@needs_weights
def test_a_scene_knows_nothing_of_the_one_before(folder, predictor):
    photos, others = read_photos([folder], 3), read_photos(sorted(DEMO_SEQUENCE.glob("*.jpg"))[30:33], 3)
    first = reconstruct(predictor, "dvlt", photos, num_steps=2)
    reconstruct(predictor, "dvlt", others, num_steps=2)
    np.testing.assert_array_equal(reconstruct(predictor, "dvlt", photos, num_steps=2).depth, first.depth)


@needs_weights
def test_the_lens_of_a_folder_counts_through_the_reading_process_too(folder, predictor):
    known, unknown = Reader().read([folder], 2), read_photos(sorted(folder.glob("*.jpg")), 2)
    assert np.isnan(unknown.intrinsics).all()
    scene = reconstruct(predictor, "dvlt", known, num_steps=2)
    height, width = known.images[0].shape[:2]
    scale = scene.size[1] / width
    assert scene.size[0] == round(scale * height)
    np.testing.assert_allclose(scene.intrinsics[:, :2], scale * known.intrinsics[:, :2], rtol=1e-5)


@needs_weights
def test_a_k_that_the_network_does_not_have_is_refused(paths, predictor):
    with pytest.raises(ConfigError, match=r"budget\.k_min must be at most 64, got 65"):
        reconstruct(predictor, "dvlt", read_photos(paths, 2), num_steps=65)


@pytest.mark.parametrize("reference", range(3))
def test_the_reference_goes_first_and_everything_comes_back_in_its_order(reference, wall, paths):
    photos = read_photos(paths, 3)
    found = reconstruct(WindowPredictor(wall), "dvlt", photos, reference, 4)
    ((images, steps),), order = wall.asked, reference_first(3, reference)  # once, all together
    assert steps == found.num_steps == 4
    for place, index in enumerate(order):
        seen = 255 * images[place].permute(1, 2, 0).numpy()
        assert np.abs(seen - found.images[index]).mean() < 3  # another filter makes them smaller
        assert np.abs(seen - found.images[order[place - 1]]).mean() > 6
        assert found.world_from_cam[index, 0, 3] == pytest.approx(0.07 * place, abs=1e-5)
    np.testing.assert_allclose(found.world_from_cam[reference], np.eye(4), atol=1e-12)
    np.testing.assert_allclose(found.points[reference, ..., 2], 2, rtol=1e-5)
    with pytest.raises(InputError, match="one of 3 views, got 3"):
        reconstruct(WindowPredictor(wall), "dvlt", photos, 3)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_all_views_are_one_window(count, wall):
    photos = read_photos([DEMO_SEQUENCE], count)
    assert len(reconstruct(WindowPredictor(wall), "dvlt", photos).titles) == count
    assert [(len(images), steps) for images, steps in wall.asked] == [(count, wall.max_steps)]


def test_more_views_than_a_window_holds_are_several_windows_of_one_scene(wall, monkeypatch):
    monkeypatch.setattr(windows, "most_views", lambda *_: 20)
    count = 30
    image = read_photos([DEMO_SEQUENCE], 1).images[0]
    photos = Photos((image,) * count, ("one",) * count, count, np.full((count, 3, 3), np.nan))
    scene = reconstruct(WindowPredictor(wall), "dvlt", photos)
    assert len(scene.titles) == count
    assert [len(images) for images, _ in wall.asked] == [18, 17]  # five of them twice
    np.testing.assert_allclose(np.diff(scene.world_from_cam[:, 0, 3]), 0.07, rtol=1e-3)


# Photos that do not fit together


def test_photos_of_other_sizes_are_fitted_and_their_border_is_not_shown(wall, paths):
    wide = read_photos(paths, 2).images[0]
    tall = np.ascontiguousarray(np.rot90(wide))
    small = cv2.resize(wide, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    photos = Photos((wide, tall, small), ("wide", "tall", "small"), 3, np.full((3, 3, 3), np.nan))
    scene = reconstruct(WindowPredictor(wall), "dvlt", photos)
    assert scene.size == (56, 56)
    assert [round(float(usable.mean()), 2) for usable in scene.usable] == [0.75, 0.75, 0.75]
    assert np.array_equal(scene.usable[1], scene.usable[0].T)
    assert not scene.images[~scene.usable].any()
    assert np.abs(scene.images[0].astype(int) - scene.images[2]).mean() < 3


def test_a_known_lens_moves_with_the_pixels():
    photos = read_photos([DEMO_SEQUENCE], 2)
    narrow = Photos(
        (photos.images[0], np.ascontiguousarray(photos.images[1][24:168])), ("a", "b"), 2,
        np.stack([photos.intrinsics[0], np.array([[1.0, 0, 0], [0, 1, -24], [0, 0, 1]]) @ photos.intrinsics[1]]),
    )  # fmt: skip
    first, second = fit_together(narrow)
    assert first.image.shape == second.image.shape == (192, 256, 3)
    for fitted, whole in zip((first, second), photos.intrinsics, strict=True):
        # The second one lost as much at the top as its border is wide.
        np.testing.assert_allclose(fitted.intrinsics, whole, atol=1e-9)


def test_portraits_among_landscape_photos_are_one_scene_as_they_were_taken(wall, paths):
    photos = read_photos(paths, 3)
    tall = np.ascontiguousarray(np.rot90(photos.images[1]))
    mixed = Photos((photos.images[0], tall, photos.images[2]), photos.titles, 3, np.full((3, 3, 3), np.nan))
    fitted = fit_together(mixed)
    for photo, image in zip(fitted, mixed.images, strict=True):
        np.testing.assert_array_equal(photo.image, image)
        assert photo.inside is None
    scene = reconstruct(WindowPredictor(wall), "dvlt", mixed)
    assert [images.shape[-2:] for images, _ in wall.asked] == [(42, 56)]  # no border
    assert scene.titles == photos.titles
    assert scene.size == (56, 56)
    assert [usable.any(axis=1).sum() for usable in scene.usable] == [42, 56, 42]
    shown = scene.images[1][:, 7:49]
    smaller = cv2.resize(tall, (42, 56), interpolation=cv2.INTER_AREA)
    assert np.abs(shown.astype(int) - smaller).mean() < 3
    # The wall is two units before every camera, and each point is seen at its own pixel.
    assert scene.points[1][scene.usable[1]][:, 2] == pytest.approx(2, abs=1e-4)
    seen = (scene.points[1] - scene.world_from_cam[1, :3, 3]) @ scene.world_from_cam[1, :3, :3] @ scene.intrinsics[1].T
    rows, columns = np.mgrid[:56, :56] + 0.5
    pixels = (seen[..., :2] / seen[..., 2:])[scene.usable[1]]
    np.testing.assert_allclose(pixels, np.stack([columns, rows], axis=-1)[scene.usable[1]], atol=1e-2)


# What cannot be placed


def with_blank(paths, index):
    photos = read_photos(paths, 3)
    images = list(photos.images)
    images[index] = np.zeros_like(images[index])
    return Photos(tuple(images), photos.titles, photos.total, photos.intrinsics)


def test_a_black_photo_is_left_out_by_name_and_cause(wall, paths):
    scene = reconstruct(WindowPredictor(wall), "dvlt", with_blank(paths, 1), reference=2)
    assert scene.titles == (paths[0].name, paths[2].name)
    assert scene.reference == 1
    assert scene.remark == f"left out: {paths[1].name} ({BLANK})"
    with pytest.raises(InputError, match=f"no place for the reference {paths[1].name}: the image shows nothing"):
        reconstruct(WindowPredictor(wall), "dvlt", with_blank(paths, 1), reference=1)


def test_a_view_without_a_camera_is_left_out(paths):
    class Lost(Wall):
        def predict(self, images, num_steps=None):
            found = super().predict(images, num_steps)
            found.world_from_cam[1] = torch.nan
            return found

    scene = reconstruct(WindowPredictor(Lost()), "dvlt", read_photos(paths, 3))
    assert scene.titles == (paths[0].name, paths[2].name)
    assert "no camera explains their rays" in scene.remark


def test_no_depth_at_all_is_said(paths):
    class Blind(Wall):
        def predict(self, images, num_steps=None):
            found = super().predict(images, num_steps)
            found.depth[:] = torch.nan
            return found

    with pytest.raises(InputError, match="dvlt found no depth in any of 3 views"):
        reconstruct(WindowPredictor(Blind()), "dvlt", read_photos(paths, 3))


class Small(Wall):
    """Holds so many views."""

    def __init__(self, most):
        super().__init__()
        self.most = most

    def predict(self, images, num_steps=None):
        if len(images) > self.most:
            raise torch.OutOfMemoryError("too many")
        return super().predict(images, num_steps)


def test_memory_that_is_less_than_predicted_makes_smaller_windows_and_loses_no_view():
    network = Small(8)
    scene = reconstruct(WindowPredictor(network), "dvlt", read_photos([DEMO_SEQUENCE], 12))
    assert len(scene.titles) == 12
    assert [len(images) for images, _ in network.asked] == [6, 6, 6]  # three of them shared


def test_no_memory_at_all_is_said(paths):
    with pytest.raises(InputError, match="no memory for 3 views: use fewer"):
        reconstruct(WindowPredictor(Small(0)), "dvlt", read_photos(paths, 3))
