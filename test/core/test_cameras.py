import os
import runpy
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dvlt_ros.cameras import (
    Cameras,
    cameras_from_pose_encoding,
    fit_cameras,
    pose_encoding_from_cameras,
    rays_from_cameras,
)
from dvlt_ros.errors import InputError
from dvlt_ros.geometry import matrix_from_quaternion, pose_matrix, rotation_angle

HEIGHT, WIDTH = 42, 56


def random_cameras(count: int, seed: int = 0, width: int = WIDTH, height: int = HEIGHT) -> Cameras:
    generator = torch.Generator().manual_seed(seed)
    rotation = matrix_from_quaternion(torch.randn(count, 4, generator=generator))
    intrinsics = torch.eye(3).repeat(count, 1, 1)
    intrinsics[:, 0, 0] = width * (0.5 + torch.rand(count, generator=generator))
    intrinsics[:, 1, 1] = intrinsics[:, 0, 0] * (0.9 + 0.2 * torch.rand(count, generator=generator))
    intrinsics[:, 0, 2] = width * (0.45 + 0.1 * torch.rand(count, generator=generator))
    intrinsics[:, 1, 2] = height * (0.45 + 0.1 * torch.rand(count, generator=generator))
    return Cameras(pose_matrix(rotation, torch.randn(count, 3, generator=generator)), intrinsics)


def angles_deg(fitted: Cameras, truth: Cameras) -> torch.Tensor:
    relative = fitted.world_from_cam[..., :3, :3].double().mT @ truth.world_from_cam[..., :3, :3].double()
    return torch.rad2deg(rotation_angle(relative))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([(14, 14), (42, 56), (126, 168), (56, 28)]))
def test_fitting_the_rays_of_cameras_gives_the_cameras(seed, size):
    height, width = size
    truth = random_cameras(5, seed, width, height)
    fitted = fit_cameras(*rays_from_cameras(truth, height, width))
    assert angles_deg(fitted, truth).max() < 0.02
    torch.testing.assert_close(fitted.intrinsics, truth.intrinsics, rtol=1e-3, atol=1e-2)
    torch.testing.assert_close(fitted.world_from_cam[..., 3], truth.world_from_cam[..., 3], rtol=0, atol=1e-5)


def test_leading_dimensions_are_kept_and_views_do_not_mix():
    truth = random_cameras(6)
    directions, origins = rays_from_cameras(truth, HEIGHT, WIDTH)
    together = fit_cameras(directions.unflatten(0, (2, 3)), origins.unflatten(0, (2, 3)))
    assert together.world_from_cam.shape == (2, 3, 4, 4)
    alone = fit_cameras(directions[4], origins[4])
    torch.testing.assert_close(together[1, 1].world_from_cam, alone.world_from_cam)
    torch.testing.assert_close(together[1, 1].intrinsics, alone.intrinsics)


def test_known_intrinsics_are_returned_and_only_improve_the_rotation():
    truth = random_cameras(8)
    directions, origins = rays_from_cameras(truth, HEIGHT, WIDTH)
    noisy = directions + 0.02 * torch.randn(directions.shape, generator=torch.Generator().manual_seed(1))
    free = fit_cameras(noisy, origins, stride=1)
    known = fit_cameras(noisy, origins, intrinsics=truth.intrinsics, stride=1)
    assert torch.equal(known.intrinsics, truth.intrinsics)
    assert angles_deg(known, truth).mean() < angles_deg(free, truth).mean() < 0.5


