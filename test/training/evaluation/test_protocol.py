"""The published protocol on a scene with known answers: what the network sees, and how it is judged."""

import math
import sys

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from dvlt_ros.alignment import Sim3
from dvlt_ros.backends import MultiViewPrediction
from dvlt_ros.errors import ConfigError, DataError, InputError
from dvlt_ros.geometry import matrix_from_quaternion, transform_points, unproject
from dvlt_ros.training.batches.augment import Frame
from dvlt_ros.training.benchmarking.reconstruction import ReconstructionRule, reconstruction_metrics, require_packages
from dvlt_ros.training.benchmarking.scene import prepare_scene
from dvlt_ros.training.benchmarking.score import focal_error, point_figures, score
from dvlt_ros.training.evaluation.metrics import align_depth, depth_metrics

SIZE, PATCH = 112, 14
BOTH = ("published", "consistent")


class Frames:
    """Frames in memory as an `RgbdSequence`."""

    name, is_synthetic = "scene/frames", False

    def __init__(self, frames):
        self.frames = frames
        self.world_from_cam = np.stack([frame.world_from_cam for frame in frames]) if frames else np.empty((0, 4, 4))

    def __len__(self):
        return len(self.frames)

    def frame(self, index):
        return self.frames[index]


def of_size(height, width, focal=100.0, seed=0):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    depth = rng.uniform(1, 2, (height, width)).astype(np.float32)
    intrinsics = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    return Frame(image, depth, np.eye(4), intrinsics)


@pytest.fixture(scope="module")
def box(box_scene):
    frames = []
    for pose in box_scene.poses(5):
        image, depth = box_scene.render(pose)
        depth[:3, :7] = 0  # as a sensor leaves it
        depth[5, 5] = np.nan
        frames.append(Frame(image, depth, pose, box_scene.intrinsics))
    return Frames(frames)


def random_similarity(seed):
    generator = torch.Generator().manual_seed(seed)
    draw = lambda n: torch.randn(n, dtype=torch.float64, generator=generator)  # noqa: E731
    return Sim3(draw(1)[0].exp(), matrix_from_quaternion(draw(4)), 5 * draw(3))


def told(truth, found_from_truth):
    """The truth itself, in another world and unit."""
    poses = found_from_truth.apply_to_poses(truth.world_from_cam)
    points = torch.stack([truth.points_of_view(view) for view in range(len(poses))])
    points = found_from_truth.apply(points)
    points[~truth.valid] = torch.nan  # whatever is said there must not count
    depth = (truth.depth * found_from_truth.scale).float()
    return MultiViewPrediction(
        depth, torch.ones_like(depth), truth.intrinsics.float(), poses.float(), points.float(), points.float()
    )


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("convention", BOTH)
def test_a_perfect_predictor_is_perfect_in_any_world_and_unit(box, convention, seed):
    truth = prepare_scene(box, SIZE, PATCH, BOTH).truths[convention]
    found_from_truth = random_similarity(seed)
    found = score(told(truth, found_from_truth), truth, reconstruction=None)
    for suffix in ("depth", "world"):
        assert found.metrics[f"rel_{suffix}"] < 1e-4
        assert found.metrics[f"ir_{suffix}"] == 1
        assert found.metrics[f"within_0.01_{suffix}"] == 1
    assert found.metrics["auc@3"] > 0.99
    assert found.metrics["abs_rel"] < 1e-5
    assert found.metrics["delta1"] == 1
    assert found.metrics["focal_error_px"] < 1e-3
    torch.testing.assert_close(found.truth_from_found.scale, 1 / found_from_truth.scale, rtol=1e-4, atol=0)


