import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dvlt_ros.geometry import invert_pose, matrix_from_quaternion, pose_matrix, transform_points, unproject
from dvlt_ros.training.data.types import Views
from dvlt_ros.training.losses.normalize import mean_distance, normalize_views, to_first_camera


def random_views(seed, windows=2, views=3, height=6, width=8):
    generator = torch.Generator().manual_seed(seed)
    lead = (windows, views)
    rotation = matrix_from_quaternion(torch.randn(*lead, 4, generator=generator))
    poses = pose_matrix(rotation, torch.randn(*lead, 3, generator=generator))
    intrinsics = torch.tensor([[9.0, 0, 4], [0, 8, 3], [0, 0, 1]]).expand(*lead, 3, 3)
    depth = 1 + 4 * torch.rand(*lead, height, width, generator=generator)
    valid = torch.rand(depth.shape, generator=generator) > 0.3
    return Views(torch.rand(*lead, 3, height, width), poses, intrinsics, depth, valid, torch.ones(windows) > 0)


def world_points(views):
    return transform_points(views.world_from_cam, unproject(views.depth, views.intrinsics))


@given(st.integers(0, 10**6))
@settings(max_examples=15, deadline=None)
def test_the_first_camera_is_the_world_and_the_mean_distance_is_one(seed):
    views = random_views(seed)
    normal, unit = normalize_views(views)
    assert torch.equal(normal.world_from_cam[:, 0], torch.eye(4).expand(2, 4, 4))
    torch.testing.assert_close(mean_distance(world_points(normal), normal.valid), torch.ones(2), rtol=1e-4, atol=0)
    # Undone, it is the same scene.
    first = views.world_from_cam[:, 0]
    back = transform_points(first, world_points(normal) * unit[:, None, None, None, None])
    torch.testing.assert_close(back[views.valid], world_points(views)[views.valid], rtol=1e-4, atol=1e-4)
    assert (normal.depth[~normal.valid] == 0).all()


@given(st.integers(0, 10**6))
@settings(max_examples=10, deadline=None)
def test_relative_poses_survive_the_change_of_gauge(seed):
    generator = torch.Generator().manual_seed(seed)
    draw = lambda n: torch.randn(2, 3, n, dtype=torch.float64, generator=generator)  # noqa: E731
    poses = pose_matrix(matrix_from_quaternion(draw(4)), draw(3))
    gauged = to_first_camera(poses)
    for a, b in ((0, 1), (1, 2)):
        expected = invert_pose(poses[:, a]) @ poses[:, b]
        torch.testing.assert_close(invert_pose(gauged[:, a]) @ gauged[:, b], expected)
    torch.testing.assert_close(to_first_camera(gauged), gauged)


def test_an_empty_first_view_switches_all_masks_off():
    views = random_views(0)
    views.valid[0, 0] = False
    normal, _ = normalize_views(views)
    assert not normal.valid[0].any()
    assert torch.equal(normal.valid[1], views.valid[1])


def test_without_points_the_cameras_give_the_unit():
    views = random_views(1)
    views.valid[0] = False
    normal, unit = normalize_views(views)
    distance = to_first_camera(views.world_from_cam)[0, :, :3, 3].norm(dim=-1).mean()
    torch.testing.assert_close(unit[0], distance)
    torch.testing.assert_close(normal.world_from_cam[0, :, :3, 3].norm(dim=-1).mean(), torch.tensor(1.0))


def test_depths_that_cannot_be_are_not_valid():
    views = random_views(2)
    views.depth[0, 1, 0, :4] = torch.tensor([torch.nan, torch.inf, 0.0, -1.0])
    views.valid[0, 1, 0, :4] = True
    normal, unit = normalize_views(views)
    assert not normal.valid[0, 1, 0, :4].any()
    assert torch.isfinite(normal.depth).all()
    assert torch.isfinite(unit).all()


def test_the_unit_is_clamped():
    points = torch.tensor([1e-9, 1e9])[:, None, None, None, None].expand(2, 1, 4, 4, 3)
    valid = torch.ones(2, 1, 4, 4, dtype=torch.bool)
    torch.testing.assert_close(mean_distance(points, valid), torch.tensor([1e-3, 1e3]))
    torch.testing.assert_close(mean_distance(points, ~valid), torch.full((2,), 1e-3))
