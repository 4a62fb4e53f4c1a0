"""Several reference views: each path is an independent run, and late fusion is exact where the paths agree."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from dvlt_ros.alignment import Sim3
from dvlt_ros.cameras import pose_encoding_from_cameras, rays_from_cameras
from dvlt_ros.errors import InputError
from dvlt_ros.geometry import rotate
from dvlt_ros.model import Prediction
from dvlt_ros.model.references import DISAGREES, fuse, predict, predict_paths, spread_references
from dvlt_ros.types import Cameras

VIEWS, SIZE = 4, (28, 42)


@pytest.fixture(scope="module")
def images():
    return torch.rand(1, VIEWS, 3, *SIZE, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def scene():
    """A prediction whose points fill a room."""
    generator = torch.Generator().manual_seed(1)
    world_from_cam = torch.eye(4).repeat(1, VIEWS, 1, 1)
    world_from_cam[0, :, 0, 3] = torch.arange(VIEWS) * 0.3
    intrinsics = torch.tensor([[40.0, 0, 21], [0, 40.0, 14], [0, 0, 1]]).expand(1, VIEWS, 3, 3)
    cameras = Cameras(world_from_cam, intrinsics)
    directions, origins = rays_from_cameras(cameras, *SIZE)
    depth = 1 + 3 * torch.rand(1, VIEWS, *SIZE, generator=generator)
    confidence = 1 + torch.rand(1, VIEWS, *SIZE, generator=generator)
    return Prediction(depth, confidence, directions, origins, pose_encoding_from_cameras(cameras, *SIZE))


def seen_from_elsewhere(scene, scale=2.5):
    """The same answer in another frame and unit."""
    turn = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    other = Sim3(torch.tensor([scale]), turn[None], torch.tensor([[1.0, -2, 3]]))
    return replace(
        scene,
        depth=scale * scene.depth,
        ray_directions=rotate(turn, scene.ray_directions),
        ray_origins=other.apply(scene.ray_origins),
    )


def test_references_are_spread_and_the_first_view_is_one():
    assert spread_references(6, 1) == [0]
    assert spread_references(6, 3) == [0, 2, 4]
    assert spread_references(5, 5) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("count", [0, 5, True, 2.0])
def test_more_references_than_views_is_one_clear_line(make_model, images, count):
    with pytest.raises(InputError, match=rf"^references must be from 1 to the number of views, 4, got {count}$"):
        make_model()(images, 2, references=count)


def test_one_reference_is_the_model_itself(make_model, images):
    model = make_model()
    with torch.inference_mode():
        features = model.encode(images)
        alone = model.decode(model.run(model.begin(features), 3))
        assert torch.equal(predict(model, features, 3).points, alone.points)


def test_a_path_is_the_run_with_its_reference_first(make_model, images):
    model = make_model()
    order = [2, 0, 1, 3]
    with torch.inference_mode():
        features = model.encode(images)
        _, path = predict_paths(model, features, 3, [0, 2], views=[3, 0])
        alone = model(images[:, order], 3)
    torch.testing.assert_close(path.points, alone.points[:, [3, 1]])


def test_paths_that_say_the_same_in_other_frames_fuse_to_the_first(scene):
    fusion = fuse([scene, seen_from_elsewhere(scene), scene])
    assert fusion.used.all()
    for name in ("depth", "depth_confidence", "ray_directions", "ray_origins", "pose_encoding"):
        torch.testing.assert_close(getattr(fusion.prediction, name), getattr(scene, name), rtol=1e-4, atol=1e-4)


def test_the_more_confident_path_counts_more(scene):
    other = replace(scene, depth=1.01 * scene.depth, depth_confidence=3 * scene.depth_confidence)
    points = fuse([scene, other]).prediction.points
    moved = fuse([scene, other, other]).prediction.points
    assert (points - scene.points).norm() < (moved - scene.points).norm()


def test_permuted_paths_permute_the_report_and_keep_the_answer(scene):
    noisy = replace(scene, depth=scene.depth * torch.linspace(0.98, 1.02, SIZE[1]))
    one, two = fuse([scene, noisy, seen_from_elsewhere(scene)]), fuse([scene, seen_from_elsewhere(scene), noisy])
    torch.testing.assert_close(one.disagreement[[0, 2, 1]], two.disagreement)
    torch.testing.assert_close(one.prediction.points, two.prediction.points)


def test_a_path_that_disagrees_or_has_no_similarity_is_left_out(scene):
    wrong = replace(scene, depth=scene.depth.flip(-1) ** 2)
    nowhere = replace(scene, depth=torch.zeros_like(scene.depth), ray_origins=torch.zeros_like(scene.ray_origins))
    fusion = fuse([scene, wrong, nowhere])
    assert fusion.used[:, 0].tolist() == [True, False, False]
    assert fusion.disagreement[1, 0] > DISAGREES
    torch.testing.assert_close(fusion.prediction.points, scene.points, rtol=1e-4, atol=1e-4)
