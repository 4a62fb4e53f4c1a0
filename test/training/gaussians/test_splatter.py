"""The renderer: one Gaussian's closed form, gradients, what hides what, and a room from its true depth."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from dvlt_ros.errors import ConfigError
from dvlt_ros.export.scenes.scene import Sight
from dvlt_ros.export.scenes.splats import splats_of
from dvlt_ros.geometry import quaternion_from_matrix
from dvlt_ros.training.gaussians.heads import gaussians_of_splats, product
from dvlt_ros.training.gaussians.pictures import psnr, ssim
from dvlt_ros.training.gaussians.splatter import (
    BLUR,
    FAINTEST,
    Gaussians,
    GsplatSplatter,
    choose_splatter,
    over,
    torch_splatter,
)

FOCAL, SIZE = 50.0, (24, 32)
CAMERA = torch.tensor([[FOCAL, 0.0, 16.0], [0.0, FOCAL, 12.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
EYE = torch.eye(4, dtype=torch.float64)


def gaussians(*rows):
    """Rows of (centre, colour, opacity, deviations, quaternion)."""
    columns = zip(*rows, strict=True)
    return Gaussians(*(torch.tensor(column, dtype=torch.float64) for column in columns))


def test_one_gaussian_has_its_closed_form():
    opacity, deviation, depth = 0.8, 0.1, 2.0
    found, covered = torch_splatter(
        gaussians(([0.04, -0.06, depth], [1.0, 0.5, 0.0], opacity, [deviation] * 3, [0.0, 0, 0, 1])), EYE, CAMERA, SIZE
    )
    # Seen off the axis, its image is a little longer along the offset: J J^T with J = f / z (1, 0, -x / z; ...).
    offset = torch.tensor([0.04, -0.06], dtype=torch.float64) / depth
    covariance = (FOCAL * deviation / depth) ** 2 * (torch.eye(2) + torch.outer(offset, offset)) + BLUR * torch.eye(2)
    v, u = torch.meshgrid(*(torch.arange(n) + 0.5 for n in SIZE), indexing="ij")
    from_center = torch.stack([u, v], dim=-1) - (FOCAL * offset + CAMERA[:2, 2])
    distance = torch.einsum("hwi,ij,hwj->hw", from_center, torch.linalg.inv(covariance), from_center)
    expected = opacity * torch.exp(-0.5 * distance)
    expected = torch.where(expected > FAINTEST, expected, 0.0)
    torch.testing.assert_close(covered, expected)
    torch.testing.assert_close(found, expected[..., None] * torch.tensor([1.0, 0.5, 0.0], dtype=torch.float64))
    torch.testing.assert_close(over(1.0, found, covered)[..., 2], 1 - expected)


def test_a_turned_camera_and_a_turned_scene_look_the_same():
    turn = torch.tensor([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]], dtype=torch.float64)
    pose = EYE.clone()
    pose[:3, :3], pose[:3, 3] = turn, torch.tensor([1.0, 2, 3])
    flat = gaussians(([0.1, 0.1, 2.0], [1.0, 1, 1], 0.9, [0.2, 0.02, 0.1], [0.1, 0.2, 0.3, 0.9]))
    rotations = product(quaternion_from_matrix(turn), flat.rotations)
    moved = replace(flat, centers=flat.centers @ turn.T + pose[:3, 3], rotations=rotations)
    for one, two in zip(
        torch_splatter(flat, EYE, CAMERA, SIZE), torch_splatter(moved, pose, CAMERA, SIZE), strict=True
    ):
        torch.testing.assert_close(one, two)


def test_what_is_in_front_hides_what_is_behind_in_any_order():
    rows = [([0.0, 0, depth], color, 0.9, [0.3] * 3, [0.0, 0, 0, 1]) for depth, color in
            ((3.0, [0.0, 0, 1]), (1.0, [1.0, 0, 0]), (2.0, [0.0, 1, 0]))]  # fmt: skip
    found, covered = torch_splatter(gaussians(*rows), EYE, CAMERA, SIZE)
    red, green, blue = found[12, 16].tolist()
    assert (red > 0.89, 0.08 < green < 0.1, 0.008 < blue < 0.01) == (True, True, True)
    assert covered[12, 16] == pytest.approx(red + green + blue)
    again, _ = torch_splatter(gaussians(*rows[::-1]), EYE, CAMERA, SIZE)
    torch.testing.assert_close(found, again)
    behind, _ = torch_splatter(gaussians(([0.0, 0, -2], *rows[0][1:])), EYE, CAMERA, SIZE)
    assert not behind.any()


def test_gradients_are_those_of_finite_differences():
    generator = torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.rand(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    parts = [
        torch.cat([0.4 * draw(5, 2) - 0.2, 1 + draw(5, 1)], dim=1), draw(5, 3), 0.3 + 0.5 * draw(5),
        0.05 + 0.1 * draw(5, 3), draw(5, 4) - 0.5,
    ]  # fmt: skip
    weight = draw(6, 8, 3)
    camera = CAMERA * torch.tensor([[0.25], [0.25], [1.0]], dtype=torch.float64)

    def rendered(*values):
        return (weight * torch_splatter(Gaussians(*values), EYE, camera, (6, 8))[0]).sum()

    assert torch.autograd.gradcheck(rendered, [part.requires_grad_() for part in parts], eps=1e-7, atol=1e-5)


def test_true_depth_gives_the_room_from_a_new_place(box_scene):
    start, end = box_scene.poses(2)
    between = end.copy()
    between[:3, 3] = (start[:3, 3] + end[:3, 3]) / 2
    intrinsics, size = box_scene.intrinsics.copy(), (120, 160)
    intrinsics[:2] *= 2  # a splat blurs over a pixel: the texture must be coarser than that
    rays = box_scene.pixel_rays(intrinsics, size)
    parts = []
    for pose in (start, end):
        image, depth = box_scene.render(pose, rays)
        parts.append(gaussians_of_splats(splats_of(Sight(depth, image, intrinsics), pose)))
    joined = Gaussians(*(torch.cat([getattr(part, name) for part in parts]) for name in vars(parts[0])))
    camera = (torch.from_numpy(values).float() for values in (between, intrinsics))
    found, covered = torch_splatter(joined, *camera, size)
    truth = torch.from_numpy(box_scene.render(between, rays)[0]) / 255
    inside = covered > 0.95
    assert inside.float().mean() > 0.9
    assert psnr((found / covered.unsqueeze(-1))[inside], truth[inside]) > 30


def test_psnr_and_ssim_at_their_ends():
    generator = torch.Generator().manual_seed(0)
    picture, other = (torch.rand(30, 40, 3, generator=generator) for _ in range(2))
    assert ssim(picture, picture) == pytest.approx(1.0)
    assert abs(float(ssim(picture, other))) < 0.1
    assert psnr(picture.clamp(0, 0.9), picture.clamp(0, 0.9) + 0.1) == pytest.approx(20.0, abs=1e-3)
    assert np.isinf(float(psnr(picture, picture)))


def few():
    return gaussians(
        ([0.1, 0.0, 2.0], [1.0, 0.5, 0.0], 0.8, [0.2, 0.05, 0.1], [0.1, 0.2, 0.3, 0.9]),
        ([-0.1, 0.1, 3.0], [0.0, 0.5, 1.0], 0.6, [0.3, 0.2, 0.1], [0.5, -0.2, 0.1, 0.7]),
    )


def test_gsplat_is_told_in_its_own_conventions(monkeypatch):
    def rasterization(means, quats, scales, opacities, colors, viewmats, ks, width, height, near_plane, eps2d):
        given = Gaussians(means, colors, opacities, scales, quats[:, [1, 2, 3, 0]])
        assert eps2d == BLUR
        image, covered = torch_splatter(given, torch.linalg.inv(viewmats[0]), ks[0], (height, width))
        return image[None], covered[None, ..., None], {}

    monkeypatch.setitem(sys.modules, "gsplat", SimpleNamespace(rasterization=rasterization))
    pose = EYE.clone()
    pose[:3, 3] = torch.tensor([0.1, -0.2, -0.5])
    torch.testing.assert_close(GsplatSplatter()(few(), pose, CAMERA, SIZE), torch_splatter(few(), pose, CAMERA, SIZE))


def test_without_gsplat_the_error_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "gsplat", None)
    with pytest.raises(ConfigError, match="pip install 'gsplat"):
        GsplatSplatter()
    assert choose_splatter(torch.device("cpu")) is torch_splatter


@pytest.mark.skipif(
    not torch.cuda.is_available() or importlib.util.find_spec("gsplat") is None,
    reason="needs a CUDA GPU and gsplat (pip install 'gsplat>=1.5,<2')",
)
def test_gsplat_draws_the_same():
    scene, pose, camera = few().to("cuda"), EYE.cuda().float(), CAMERA.cuda().float()
    scene = Gaussians(*(value.float() for value in vars(scene).values()))
    torch.testing.assert_close(
        GsplatSplatter()(scene, pose, camera, SIZE), torch_splatter(scene, pose, camera, SIZE), atol=5e-3, rtol=0
    )
