"""Properties of the synthetic source: exact geometry, seeds, splits, cameras in free space."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from dvlt_ros.errors import ConfigError, DataError, InputError
from dvlt_ros.geometry import rotation_angle
from dvlt_ros.training.synthetic import (
    BENCHMARK_SEED,
    AugmentConfig,
    Photos,
    SyntheticConfig,
    augment,
    load_atlas,
    load_benchmark,
    sample_windows,
)
from dvlt_ros.training.synthetic.benchmark import abs_rel, covisibility, reprojection
from dvlt_ros.training.synthetic.render import depth_windows, place_cameras, render_depth
from dvlt_ros.training.synthetic.scene.layouts import FAMILIES, VARIANTS
from dvlt_ros.training.synthetic.scene.raycast import FAR, Caster, room_exit
from dvlt_ros.training.synthetic.scene.scenes import CAPACITY, Lights, Scene, clearance
from dvlt_ros.training.synthetic.scene.solids import Solids, absent_like
from dvlt_ros.training.synthetic.surface.materials import PATTERNS, Materials, draw_materials, rows
from dvlt_ros.training.synthetic.surface.palettes import anchors

SMALL = SyntheticConfig(views=3, height=56, width=70, candidates=6)
BARE = replace(SMALL, augment=None)


@pytest.fixture(scope="module")
def windows():
    """Eight windows, two of each family, geometry only."""
    config = replace(BARE, views=4, height=84, width=112)
    return depth_windows(range(8), config, families=FAMILIES * 2)


def test_depth_agrees_between_views(windows):
    """Unproject, move, project: below 0.1 % wherever the other view is smooth and nothing is in between."""
    error, seen = reprojection(windows, torch.arange(4).roll(-1))
    smooth = _planar(windows, error)
    consistent = error[seen & smooth & (error < 0.02)]
    assert len(consistent) > 0.25 * windows.valid.sum()
    assert consistent.median() < 1e-5
    assert consistent.quantile(0.99) < 1e-3


def _planar(windows, error):
    """Pixels whose own neighbourhood is planar: inverse depth is affine there, and they map to one surface."""
    inverse = torch.where(windows.valid, 1 / windows.depth.clamp(min=1e-6), 0)
    bend = torch.zeros_like(error)
    for dim in (-1, -2):
        middle = inverse.roll(1, dim) + inverse.roll(-1, dim) - 2 * inverse
        bend = torch.maximum(bend, middle.abs() / inverse.clamp(min=1e-6))
    flat = (bend < 1e-4).float()
    return -torch.nn.functional.max_pool2d(-flat.flatten(0, 1), 5, 1, 2).view_as(flat) > 0.5


def test_views_overlap_and_move(windows):
    assert covisibility(windows).median() > 0.3
    moved = (windows.world_from_cam[:, 1:, :3, 3] - windows.world_from_cam[:, :1, :3, 3]).norm(dim=-1)
    turned = rotation_angle(
        windows.world_from_cam[:, 1:, :3, :3] @ windows.world_from_cam[:, :1, :3, :3].transpose(-1, -2)
    )
    assert (moved.amax(1) > 0.02).all()
    assert turned.median() > 0.05
    assert abs_rel(torch.ones_like(windows.depth), windows.depth, windows.valid) > 0.2


def test_poses_are_rigid_and_intrinsics_in_range(windows):
    rotation = windows.world_from_cam[..., :3, :3]
    torch.testing.assert_close(
        rotation @ rotation.transpose(-1, -2), torch.eye(3).expand_as(rotation), atol=1e-5, rtol=0
    )
    torch.testing.assert_close(torch.linalg.det(rotation), torch.ones(8, 4), atol=1e-5, rtol=0)
    fov = 2 * torch.rad2deg(torch.atan(112 / 2 / windows.intrinsics[..., 0, 0]))
    assert (fov > 44.9).all()
    assert (fov < 95.1).all()
    assert (windows.intrinsics == windows.intrinsics[:, :1]).all()


def test_valid_share_and_depth_contract(windows):
    assert (windows.valid.flatten(1).float().mean(1) > 0.8).all()
    assert windows.valid.float().mean() > 0.9
    assert (windows.depth[windows.valid] > 0).all()
    assert (windows.depth[~windows.valid] == 0).all()
    assert windows.depth.isfinite().all()
    assert windows.is_synthetic.all()


def test_cameras_stay_in_free_space():
    seeds = torch.arange(24)
    scene, poses, _ = place_cameras(seeds, BARE, None, 3, (56, 70))
    assert (clearance(scene, poses[..., :3, 3]) > 0.1).all()


def test_same_seed_same_window_in_any_batch():
    together = sample_windows([3, 4, 5], SMALL)
    alone = sample_windows([4], SMALL)
    for name in ("images", "depth", "world_from_cam", "intrinsics"):
        torch.testing.assert_close(getattr(together, name)[1:2], getattr(alone, name), atol=1e-5, rtol=1e-5)
    assert (together.images[0] - together.images[2]).abs().mean() > 0.01
    assert together.images.isfinite().all()
    assert together.images.min() >= 0
    assert together.images.max() <= 1


def test_culling_changes_nothing():
    scene, poses, _ = place_cameras(torch.arange(4), BARE, None, 1, (56, 70))
    origin, tile = poses[:, 0, :3, 3], torch.arange(4)
    direction = torch.nn.functional.normalize(torch.randn(4, 50, 3, generator=torch.Generator().manual_seed(0)), dim=-1)
    culled, brute = (Caster(scene.solids, tile, cull) for cull in (True, False))
    t, index = culled.cast(origin, direction)
    t_brute, index_brute = brute.cast(origin, direction)
    torch.testing.assert_close(t, t_brute, atol=1e-5, rtol=1e-5)
    assert (index == index_brute)[t < FAR].all()
    points = origin[:, None] + 0.3 * direction
    torch.testing.assert_close(culled.distance(points, 0.5), brute.distance(points, 0.5), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", [0, 1, 2])
def test_single_solid_projects_where_it_should(kind):
    """A unit-ish solid 3 m ahead: depth at the optical axis, and its outline in pixels."""
    scene = _bare_scene(kind, center=(3.0, 0.0, 1.0), half=(0.5, 0.5, 0.5))
    world_from_cam = torch.tensor([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 1], [0, 0, 0, 1]])[None, None]
    intrinsics = torch.tensor([[80.0, 0, 50.5], [0, 80, 40.5], [0, 0, 1]])[None, None]
    depth, valid = render_depth(scene, world_from_cam, intrinsics, (81, 101))
    assert valid.all()
    torch.testing.assert_close(depth[0, 0, 40, 50], torch.tensor(2.5), atol=1e-4, rtol=0)
    half_width = 80 * {0: 0.5 / 2.5, 1: 0.5 / math.sqrt(9 - 0.25), 2: 0.5 / math.sqrt(9 - 0.25)}[kind]
    row = depth[0, 0, 40] < 3.4
    assert abs(int(row.sum()) - 2 * half_width) <= 1.01
    assert float(depth[0, 0, 40, 0]) == pytest.approx(10.0, abs=1e-3)


def _bare_scene(kind, center, half):
    """An empty 20 m room with one solid."""
    one = Solids(torch.tensor([[center]]), torch.eye(3)[None, None], torch.tensor([[half]]), torch.ones(1, 1).bool(),
                 torch.zeros(1, 1, dtype=torch.int64))  # fmt: skip
    solids = [absent_like(one, n) for n in CAPACITY]
    solids[kind] = one.take(CAPACITY[kind])
    zero = torch.zeros(1)
    lights = Lights(torch.zeros(1, 3, 3), torch.ones(1, 3, 3), torch.ones(1, 3), torch.ones(1, 3), zero, zero)
    materials: Materials = draw_materials(_draw(), "train", zero.device)
    faces = torch.full((1, 6), rows("wall").start)
    return Scene(
        torch.tensor([[10.0, 10.0, 2.0]]), faces, tuple(solids), materials, lights, zero[None, :, None], zero[None]
    )


def _draw():
    from dvlt_ros.training.synthetic.draw import Draw

    return Draw(torch.zeros(1, dtype=torch.int64), stream=0)


def test_room_exit_finds_the_face():
    t, face = room_exit(torch.tensor([[2.0, 3.0, 1.0]]), torch.tensor([[0.0, 0.0, 0.5]]), torch.eye(3)[None])
    torch.testing.assert_close(t, torch.tensor([[2.0, 3.0, 1.5]]))
    assert face.tolist() == [[1, 3, 5]]


def test_splits_share_nothing():
    assert not set(VARIANTS["train"]) & set(VARIANTS["benchmark"])
    for role in PATTERNS["train"]:
        assert not set(PATTERNS["train"][role]) & {p for roles in PATTERNS["benchmark"].values() for p in roles}
        train, frozen = (anchors(split, role, torch.device("cpu")) for split in ("train", "benchmark"))
        assert torch.cdist(train, frozen).min() > 0
    benchmark = load_benchmark()
    assert len(set(benchmark.seeds)) == 200
    assert min(benchmark.seeds) >= BENCHMARK_SEED
    assert set(benchmark.families) == set(FAMILIES)


def test_more_windows_than_the_benchmark_has_are_refused():
    with pytest.raises(DataError, match="the frozen benchmark has 200 windows, 201 were asked for"):
        next(load_benchmark().batches(count=201))


def test_benchmark_renders_as_frozen():
    benchmark = load_benchmark()
    for i in (0, 1, 2, 3):
        window = depth_windows([benchmark.seeds[i]], benchmark.config, families=[benchmark.families[i]])
        assert float(window.depth[window.valid].median()) == pytest.approx(benchmark.median_depths[i], abs=2e-3)


def test_augmentation_is_seeded_and_stays_in_range():
    images = torch.rand(3, 2, 3, 30, 44, generator=torch.Generator().manual_seed(1))
    seeds = torch.tensor([7, 8, 9])
    first, second = (augment(images, seeds, AugmentConfig()) for _ in range(2))
    assert torch.equal(first, second)
    assert first.min() >= 0
    assert first.max() <= 1
    torch.testing.assert_close(augment(images[1:2], seeds[1:2], AugmentConfig()), first[1:2], atol=1e-5, rtol=0)
    assert (augment(images, seeds + 1, AugmentConfig()) - first).abs().mean() > 0.01


def test_supersampled_colour_keeps_depth():
    plain, fine = (sample_windows([11], replace(BARE, views=1, supersample=s)) for s in (1, 2))
    assert torch.equal(plain.depth, fine.depth)
    assert 0 < (plain.images - fine.images).abs().mean() < 0.05


def test_photographs_dress_surfaces(tmp_path):
    import cv2
    import numpy as np

    with pytest.raises(InputError, match="no usable image"):
        load_atlas([tmp_path])
    noise = np.random.default_rng(0).integers(0, 256, (90, 70, 3), dtype=np.uint8)
    for i in range(3):
        cv2.imwrite(str(tmp_path / f"{i}.png"), noise)
    atlas = load_atlas([tmp_path], size=64)
    assert atlas.shape == (3, 3, 64, 64)
    assert atlas.dtype == torch.uint8
    plain, dressed = (sample_windows([2], BARE, photos=p) for p in (None, Photos(atlas)))
    assert torch.equal(plain.depth, dressed.depth)
    assert (plain.images - dressed.images).abs().mean() > 1e-3
    with pytest.raises(InputError, match="power of two"):
        Photos(atlas[..., :48])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"views": 0}, "views must be at least 1, got 0"),
        ({"height": 4}, "height must be at least 8, got 4"),
        ({"families": ("attic",), "family_weights": (1.0,)}, "families must name some of .* got .*attic"),
        ({"family_weights": (1.0,)}, "families has 4 entries, its weights are"),
        ({"split": "test"}, "split must be"),
        ({"min_fov_deg": 100.0}, "min_fov_deg"),
        ({"motions": (), "motion_weights": ()}, "motions must name some of"),
        ({"principal_shift": 0.9}, "principal_shift must be in"),
    ],
)
def test_impossible_configurations_are_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        replace(SMALL, **change)


def test_wrong_seeds_are_refused():
    with pytest.raises(ConfigError, match="train split"):
        sample_windows([BENCHMARK_SEED], SMALL)
    with pytest.raises(ConfigError, match="benchmark split"):
        sample_windows([1], replace(SMALL, split="benchmark"))
    with pytest.raises(ConfigError, match="exposure"):
        AugmentConfig(exposure=2.0)
