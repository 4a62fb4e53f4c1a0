"""The term of relative poses, for all pairs of views."""

import pytest
import torch
from loss_scenes import leaves, noisy, scene

from dvlt_ros.geometry import matrix_from_quaternion, pose_matrix, quaternion_from_matrix
from dvlt_ros.training.losses import LossConfig, compute_losses
from dvlt_ros.training.losses.pairs import pair_errors, relative_poses


def encodings(seed, views=3):
    generator = torch.Generator().manual_seed(seed)
    encoding = torch.randn(2, views, 9, generator=generator)
    encoding[..., 3:7] /= encoding[..., 3:7].norm(dim=-1, keepdim=True)
    return encoding


def matrices(encoding):
    return pose_matrix(matrix_from_quaternion(encoding[..., 3:7]), encoding[..., :3])


def test_relative_poses_are_products_of_the_views_own():
    poses = matrices(encodings(0))
    rotations, translations = relative_poses(encodings(0))
    expected = torch.linalg.inv(poses)[:, :, None] @ poses[:, None]
    torch.testing.assert_close(rotations, expected[..., :3, :3], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(translations, expected[..., :3, 3], atol=1e-5, rtol=1e-5)


def test_another_world_changes_no_pair():
    found, truth = encodings(0), encodings(1)
    turn = matrices(encodings(2)[:, :1])
    moved = truth.clone()
    poses = turn @ matrices(truth)
    moved[..., :3], moved[..., 3:7] = poses[..., :3, 3], quaternion_from_matrix(poses[..., :3, :3])
    torch.testing.assert_close(pair_errors(found, moved), pair_errors(found, truth), atol=1e-5, rtol=1e-5)


def test_a_right_prediction_has_no_error_and_the_term_is_off_by_default():
    prediction, targets = scene(views=3)
    assert compute_losses(prediction, targets, LossConfig()).pairs.item() == pytest.approx(0, abs=1e-5)
    wrong = noisy(prediction)
    off, on = (compute_losses(wrong, targets, LossConfig(pairs=weight)) for weight in (0.0, 2.0))
    assert off.pairs.item() > 0.01
    torch.testing.assert_close(on.total, off.total + 2 * off.pairs)


def test_a_view_that_is_wrong_alone_counts_in_all_its_pairs():
    prediction, targets = scene(views=4, windows=1)
    encoding = prediction.pose_encoding.detach().clone()
    encoding[0, 2, 0] += 3.0
    wrong = leaves(
        depth=prediction.depth.detach(), depth_confidence=prediction.depth_confidence.detach(),
        rays=prediction.rays.detach(), pose_encoding=encoding,
    )  # fmt: skip
    errors = pair_errors(wrong.pose_encoding, prediction.pose_encoding)[0]
    others = torch.tensor([True, True, False, True])
    assert (errors[2, others] > 0.1).all()
    assert (errors[others, 2] > 0.1).all()
    assert errors[others][:, others].max() < 1e-5
    assert compute_losses(wrong, targets, LossConfig()).pairs.item() > 0.01


def test_unknown_poses_and_empty_views_count_as_no_error():
    prediction, targets = scene(views=3)
    encoding = prediction.pose_encoding.detach().clone()
    encoding[0, 1, 4] = float("nan")
    wrong = leaves(
        depth=prediction.depth.detach(), depth_confidence=prediction.depth_confidence.detach(),
        rays=prediction.rays.detach(), pose_encoding=encoding,
    )  # fmt: skip
    terms = compute_losses(wrong, targets, LossConfig(pairs=1.0))
    assert terms.pairs.item() == pytest.approx(0, abs=1e-5)
    terms.total.backward()
    assert torch.isfinite(wrong.pose_encoding.grad).all()
    targets.valid[:] = False
    assert compute_losses(noisy(prediction), targets, LossConfig()).pairs.item() == 0
