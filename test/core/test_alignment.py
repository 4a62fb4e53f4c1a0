import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dvlt_ros.alignment import IDENTITY, Sim3, fit_sim3, fit_sim3_robust
from dvlt_ros.errors import AlignmentError, InputError
from dvlt_ros.geometry import invert_pose, matrix_from_quaternion, pose_matrix, rotate

RELATIVE = 1e-4  # agreement with the reference numbers


def random_sim3(seed, *lead):
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*lead, *shape, dtype=torch.float64, generator=generator)  # noqa: E731
    return Sim3(draw(1)[..., 0].exp(), matrix_from_quaternion(draw(4)), 3 * draw(3))


def points(seed, *shape):
    return torch.randn(*shape, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1000 + seed))


def assert_equal(found, expected, tolerance=1e-9):
    for name in ("scale", "rotation", "translation"):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name), atol=tolerance, rtol=tolerance)


@given(st.integers(0, 10**6), st.sampled_from([(), (2,), (2, 3)]), st.sampled_from(["umeyama", "symmetric"]))
@settings(max_examples=30, deadline=None)
def test_the_fit_of_moved_points_is_the_move(seed, lead, estimator):
    truth, source = random_sim3(seed, *lead), points(seed, *lead, 20)
    assert_equal(fit_sim3(source, truth.apply(source), scale_estimator=estimator), truth)
    assert_equal(fit_sim3_robust(source, truth.apply(source), scale_estimator=estimator), truth)


