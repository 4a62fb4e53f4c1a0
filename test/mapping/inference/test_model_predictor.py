"""Any model over windows: its geometry has the front end's conventions, as that of the own model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from configs import mapper_config
from room import FRAME_NS, SIZE, picture, room_depth, walk
from upstreams import make_scene

from dvlt_ros.backends import MultiViewPrediction, model_card
from dvlt_ros.errors import ConfigError
from dvlt_ros.mapping.budget.config import BudgetConfig, WindowConfig
from dvlt_ros.mapping.budget.limits import Limits
from dvlt_ros.mapping.budget.quality_levels import levels_within
from dvlt_ros.mapping.data.frames import Frame, Picture
from dvlt_ros.mapping.data.views import View
from dvlt_ros.mapping.front_end.front_end import FrontEnd
from dvlt_ros.mapping.inference.config import ModelConfig
from dvlt_ros.mapping.inference.dvlt_predictor import DvltPredictor
from dvlt_ros.mapping.inference.loading import load_predictor
from dvlt_ros.mapping.inference.model_predictor import WindowPredictor
from dvlt_ros.mapping.inference.prediction import DeviceMemoryError

CPU = torch.device("cpu")


class Seeing:
    """A model that knows the scene, up to one factor per window."""

    min_steps = max_steps = 1
    device = CPU

    def __init__(self, scene, name="da3-base"):
        self.scene, self.card, self.shapes = scene, model_card(name), []
        self.image_size = self.card.image_size

    def predict(self, images, num_steps=None):
        assert num_steps == 1
        self.shapes.append(tuple(images.shape))
        scene = self.scene(images) if callable(self.scene) else self.scene
        return MultiViewPrediction.of(scene.depth, scene.confidence, scene.intrinsics, scene.world_from_cam)


def views_of(count, size=(28, 42), intrinsics=None):
    rng = np.random.default_rng(0)

    def view(number):
        shown = Picture(rng.integers(0, 255, (*size, 3), dtype=np.uint8), intrinsics)
        return View(number, Frame(number + 1, "cam", 0, lambda: shown), shown)

    return [view(number) for number in range(count)]


def points_of(found, index):
    rows, columns = np.mgrid[: found.depth.shape[1], : found.depth.shape[2]] + 0.5
    directions = np.stack([columns, rows, np.ones_like(rows)], axis=-1) @ np.linalg.inv(found.intrinsics[index]).T
    points = directions * found.depth[index][..., None]
    return points @ found.window_from_cam[index, :3, :3].T + found.window_from_cam[index, :3, 3]


def test_the_decoded_views_are_the_models_and_the_intrinsics_one_camera():
    scene = make_scene((28, 42))
    found = WindowPredictor(Seeing(scene)).predict(views_of(3), 1, 42, [1, 2])
    np.testing.assert_array_equal(found.depth, scene.depth[1:].numpy())
    np.testing.assert_array_equal(found.confidence, scene.confidence[1:].numpy())
    np.testing.assert_allclose(found.intrinsics, scene.intrinsics[1:].numpy(), rtol=1e-5)
    relative = np.linalg.inv(found.window_from_cam[0]) @ found.window_from_cam[1]
    truth = torch.linalg.inv(scene.world_from_cam[1]) @ scene.world_from_cam[2]
    np.testing.assert_allclose(relative, truth.numpy(), atol=1e-4)
    assert found.depth.dtype == np.float32


def test_known_intrinsics_are_kept_and_the_cameras_turned_to_fit():
    scene = make_scene((28, 42))
    model = WindowPredictor(Seeing(scene))
    known = scene.intrinsics[0].double().numpy()
    exact = model.predict(views_of(3, intrinsics=known), 1, 42, range(3))
    np.testing.assert_allclose(exact.intrinsics, np.stack([known] * 3), rtol=1e-6)
    truth = torch.linalg.inv(scene.world_from_cam[0]) @ scene.world_from_cam
    np.testing.assert_allclose(exact.window_from_cam, truth.numpy(), atol=1e-4)
    # The principal point is elsewhere than the model says: the optical axis turns, the points ahead stay.
    shifted = known + np.array([[0, 0, 2.0], [0, 0, 0], [0, 0, 0]])
    turned = model.predict(views_of(3, intrinsics=shifted), 1, 42, range(3))
    middle = np.s_[10:18, 16:26]
    there, here = points_of(exact, 1)[middle], points_of(turned, 1)[middle]
    assert np.median(np.linalg.norm(here - there, axis=-1)) < 0.01


def test_a_view_without_a_camera_is_not_a_number_and_the_others_stay():
    scene = make_scene((28, 42))
    broken = replace(scene, intrinsics=scene.intrinsics.clone())
    broken.intrinsics[1] = torch.nan
    found = WindowPredictor(Seeing(broken)).predict(views_of(3), 1, 42, range(3))
    assert [np.isfinite(found.window_from_cam[i]).all() for i in range(3)] == [True, False, True]
    assert np.isfinite(found.intrinsics).all()


def test_every_rung_of_the_ladder_is_a_size_that_the_model_takes():
    for name in ("da3-base", "vggt", "vggt-omega"):
        patch = model_card(name).patch_size

        def flat(images):
            return make_scene(tuple(images.shape[-2:]), len(images))

        model = Seeing(flat, name)
        predictor = WindowPredictor(model)
        allowed = Limits.of(BudgetConfig(), WindowConfig(), 0, predictor, 1)
        assert isinstance(allowed, Limits)
        assert (allowed.k_min, allowed.k_max) == (1, 1)
        sizes = {level.image_size for level in levels_within(allowed)}
        for image_size in sizes:
            found = predictor.predict(views_of(2, (48, 64)), 1, image_size, [0, 1])
            height, width = model.shapes[-1][-2:]
            assert height % patch == width % patch == 0
            assert found.mapping.network_size == found.depth.shape[1:] == (height, width)
        assert len(sizes) > 2
        assert max(shape[-1] for shape in model.shapes) == model.card.image_size


def test_steps_that_a_model_without_a_loop_has_not_are_refused():
    predictor = WindowPredictor(Seeing(make_scene((28, 42))))
    with pytest.raises(ConfigError, match=r"one number of steps: budget\.k_min and budget\.k_max must be 0 or 1"):
        FrontEnd(predictor, mapper_config(budget_k_max=8))


def test_no_memory_is_an_error_of_its_own_and_others_are_not_taken_for_it():
    def full(_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB")

    def broken(_):
        raise RuntimeError("a kernel failed")

    with pytest.raises(DeviceMemoryError, match="no memory for 3 views at 42 pixels: CUDA out of memory"):
        WindowPredictor(Seeing(full)).predict(views_of(3), 1, 42, [0])
    with pytest.raises(RuntimeError, match="a kernel failed"):
        WindowPredictor(Seeing(broken)).predict(views_of(3), 1, 42, [0])


def test_the_engine_maps_a_walk_with_it_as_with_any_other():
    """Each window has a unit and a first camera of its own; the map has one."""
    poses = walk(24)
    size = (14 * (SIZE[0] // 14), 14 * (SIZE[1] // 14))  # the room's pictures, cropped to patches
    top, left = (SIZE[0] - size[0]) // 2, (SIZE[1] - size[1]) // 2
    intrinsics = torch.tensor([[24.0, 0, 16.0 - left], [0, 24.0, 12.0 - top], [0, 0, 1]])
    rng, windows = np.random.default_rng(0), []

    def see(images):
        chosen = windows[-1]
        depth = np.stack([room_depth(poses[i])[top : top + size[0], left : left + size[1]] for i in chosen])
        scene = make_scene(size, len(chosen))
        world_from_cam = torch.tensor(np.stack([poses[i] for i in chosen])).float()
        scene = replace(
            scene, depth=torch.from_numpy(depth), intrinsics=intrinsics.repeat(len(chosen), 1, 1),
            world_from_cam=world_from_cam,
        )  # fmt: skip
        assert tuple(images.shape[-2:]) == size
        return scene.scaled(torch.tensor(rng.uniform(0.5, 2.0)))

    predictor = WindowPredictor(Seeing(see))
    predict = predictor.predict

    def remember(views, *rest):
        windows.append([view.frame.stamp_ns // FRAME_NS - 1 for view in views])
        return predict(views, *rest)

    predictor.predict = remember
    front_end = FrontEnd(
        predictor, mapper_config(model_image_size=28, keyframes_min_change=0.0, confidence_cut_share=0.0)
    )
    found = []
    for i in range(len(poses)):
        shown = picture(i)
        front_end.admit(Frame((i + 1) * FRAME_NS, "cam", 0, lambda shown=shown: shown))
        if front_end.is_full():
            found += front_end.run().reconstructions
    while (window := front_end.run(flush=True)) is not None:
        found += window.reconstructions
    assert len(found) == len(poses)
    assert {r.map_id for r in found} == {0}
    centres = np.stack([r.map_from_cam[:3, 3] for r in found])
    truth = np.stack([p[:3, 3] for p in poses])
    scale = np.linalg.norm(np.diff(centres, axis=0), axis=1) / np.linalg.norm(np.diff(truth, axis=0), axis=1)
    np.testing.assert_allclose(scale, scale[0], rtol=0.02)


@pytest.mark.parametrize(("budget_ms", "fits"), [(80.0, False), (60_000.0, True)])
def test_the_budget_of_a_model_without_a_loop_works_by_window_and_resolution(budget_ms, fits):
    now_ns, shapes = [0], []

    def see(images):
        """A model that takes 1 ms per patch of every view; frames come ten times a second."""
        now_ns[0] += len(images) * images[0, 0].numel() // 14**2 * 10**6
        shapes.append(tuple(images.shape))
        return make_scene(tuple(images.shape[-2:]), len(images))

    config = mapper_config(
        budget_latency_ms=budget_ms, model_image_size=112, window_size=6, keyframes_min_change=0.0,
        confidence_min_share=0.0, registration_max_residual=1.0,
    )  # fmt: skip
    front_end = FrontEnd(WindowPredictor(Seeing(see)), config, clock_ns=lambda: now_ns[0])
    steps, took_ms = set(), []
    for i, view in enumerate(views_of(60, (84, 112))):
        arrival_ns = i * FRAME_NS + 1
        while now_ns[0] < arrival_ns:
            window = front_end.run()
            if window is None:
                now_ns[0] = arrival_ns
            else:
                steps.add(window.plan.num_steps)
                took_ms.append(window.waited_ms + window.window_ms)
        front_end.admit(Frame(arrival_ns, "cam", arrival_ns, lambda shown=view.picture: shown))
    assert steps == {1}
    assert max(shape[0] for shape in shapes) > 3
    assert all((shape[0] < 4 and shape[-1] < 112) != fits for shape in shapes[-10:])
    assert np.median(took_ms[-10:]) <= budget_ms


def test_models_are_loaded_by_name(make_model, tmp_path):
    make_model().save_pretrained(tmp_path)
    assert isinstance(load_predictor(ModelConfig(weights=str(tmp_path), device="cpu")), DvltPredictor)
    with pytest.raises(ConfigError, match=r"model\.precision is for dvlt"):
        load_predictor(ModelConfig("da3-base", device="cpu", precision="int8"))
    with pytest.raises(ConfigError, match="model must be one of"):
        ModelConfig("dvtl")
