"""Synthetic windows as training uses them: endless or kept, varied, mirrored."""

import cv2
import numpy as np
import pytest
import torch

from dvlt_ros.errors import ConfigError, InputError
from dvlt_ros.geometry import transform_points, unproject
from dvlt_ros.training.batches.rendering import RENDERED_AT_ONCE, SyntheticWindows, mirror
from dvlt_ros.training.config import Data
from dvlt_ros.training.losses.normalize import to_first_camera
from dvlt_ros.training.synthetic import SyntheticConfig, render_views, sample_windows

SIZE = (28, 42)
CPU = torch.device("cpu")


def source(**data) -> SyntheticWindows:
    return SyntheticWindows(Data(**data), most_views=3, device=CPU)


def test_a_mirrored_window_is_the_mirrored_scene():
    views = sample_windows([3, 4], SyntheticConfig(views=2, height=SIZE[0], width=SIZE[1], augment=None))
    mirrored = mirror(views, torch.tensor([True, False]))
    points, found = (transform_points(v.world_from_cam, unproject(v.depth, v.intrinsics)) for v in (views, mirrored))
    torch.testing.assert_close(found[0].flip(-2), points[0] * torch.tensor([-1.0, 1, 1]), atol=1e-4, rtol=1e-4)
    assert torch.equal(mirrored.images[0], views.images[0].flip(-1))
    assert (torch.linalg.det(mirrored.world_from_cam[..., :3, :3]) > 0.99).all()
    for name in views.__dataclass_fields__:
        assert torch.equal(getattr(mirrored[1:], name), getattr(views[1:], name))


def test_kept_windows_are_rendered_once_and_used_in_any_order():
    windows = source(synthetic_windows=2, augment=False)
    first = windows.windows([0, 1, 2], 3, SIZE)
    calls = []
    windows._rendered = lambda *given: calls.append(given)  # type: ignore[method-assign]
    again = windows.windows([0, 4], 2, SIZE)
    assert not calls
    assert [tuple(w.images.shape) for w in again] == [(1, 2, 3, *SIZE)] * 2
    assert torch.equal(windows.windows([0], 3, SIZE)[0].images, first[0].images)
    pairwise = [to_first_camera(w.world_from_cam)[0, 1, :3, 3].norm() for w in again]
    known = torch.cdist(first[0].world_from_cam[0, :, :3, 3], first[0].world_from_cam[0, :, :3, 3])
    assert all((known - distance).abs().min() < 1e-5 for distance in pairwise)  # seed 4 is window 0, too


def test_processes_keep_windows_of_their_own():
    data = Data(synthetic_windows=5, augment=False)
    shares = [SyntheticWindows(data, 2, CPU, rank, world_size=2) for rank in range(2)]
    assert [list(share.own_seeds) for share in shares] == [[0, 2, 4], [1, 3]]
    whole = SyntheticWindows(data, 2, CPU).windows(range(5), 2, SIZE)
    for share in shares:
        for index, seed in enumerate(share.own_seeds):
            kept = share.windows([index], 2, SIZE)[0]  # its views in another order than the whole's
            torch.testing.assert_close(kept.depth.sum(), whole[seed].depth.sum())
    with pytest.raises(ConfigError, match="at least the number of processes, 3, got 2"):
        SyntheticWindows(Data(synthetic_windows=2), 2, CPU, 2, world_size=3)


def test_a_compiled_renderer_fills_its_chunks_with_windows_that_are_needed_next():
    plain, ahead = source(synthetic_windows=10, augment=False), source(synthetic_windows=10, augment=False)
    sizes = []

    def render(scenes, poses, *rest):
        sizes.append(len(poses))
        return render_views(scenes, poses, *rest)

    ahead.render = render
    first = [ahead.windows([seed], 2, SIZE)[0] for seed in range(9)]  # of a chunk of eight, then of what is left
    assert sizes == [RENDERED_AT_ONCE, RENDERED_AT_ONCE]
    for seed, window in enumerate(first):
        torch.testing.assert_close(window.images, plain.windows([seed], 2, SIZE)[0].images, atol=1 / 255, rtol=0)


def test_kept_windows_vary_with_the_seed_of_their_use():
    windows = source(synthetic_windows=1)
    one, same, other = (windows.windows([seed], 2, SIZE)[0] for seed in (5, 5, 6))
    assert torch.equal(one.images, same.images)
    assert not torch.equal(one.images, other.images)


def test_endless_windows_do_not_depend_on_their_neighbours():
    windows = source()
    together, alone = windows.windows([7, 8], 2, SIZE), windows.windows([8], 2, SIZE)
    torch.testing.assert_close(together[1].images, alone[0].images)
    assert torch.equal(together[1].depth, alone[0].depth)


def test_photographs_from_a_folder_dress_the_scenes(tmp_path):
    with pytest.raises(InputError, match=f"no usable image .* below {tmp_path}"):
        source(photos=(str(tmp_path),))
    picture = np.random.default_rng(0).integers(0, 255, (300, 300, 3), dtype=np.uint8)
    assert cv2.imwrite(str(tmp_path / "wall.png"), picture)
    plain, dressed = (
        source(augment=False, photos=photos).windows(range(4), 2, SIZE) for photos in ((), (str(tmp_path),))
    )
    assert all(torch.equal(a.depth, b.depth) for a, b in zip(plain, dressed, strict=True))
    assert not all(torch.equal(a.images, b.images) for a, b in zip(plain, dressed, strict=True))