def test_an_error_in_some_points_is_in_the_figures_but_not_in_the_alignment(box):
    truth = prepare_scene(box, SIZE, PATCH).truths["published"]
    found = told(truth, random_similarity(7))
    wrong = (torch.rand(truth.depth.shape, generator=torch.Generator().manual_seed(0)) < 0.04) & truth.valid
    found.points[wrong] += 0.3 * found.depth.max()
    scored = score(found, truth)
    share = float(wrong.sum() / truth.valid.sum())
    assert scored.metrics["ir_depth"] == pytest.approx(1 - share, abs=1e-6)
    assert scored.metrics["ir_world"] == 1  # the direct points follow the same, undisturbed alignment


def test_centres_everywhere_agree_with_a_camera_that_uses_centres(box, box_scene):
    scene = prepare_scene(box, SIZE, PATCH, BOTH)
    truth = scene.truths["consistent"]
    size = truth.depth.shape[1:]
    depth = torch.stack(
        [
            torch.from_numpy(box_scene.render(pose, box_scene.pixel_rays(intrinsics.numpy(), size))[1])
            for pose, intrinsics in zip(box.world_from_cam, truth.intrinsics, strict=True)
        ]
    )
    points = transform_points(truth.world_from_cam, unproject(depth.double(), truth.intrinsics)).float()
    found = MultiViewPrediction(
        depth, torch.ones_like(depth), truth.intrinsics.float(), truth.world_from_cam.float(), points
    )
    errors = {name: score(found, scene.truths[name]).metrics["l2_depth"] for name in BOTH}
    pixel_m = float(truth.depth.median() / truth.intrinsics[0, 0, 0])
    assert errors["consistent"] < 0.5 * pixel_m  # what nearest sampling leaves
    assert errors["consistent"] < 0.8 * errors["published"]


@pytest.mark.parametrize(
    ("image_size", "patch", "heights"),
    [(504, 14, (378, 336, 280)), (518, 14, (392, 350, 294)), (512, 16, (384, 336, 288))],
)
def test_sizes_are_the_published_ones(image_size, patch, heights):
    for (height, width), expected in zip(((480, 640), (400, 600), (360, 640)), heights, strict=True):
        scene = prepare_scene(Frames([of_size(height, width)]), image_size, patch)
        assert scene.images.shape == (1, 3, expected, image_size)
        assert scene.truths["published"].depth.shape == (1, expected, image_size)


def test_intrinsics_are_stretched_with_the_image():
    scene = prepare_scene(Frames([of_size(100, 224, focal=200.0)]), SIZE, PATCH)
    # 112 / 224 across; down, 50 rows become 56.
    expected = torch.tensor([[100.0, 0, 56], [0, 112, 28], [0, 0, 1]], dtype=torch.float64)
    torch.testing.assert_close(scene.truths["published"].intrinsics[0], expected)


def test_what_is_higher_than_wide_loses_its_upper_and_lower_rows():
    frame = of_size(224, 112, focal=50.0)
    scene = prepare_scene(Frames([frame]), SIZE, PATCH, BOTH)
    assert scene.images.shape[-2:] == (SIZE, SIZE)
    np.testing.assert_array_equal((255 * scene.images[0].permute(1, 2, 0)).round().numpy(), frame.image[56:168])
    for truth in scene.truths.values():
        np.testing.assert_array_equal(truth.depth[0].numpy(), frame.depth[56:168])
        assert truth.intrinsics[0, 1].tolist() == [0, 50, 112 - 56]


def test_smaller_frames_lie_in_the_middle_of_zeros():
    wide, square = of_size(56, 112), of_size(112, 112, seed=1)
    scene = prepare_scene(Frames([square, wide]), SIZE, PATCH)
    truth = scene.truths["published"]
    assert truth.depth.shape == (2, 112, 112)
    rows = torch.zeros(112, dtype=torch.bool)
    rows[28:84] = True
    assert truth.valid[1][rows].all()
    assert not truth.valid[1][~rows].any()
    assert (scene.images[1][:, ~rows] == 0).all()
    assert truth.intrinsics[1, 1, 2] == 28 + 28