def test_outliers_and_weights():
    truth = random_cameras(4)
    directions, origins = rays_from_cameras(truth, HEIGHT, WIDTH)
    wrong = torch.rand(directions.shape[:-1], generator=torch.Generator().manual_seed(2)) < 0.2
    origins = origins.clone()
    directions[wrong], origins[wrong] = torch.tensor([0.3, -1.0, 0.2]), torch.tensor([5.0, 5.0, 5.0])
    assert angles_deg(fit_cameras(directions, origins), truth).max() < 0.05

    mostly_wrong = directions.clone()
    left = torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
    left[:, : WIDTH * 2 // 3] = True
    mostly_wrong[:, left] = mostly_wrong[:, left].flip(1)
    for outside in (0.0, -1.0, torch.nan):
        weights = torch.where(left, outside, 1.0).expand(4, -1, -1)
        assert angles_deg(fit_cameras(mostly_wrong, origins, weights), truth).max() < 0.1


def test_pixels_that_are_not_finite_do_not_count():
    truth = random_cameras(2)
    directions, origins = rays_from_cameras(truth, HEIGHT, WIDTH)
    directions[0, 10:20, :, 1] = torch.nan
    origins = origins.clone()
    origins[1, :5] = torch.inf
    fitted = fit_cameras(directions, origins)
    assert angles_deg(fitted, truth).max() < 0.02
    torch.testing.assert_close(fitted.world_from_cam[..., :3, 3], truth.world_from_cam[..., :3, 3])


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("fault", ["nothing valid", "one direction", "mirrored"])
def test_rays_of_no_camera_give_nan_and_leave_the_other_views_alone(fault, known):
    truth = random_cameras(2)
    directions, origins = rays_from_cameras(truth, HEIGHT, WIDTH)
    if fault == "nothing valid":
        directions[0] = torch.nan
    elif fault == "one direction":
        directions[0] = torch.tensor([0.1, 0.2, 1.0])
    else:
        directions[0] = directions[0].flip(1)
    fitted = fit_cameras(directions, origins, intrinsics=truth.intrinsics if known else None)
    assert fitted.world_from_cam[0, :3, :3].isnan().all()
    assert known or fitted.intrinsics[0].isnan().all()
    assert angles_deg(fitted[1:], truth[1:]).max() < 0.02


def test_few_valid_columns_are_enough():
    truth = random_cameras(1, width=504, height=504)
    truth = Cameras(truth.world_from_cam.double(), truth.intrinsics.double())  # a sliver is ill-conditioned
    directions, origins = rays_from_cameras(truth, 504, 504)
    weights = torch.zeros(1, 504, 504, dtype=torch.float64)
    weights[..., 4:17] = 1
    assert angles_deg(fit_cameras(directions, origins, weights), truth).max() < 0.02


def test_singular_intrinsics_give_nan_for_their_view_alone():
    truth = random_cameras(2)
    directions, origins = rays_from_cameras(truth, HEIGHT, WIDTH)
    intrinsics = truth.intrinsics.clone()
    intrinsics[0] = 0  # what an uncalibrated camera reports
    fitted = fit_cameras(directions, origins, intrinsics=intrinsics)
    assert fitted.world_from_cam[0, :3, :3].isnan().all()
    assert angles_deg(fitted[1:], truth[1:]).max() < 0.02


@settings(max_examples=25, deadline=None)
@given(st.floats(1.0, 8.0), st.integers(0, 10_000), st.booleans())
def test_a_long_lens_gives_the_right_rotation_or_none(log_focal, seed, known):
    truth = random_cameras(2, seed)
    intrinsics = truth.intrinsics.clone()
    intrinsics[:, 0, 0] = intrinsics[:, 1, 1] = 10**log_focal
    truth = Cameras(truth.world_from_cam, intrinsics)
    fitted = fit_cameras(*rays_from_cameras(truth, HEIGHT, WIDTH), intrinsics=intrinsics if known else None)
    half_view = WIDTH / 2 / 10**log_focal  # radians
    if half_view > 2e-4:
        assert angles_deg(fitted, truth).max() < 0.02
    elif half_view < 5e-5:
        assert fitted.world_from_cam[:, :3, :3].isnan().all()


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("size", [1e3, 1e6, 1e20, 1e30])
def test_an_absurdly_long_ray_is_an_outlier(size, known):
    truth = random_cameras(2)
    directions, origins = rays_from_cameras(truth, HEIGHT, WIDTH)
    origins = origins.clone()
    directions[0, 1, 1] = torch.tensor([size, -size, size])
    directions[1, ::5, ::5], origins[1, ::5, 1::5] = size, -size
    fitted = fit_cameras(directions, origins, intrinsics=truth.intrinsics if known else None, stride=1)
    assert angles_deg(fitted, truth).max() < 0.02
    torch.testing.assert_close(fitted.world_from_cam[..., 3], truth.world_from_cam[..., 3], rtol=0, atol=1e-5)


def test_only_ratios_of_weights_matter_and_a_mask_is_weights():
    truth = random_cameras(2)
    directions, origins = rays_from_cameras(truth, HEIGHT, WIDTH)
    mask = torch.zeros(2, HEIGHT, WIDTH, dtype=torch.bool)
    mask[:, : HEIGHT // 2] = True
    directions[~mask] = torch.tensor([0.3, -1.0, 0.2])
    fitted = fit_cameras(directions, origins, mask)
    assert angles_deg(fitted, truth).max() < 0.02
    for weights in (mask.int(), 1e-30 * mask, 1e36 * mask):
        same = fit_cameras(directions, origins, weights)
        torch.testing.assert_close(same.world_from_cam, fitted.world_from_cam)


@pytest.mark.parametrize("stride", [0, -1, 2.5, True, None])
def test_a_stride_that_is_no_positive_integer_is_refused(stride):
    with pytest.raises(InputError, match="stride must be an integer of at least 1, got"):
        fit_cameras(*rays_from_cameras(random_cameras(1), HEIGHT, WIDTH), stride=stride)


@pytest.mark.parametrize("name", ["directions", "origins", "weights", "intrinsics"])
def test_map_types_are_checked_and_named(name):
    truth = random_cameras(2)
    directions, origins = rays_from_cameras(truth, HEIGHT, WIDTH)
    maps = {"directions": directions, "origins": origins, "weights": directions[..., 0], "intrinsics": truth.intrinsics}
    with pytest.raises(InputError, match=f"{name} must be a tensor, got ndarray"):
        fit_cameras(**maps | {name: maps[name].numpy()})
    with pytest.raises(InputError, match=f"{name} must be floating-point, got torch.complex64"):
        fit_cameras(**maps | {name: maps[name].to(torch.complex64)})
    if name != "weights":
        with pytest.raises(InputError, match=f"{name} must be floating-point, got torch.int64"):
            fit_cameras(**maps | {name: maps[name].long()})
    if name != "directions":
        with pytest.raises(InputError, match=f"{name} must be on cpu as the directions are, got meta"):
            fit_cameras(**maps | {name: maps[name].to("meta")})


def test_map_shapes_are_checked_and_named():
    directions, origins = rays_from_cameras(random_cameras(2), HEIGHT, WIDTH)
    with pytest.raises(InputError, match="origins must be"):
        fit_cameras(directions, origins[:1])
    with pytest.raises(InputError, match="weights must be"):
        fit_cameras(directions, origins, weights=torch.ones(2, HEIGHT))
    with pytest.raises(InputError, match="intrinsics must be"):
        fit_cameras(directions, origins, intrinsics=torch.eye(3))
    with pytest.raises(InputError, match="directions must be"):
        fit_cameras(directions[..., :2], origins)


def test_pose_encoding_round_trip_with_a_centred_principal_point():
    truth = random_cameras(10)
    intrinsics = truth.intrinsics.clone()
    intrinsics[:, 0, 2], intrinsics[:, 1, 2] = WIDTH / 2, HEIGHT / 2
    truth = Cameras(truth.world_from_cam, intrinsics)
    decoded = cameras_from_pose_encoding(pose_encoding_from_cameras(truth, HEIGHT, WIDTH), HEIGHT, WIDTH)
    torch.testing.assert_close(decoded.world_from_cam, truth.world_from_cam)
    torch.testing.assert_close(decoded.intrinsics, truth.intrinsics)


@pytest.mark.parametrize("fov", [0.0, 3.2, torch.nan])
def test_an_impossible_field_of_view_has_no_intrinsics(fov):
    encoding = torch.tensor([0.0, 0, 0, 0, 0, 0, 1, fov, fov])
    assert cameras_from_pose_encoding(encoding, HEIGHT, WIDTH).intrinsics.isnan().all()


def test_a_quaternion_of_length_zero_has_no_rotation():
    encoding = torch.tensor([[1.0, 2, 3, 0, 0, 0, 0, 1, 1], [1, 2, 3, 0, 0, 0, 1, 1, 1]])
    poses = cameras_from_pose_encoding(encoding, HEIGHT, WIDTH).world_from_cam
    assert poses[0, :3, :3].isnan().all()
    torch.testing.assert_close(poses[1, :3, :3], torch.eye(3))


def test_a_pose_encoding_of_another_shape_or_type_is_refused():
    with pytest.raises(InputError, match=r"encoding must be \(..., 9\), got \(2, 8\)"):
        cameras_from_pose_encoding(torch.zeros(2, 8), HEIGHT, WIDTH)
    with pytest.raises(InputError, match=r"encoding must be floating-point, got torch.int64"):
        cameras_from_pose_encoding(torch.zeros(9, dtype=torch.int64), HEIGHT, WIDTH)


@pytest.mark.parametrize(("kind", "stride", "most_deg"), [("clean", 3, 0.02), ("noisy", 3, 0.25), ("noisy", 1, 0.08)])
def test_reference_rays(parity, kind, stride, most_deg):
    reference = parity("rays.npz")
    rays = torch.from_numpy(reference[f"{kind}/rays"])
    truth = Cameras(torch.from_numpy(reference["extrinsics_c2w_gt"]), torch.from_numpy(reference["intrinsics_gt"]))
    fitted = fit_cameras(rays[..., :3], rays[..., 3:], stride=stride)
    assert angles_deg(fitted, truth).max() <= most_deg
    for axis in (0, 1):
        ratio = fitted.intrinsics[..., axis, axis] / truth.intrinsics[..., axis, axis]
        assert (ratio - 1).abs().max() <= (1e-4 if kind == "clean" else 5e-3)


@pytest.fixture
def camera_recovery(monkeypatch):
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(name, "2")  # what the script sets goes when the test ends
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "camera_recovery.py"))["main"]
    torch.set_num_threads(threads)


def test_the_comparison_with_ransac_gives_both_one_thread(camera_recovery, capsys):
    camera_recovery(["--views", "2", "--size", "42x42", "--repeats", "1", "--device", "cpu"])
    printed = capsys.readouterr().out
    assert ", 1 threads; " in printed
    assert os.environ["OPENBLAS_NUM_THREADS"] == os.environ["OMP_NUM_THREADS"] == "1"
    rows = {line.split()[0]: float(line.split()[-1]) for line in printed.splitlines()[2:4]}
    assert rows["fit_cameras"] < rows["RANSAC"]


@pytest.mark.parametrize("arguments", ["--views 0", "--size 42", "--repeats x", "--device foo"])
def test_the_comparison_refuses_bad_arguments_by_name(camera_recovery, arguments, capsys):
    with pytest.raises(SystemExit) as error:
        camera_recovery(arguments.split())
    assert error.value.code == 2
    assert f"argument {arguments.split()[0]}: " in capsys.readouterr().err.splitlines()[-1]