@given(st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_inverse_composition_matrix_and_poses_agree_with_apply(seed):
    a, b, x = random_sim3(seed, 2), random_sim3(seed + 1, 2), points(seed, 2, 5)
    torch.testing.assert_close(a.inverse.apply(a.apply(x)), x)
    torch.testing.assert_close(a.compose(b).apply(x), a.apply(b.apply(x)))
    torch.testing.assert_close(a.compose(b).matrix, a.matrix @ b.matrix)
    pose = pose_matrix(b.rotation, b.translation)
    moved = a.apply_to_poses(pose)
    # A point seen at x in the camera is seen at scale * x once camera and point have moved.
    in_camera = a.scale[:, None, None] * x
    expected = a.apply(rotate(pose[:, :3, :3], x) + pose[:, None, :3, 3])
    torch.testing.assert_close(rotate(moved[:, :3, :3], in_camera) + moved[:, None, :3, 3], expected)
    per_view = a.apply_to_poses(pose[:, None].expand(-1, 4, -1, -1))
    torch.testing.assert_close(per_view, moved[:, None].expand(-1, 4, -1, -1))
    torch.testing.assert_close(invert_pose(moved) @ moved, torch.eye(4, dtype=x.dtype).expand(2, 4, 4))


@given(st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_arrays_move_as_tensors_do_and_the_image_of_a_camera_stays(seed):
    move, cam, x = random_sim3(seed), random_sim3(seed + 1), points(seed, 5).numpy()
    pose = pose_matrix(cam.rotation, cam.translation)
    same = Sim3.of(float(move.scale), move.rotation.numpy(), move.translation.numpy())
    assert_equal(same, move, tolerance=0)
    np.testing.assert_array_equal(same.apply(x), move.apply(torch.from_numpy(x)).numpy())
    moved, depth = same.apply_to_poses(pose.numpy()), same.apply_to_depth(x[:, 2].astype(np.float32))
    np.testing.assert_array_equal(moved, move.apply_to_poses(pose).numpy())
    assert depth.dtype == np.float32
    in_map = same.apply(x)  # depth in the moved camera: how far along its axis a point is
    in_camera = (in_map - moved[:3, 3]) @ moved[:3, :3]
    before = (x - pose.numpy()[:3, 3]) @ pose.numpy()[:3, :3]
    np.testing.assert_allclose(in_camera[:, 2], same.apply_to_depth(before[:, 2]), atol=1e-9)
    assert_equal(IDENTITY.compose(move), move, tolerance=0)


def test_a_mirrored_target_gets_a_rotation_all_the_same():
    source = points(0, 30)
    found = fit_sim3(source, source * torch.tensor([-1.0, 1.0, 1.0]))
    assert float(torch.linalg.det(found.rotation)) == pytest.approx(1)


def test_planar_points_are_enough():
    truth, source = random_sim3(3), points(3, 20) * torch.tensor([1.0, 1.0, 0.0])
    assert_equal(fit_sim3(source, truth.apply(source)), truth)


def test_weights_and_values_that_are_not_finite():
    truth, source = random_sim3(4), points(4, 30)
    target = truth.apply(source)
    target[0], target[1, 2], target[2] = 100.0, torch.nan, torch.inf
    weights = torch.ones(30)
    weights[0], weights[3] = 0.0, torch.nan
    assert_equal(fit_sim3(source, target, weights), truth)
    doubled = torch.cat([source[5:], source[5:10]]), torch.cat([target[5:], target[5:10] + 0.1])
    copies = fit_sim3(*doubled, torch.full((30,), 3.0))
    assert_equal(copies, fit_sim3(*doubled))


def test_noise_on_both_sides_shrinks_only_the_one_way_scale():
    generator = torch.Generator().manual_seed(0)
    clean = torch.randn(4000, 3, dtype=torch.float64, generator=generator)
    source, target = (clean + 0.4 * torch.randn(clean.shape, generator=generator) for _ in range(2))
    assert float(fit_sim3(source, target).scale) == pytest.approx(1 / 1.16, rel=0.02)
    symmetric = fit_sim3(source, target, scale_estimator="symmetric")
    assert float(symmetric.scale) == pytest.approx(1, abs=0.02)
    assert_equal(fit_sim3(target, source, scale_estimator="symmetric"), symmetric.inverse)
    assert float(fit_sim3(source, 3 * target, scale_estimator="fixed").scale) == 1


def test_a_chain_of_noisy_registrations_keeps_its_scale_only_symmetrically():
    clean, left, right = (points(seed, 200, 200) for seed in (1, 2, 3))
    source, target = clean + 0.05 * left, clean + 0.05 * right
    one_way, symmetric = (
        float(fit_sim3(source, target, scale_estimator=estimator).scale.prod())
        for estimator in ("umeyama", "symmetric")
    )
    assert one_way < 0.7
    assert symmetric == pytest.approx(1, abs=0.05)


def test_the_second_round_leaves_out_the_worst_twentieth_by_nearest_rank():
    truth, source = random_sim3(5), points(5, 200)
    target = truth.apply(source)
    target[:10] += 5.0
    assert_equal(fit_sim3_robust(source, target), truth)
    target[10] += 5.0  # one more than a twentieth: one stays
    assert (fit_sim3_robust(source, target).translation - truth.translation).abs().max() > 1e-3


def test_fewer_than_ten_inliers_keep_the_first_fit():
    source = points(6, 9)
    target = source.clone()
    target[0] += 2.0
    assert_equal(fit_sim3_robust(source, target), fit_sim3(source, target))
    source = points(6, 11)  # the 95th percentile of 11 is the largest residual: nothing is left out
    target = source + 0.1 * points(7, 11)
    assert_equal(fit_sim3_robust(source, target), fit_sim3(source, target))


def test_sets_of_a_batch_do_not_meet():
    source, target = points(8, 3, 50), points(9, 3, 50)
    weights = (points(10, 3, 50)[..., 0] > 0).double()
    batch = fit_sim3_robust(source, target, weights)
    for i in range(3):
        single = fit_sim3_robust(source[i], target[i], weights[i])
        torch.testing.assert_close(batch.matrix[i], single.matrix)


def test_float32_in_float32_out():
    source = points(11, 2, 40).float() + 1000
    found = fit_sim3(source, 2 * source)
    assert found.scale.dtype == found.rotation.dtype == torch.float32
    torch.testing.assert_close(found.scale, torch.full((2,), 2.0))


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        (points(0, 2), "fewer than 3 usable points"),
        (torch.ones(20, 3), "all source points are the same"),
        (torch.arange(20.0)[:, None] * torch.tensor([1.0, 2.0, 3.0]), "on one line"),
        (torch.full((20, 3), torch.nan), "fewer than 3 usable points"),
    ],
)
def test_degenerate_points_have_no_answer(source, cause):
    with pytest.raises(AlignmentError, match=cause):
        fit_sim3(source, points(1, len(source)).to(source.dtype))
    batch = torch.stack([points(2, len(source)).to(source.dtype), source])
    if len(source) >= 3:
        with pytest.raises(AlignmentError, match=f"set 1 of 2: .*{cause}"):
            fit_sim3_robust(batch, torch.stack([batch[0]] * 2))
    with pytest.raises(AlignmentError):
        fit_sim3(points(1, len(source)).to(source.dtype), source)


def test_impossible_arguments_are_refused():
    x = points(0, 5)
    with pytest.raises(InputError, match=r"\(5, 3\) and \(4, 3\)"):
        fit_sim3(x, x[:4])
    with pytest.raises(InputError, match="weights must be"):
        fit_sim3(x, x, torch.ones(4))
    with pytest.raises(InputError, match="scale_estimator"):
        fit_sim3(x, x, scale_estimator="best")
    with pytest.raises(InputError, match="keep"):
        fit_sim3_robust(x, x, keep=0.0)


def test_one_fit_agrees_with_the_published_numbers(parity):
    reference = {
        name: torch.from_numpy(parity("metrics.npz")[f"sim3/{name}"]) for name in ("src", "dst", "R", "t", "s")
    }
    found = fit_sim3(reference["src"], reference["dst"])
    expected = Sim3(reference["s"], reference["R"], reference["t"])
    assert_equal(found, expected, RELATIVE)


def test_two_rounds_agree_with_the_published_numbers(parity):
    reference = parity("metrics.npz")
    found, truth, valid = (torch.from_numpy(reference[f"pointmap/{name}"]) for name in ("pred", "gt", "mask"))
    aligned = fit_sim3_robust(found[valid], truth[valid])
    assert float(aligned.scale) == pytest.approx(float(reference["pointmap/scale"]), rel=RELATIVE)