@pytest.mark.parametrize("height", [42, 252])
def test_depth_is_the_nearest_by_corners_as_published_or_by_centres(height):
    frame = of_size(height, height * 4 // 3)
    scene = prepare_scene(Frames([frame]), SIZE, PATCH, BOTH)
    ratio = height / 84
    for convention, offset in (("published", 0.0), ("consistent", 0.5)):
        rows, columns = (np.floor((np.arange(n) + offset) * ratio).astype(int) for n in (84, 112))
        np.testing.assert_array_equal(scene.truths[convention].depth[0].numpy(), frame.depth[np.ix_(rows, columns)])


def test_images_are_the_same_under_both_conventions_and_bicubic():
    frame = of_size(60, 80)
    scene = prepare_scene(Frames([frame]), SIZE, PATCH, BOTH)
    expected = np.asarray(Image.fromarray(frame.image).resize((112, 84), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal((255 * scene.images[0].permute(1, 2, 0)).round().numpy(), expected)
    assert not np.array_equal(expected, cv2.resize(frame.image, (112, 84)))


def test_true_points_by_hand():
    frame = of_size(84, 112, focal=50.0)
    frame.depth[:], frame.world_from_cam[:3, 3] = 2.0, (10, 20, 30)
    truths = prepare_scene(Frames([frame]), SIZE, PATCH, BOTH).truths
    # Column 6, row 7: 50 and 35 pixels from the principal point, half a pixel less by centres.
    assert truths["published"].points()[0, 7, 6].tolist() == pytest.approx([10 - 2, 20 - 1.4, 32])
    assert truths["consistent"].points()[0, 7, 6].tolist() == pytest.approx([10 - 1.98, 20 - 1.38, 32])


def test_sequences_without_frames_or_depth_are_refused_by_name():
    with pytest.raises(DataError, match="scene/frames: no frames"):
        prepare_scene(Frames([]), SIZE, PATCH)
    blind = of_size(84, 112)
    blind.depth[:] = 0
    with pytest.raises(DataError, match="scene/frames: no pixel"):
        prepare_scene(Frames([blind, blind]), SIZE, PATCH)
    with pytest.raises(DataError, match="frame 1: 640 x 10 pixels"):
        prepare_scene(Frames([of_size(84, 112), of_size(10, 640)]), SIZE, PATCH)


def test_point_figures_by_hand():
    truth = torch.tensor([[2.0, 0, 0], [0, 4, 0], [0, 0, 10], [0, 0, 0]], dtype=torch.float64)
    found = truth + torch.tensor([[0.1, 0, 0], [0, 0, 0.1], [0, 0.004, 0], [0.3, 0, 0]], dtype=torch.float64)
    figures = point_figures(found, truth, "depth")
    assert figures["rel_depth"] == pytest.approx((0.05 + 0.025 + 0.0004) / 3)  # the origin has no relative error
    assert figures["ir_depth"] == pytest.approx(2 / 3)
    assert figures["l2_depth"] == pytest.approx((0.1 + 0.1 + 0.004 + 0.3) / 4)
    assert [figures[f"within_{d}_depth"] for d in ("0.01", "0.05", "0.2")] == [0.25, 0.25, 0.75]


def test_focal_error_by_hand():
    found, truth = (torch.diag(torch.tensor([x, y, 1.0])).repeat(1, 1, 1) for x, y in ((100, 110), (104, 108)))
    assert focal_error(found, truth) == pytest.approx(3.0)


def test_scale_and_shift_of_least_absolute_error_pass_by_outliers():
    generator = torch.Generator().manual_seed(0)
    found = 1 + 4 * torch.rand(2000, dtype=torch.float64, generator=generator)
    truth = 2.5 * found + 0.7
    truth[:500] += 5 * torch.rand(500, dtype=torch.float64, generator=generator)
    aligned = align_depth(found, truth, "scale_shift")
    torch.testing.assert_close(aligned[500:], truth[500:], rtol=1e-4, atol=0)
    constant = torch.full((5,), 3.0, dtype=torch.float64)
    by_hand = align_depth(constant, torch.tensor([1.0, 2.0, 4.0, 8.0, 9.0], dtype=torch.float64), "scale_shift")
    torch.testing.assert_close(by_hand, torch.full((5,), 4.0, dtype=torch.float64), rtol=1e-3, atol=0)
    assert (
        depth_metrics(found, truth, found > 0, "scale_shift").mae < depth_metrics(found, truth, found > 0, "scale").mae
    )


def test_maps_of_another_size_are_refused(box):
    truth = prepare_scene(box, SIZE, PATCH).truths["published"]
    found = told(prepare_scene(box, 2 * SIZE, PATCH).truths["published"], random_similarity(0))
    with pytest.raises(InputError, match=r"predicted depth must be \(5, 84, 112\)"):
        score(found, truth)


@pytest.fixture(scope="module")
def plane():
    """10 cm between its points, in a bowl so that ICP has something to hold on to."""
    x, y = np.meshgrid(np.arange(30) / 10, np.arange(20) / 10)
    return np.stack([x, y, 0.1 * (x - 1.5) ** 2 + 0.2 * np.sin(3 * y)], axis=-1).reshape(-1, 3)


def needs_small_gicp():
    pytest.importorskip("small_gicp", reason="needs small_gicp: pip install '.[benchmarks]'")


def test_clouds_by_hand(plane):
    needs_small_gicp()
    rule = ReconstructionRule(voxel=0.01, icp_radius=0, threshold=0.05)
    half = plane[plane[:, 0] < 1.45]  # the left 15 of 30 columns
    figures = reconstruction_metrics(half + np.array([0, 0, 0.03]), np.concatenate([plane, [[np.nan, 0, 0]]]), rule)
    assert figures["accuracy_mean"] == pytest.approx(0.03, rel=0.1)
    assert figures["accuracy_median"] <= 0.03 + 1e-9
    assert (figures["precision"], figures["recall"]) == (1, 0.5)
    assert figures["f1"] == pytest.approx(2 / 3)
    assert figures["completeness_mean"] > 0.3
    nothing_right = reconstruction_metrics(plane + 1000, plane, rule)
    assert nothing_right["f1"] == 0


def test_icp_removes_a_small_motion_and_says_how_much_overlapped(plane):
    needs_small_gicp()
    moved = plane + np.array([0.01, -0.02, 0.03])
    figures = reconstruction_metrics(moved, plane, ReconstructionRule(voxel=0.01))
    assert figures["accuracy_mean"] < 1e-3
    assert figures["icp_overlap"] == 1
    assert reconstruction_metrics(plane + 1000, plane, ReconstructionRule(voxel=0.01))["icp_overlap"] == 0


def test_voxels_have_one_point_each_and_lose_none_that_are_far(plane):
    needs_small_gicp()
    doubled = np.concatenate([plane, plane + 1e-5])
    rule = ReconstructionRule(voxel=0.02, icp_radius=0)
    assert reconstruction_metrics(doubled, plane, rule)["accuracy_mean"] < 1e-5
    far = 1e6  # beyond the reach of the voxels, and wrong
    figures = reconstruction_metrics(np.concatenate([plane, [[far, 0, 0]]]), plane, rule)
    assert figures["accuracy_mean"] == pytest.approx(far / (len(plane) + 1), rel=1e-3)
    with pytest.raises(DataError, match="no finite point"):
        reconstruction_metrics(np.full((4, 3), np.nan), plane, rule)


def test_a_missing_library_and_impossible_rules_are_said_early(monkeypatch):
    monkeypatch.setitem(sys.modules, "small_gicp", None)
    with pytest.raises(ConfigError, match=r"needs small_gicp: pip install OpenEXR .* 'small-gicp>=1\.0\.1,<2'"):
        require_packages()
    for wrong in ({"voxel": 0.0}, {"threshold": math.nan}, {"icp_radius": -1.0}):
        with pytest.raises(ConfigError, match="above 0"):
            ReconstructionRule(**wrong)
