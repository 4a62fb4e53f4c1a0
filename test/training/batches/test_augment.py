import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dvlt_ros.errors import ConfigError, InputError
from dvlt_ros.geometry import (
    invert_pose,
    matrix_from_quaternion,
    pose_matrix,
    project,
    transform_points,
    unproject,
)
from dvlt_ros.training.batches.augment import (
    ColourChange,
    ColourRule,
    DepthRule,
    Frame,
    change_colours,
    clean_depth,
    prepare_frame,
    prepare_frames,
    stack_frames,
    turn_frame,
)

EVERYTHING = DepthRule()


def make_frame(height, width, cx=None, cy=None, seed=0):
    """Depth numbers the pixels; red and green grow linearly with u and v."""
    generator = torch.Generator().manual_seed(seed)
    draw = lambda n: torch.randn(n, dtype=torch.float64, generator=generator)  # noqa: E731
    pose = pose_matrix(matrix_from_quaternion(draw(4)), draw(3)).numpy()
    cx, cy = width / 2 if cx is None else cx, height / 2 if cy is None else cy
    intrinsics = np.array([[1.1 * width, 0, cx], [0, 1.2 * width, cy], [0, 0, 1]])
    u, v = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    image = np.stack([255 * u / width, 255 * v / height, 0 * u + 128], axis=-1).round().astype(np.uint8)
    depth = (1 + np.arange(height * width, dtype=np.float32)).reshape(height, width)
    return Frame(image, depth, pose, intrinsics)


def tensors(frame):
    return (
        torch.from_numpy(np.ascontiguousarray(x)).double()
        for x in (frame.depth, frame.intrinsics, frame.world_from_cam)
    )


def seen_in(source, prepared):
    """Pixels (H, W, 2) of the source camera, and z, where the prepared frame's points lie."""
    depth, intrinsics, world_from_cam = tensors(prepared)
    world = transform_points(world_from_cam, unproject(depth, intrinsics))
    _, intrinsics, world_from_cam = tensors(source)
    in_camera = transform_points(invert_pose(world_from_cam), world)
    return project(in_camera, intrinsics).numpy(), in_camera[..., 2].numpy()


frames = st.tuples(
    st.integers(60, 150),
    st.integers(60, 150),
    st.floats(0.35, 0.65),
    st.floats(0.35, 0.65),
    st.integers(0, 1000),
)
targets = st.sampled_from([(28, 42), (42, 42), (14, 42), (98, 126)])  # smaller and larger than the sources


@given(frames, targets, st.floats(0, 12), st.sampled_from([0, 90, -90]))
@settings(max_examples=60, deadline=None)
def test_every_prepared_pixel_is_the_nearest_pixel_of_the_source(source, target, zoom_px, turn):
    height, width, cx, cy, seed = source
    frame = make_frame(height, width, cx * width, cy * height, seed)
    prepared = prepare_frame(frame, *target, EVERYTHING, zoom_px, turn)
    assert prepared.image.shape[:2] == prepared.depth.shape == target
    pixels, z = seen_in(frame, prepared)
    np.testing.assert_allclose(z, prepared.depth, rtol=1e-6)  # a turn about the optical axis at most
    rows, columns = np.divmod(prepared.depth.astype(int) - 1, width)
    offset = pixels - np.stack([columns + 0.5, rows + 0.5], axis=-1)
    assert np.abs(offset).max() <= 0.5 + 1e-6
    assert (pixels > 0).all()
    assert (pixels < [width, height]).all()


@given(frames, targets, st.sampled_from([0, 90, -90]))
@settings(max_examples=40, deadline=None)
def test_colours_and_intrinsics_stay_together(source, target, turn):
    height, width, cx, cy, seed = source
    frame = make_frame(height, width, cx * width, cy * height, seed)
    prepared = prepare_frame(frame, *target, EVERYTHING, 3.0, turn)
    pixels, _ = seen_in(frame, prepared)
    inside = slice(2, -2), slice(2, -2)  # filters see less at the border
    expected = 255 * pixels[inside] / [width, height]
    assert np.abs(prepared.image[inside][..., :2] - expected).max() <= 2.0


@given(frames, targets, st.sampled_from([0, 90, -90]))
@settings(max_examples=40, deadline=None)
def test_the_principal_point_ends_in_the_middle(source, target, turn):
    height, width, cx, cy, seed = source
    frame = make_frame(height, width, cx * width, cy * height, seed)
    prepared = prepare_frame(frame, *target, EVERYTHING, 0.0, turn)
    # Half a pixel of each crop; the first is enlarged with the image.
    limit = 1.5 + 0.75 * prepared.intrinsics[0, 0] / frame.intrinsics[0, 0] * (1.2 if turn else 1)
    middle = np.array([target[1], target[0]]) / 2
    assert np.abs(prepared.intrinsics[:2, 2] - middle).max() <= limit


def test_intrinsics_by_hand():
    frame = make_frame(100, 200, cx=90.0, cy=50.0)
    # 180 x 100 about the principal point, resized by 0.5 to cover 46 + 4 rows, cropped to 80 x 46.
    prepared = prepare_frame(frame, 46, 80, EVERYTHING)
    np.testing.assert_allclose(prepared.intrinsics, [[110, 0, 40], [0, 120, 23], [0, 0, 1]])
    np.testing.assert_array_equal(prepared.world_from_cam, frame.world_from_cam)
    zoomed = prepare_frame(frame, 46, 80, EVERYTHING, zoom_px=10)
    np.testing.assert_allclose(zoomed.intrinsics, [[132, 0, 40], [0, 144, 23], [0, 0, 1]])


def test_turns_undo_each_other_and_are_clockwise():
    frame = make_frame(8, 12, cx=5.0, cy=4.5)
    right = turn_frame(frame, 90)
    assert right.depth[0, -1] == frame.depth[0, 0]
    np.testing.assert_allclose(right.intrinsics, [[14.4, 0, 3.5], [0, 13.2, 5], [0, 0, 1]])
    for a, b in ((90, -90), (-90, 90)):
        back = turn_frame(turn_frame(frame, a), b)
        np.testing.assert_array_equal(back.depth, frame.depth)
        np.testing.assert_allclose(back.intrinsics, frame.intrinsics)
        np.testing.assert_allclose(back.world_from_cam, frame.world_from_cam)


def test_half_of_the_portrait_windows_are_turned_as_a_whole():
    portrait = [make_frame(130, 100, seed=seed) for seed in range(3)]
    turned, zoomed = [], []
    for seed in range(200):
        prepared = prepare_frames(portrait, 28, 42, EVERYTHING, np.random.default_rng(seed))
        sideways = {
            bool(np.abs(p.world_from_cam - f.world_from_cam).max() > 1e-9)
            for p, f in zip(prepared, portrait, strict=True)
        }
        assert len(sideways) == 1
        turned.append(sideways.pop())
        zoomed.append(len({round(p.intrinsics[0, 0], 6) for p in prepared}) > 1)
        assert all(p.depth.shape == (28, 42) for p in prepared)
    assert 0.4 < np.mean(turned) < 0.6
    assert np.mean(zoomed) > 0.8
    square = [make_frame(110, 100)]  # not above 1.2
    for seed in range(20):
        prepared = prepare_frames(square, 28, 42, EVERYTHING, np.random.default_rng(seed))
        np.testing.assert_array_equal(prepared[0].world_from_cam, square[0].world_from_cam)


def test_equal_seeds_prepare_equal_frames():
    source = [make_frame(130, 100, seed=seed) for seed in range(2)]
    a, b = (prepare_frames(source, 28, 42, EVERYTHING, np.random.default_rng(7)) for _ in range(2))
    for first, second in zip(a, b, strict=True):
        np.testing.assert_array_equal(first.image, second.image)
        np.testing.assert_array_equal(first.intrinsics, second.intrinsics)


def test_depth_is_cleaned_in_order():
    depth = np.array([[np.nan, np.inf, -1.0, 0.0, 1.0, 2.0, 3.0, 4.0, 50.0, 600.0]])
    background = np.zeros(depth.shape, dtype=bool)
    background[0, 7] = True
    keep = lambda rule: clean_depth(depth, rule, background)[0].tolist()  # noqa: E731
    assert keep(DepthRule()) == [0, 0, 0, 0, 1, 2, 3, 4, 50, 600]
    assert keep(DepthRule(max_depth=50)) == [0, 0, 0, 0, 1, 2, 3, 4, 50, 0]
    assert keep(DepthRule(drop_background=True)) == [0, 0, 0, 0, 1, 2, 3, 0, 50, 600]
    # The percentile is of what the other rules leave: 1, 2, 3.
    assert keep(DepthRule(max_depth=10, percentile=70, drop_background=True)) == [
        0,
        0,
        0,
        0,
        1,
        2,
        0,
        0,
        0,
        0,
    ]
    assert clean_depth(np.zeros((2, 2)), DepthRule(percentile=95)).sum() == 0
    assert np.isnan(depth[0, 0])  # the source is left alone


def test_what_cannot_work_is_refused_by_name():
    with pytest.raises(ConfigError, match="max_depth must be above 0, got 0"):
        DepthRule(max_depth=0)
    with pytest.raises(ConfigError, match="percentile"):
        DepthRule(percentile=101)
    with pytest.raises(ConfigError, match=r"hue must be in \[0, 0.5\], got 0.6"):
        ColourRule(hue=0.6)
    with pytest.raises(ConfigError, match="blur_sigma"):
        ColourRule(blur_sigma=(0.0, 1.0))
    with pytest.raises(InputError, match=r"principal point \(-3.0, 50.0\) is outside the 200 x 100 image"):
        prepare_frame(make_frame(100, 200, cx=-3.0), 14, 28, EVERYTHING)
    with pytest.raises(ConfigError, match="turn must be one of"):
        prepare_frame(make_frame(100, 200), 14, 28, EVERYTHING, turn=45)
    frame = make_frame(10, 20)
    with pytest.raises(InputError, match="uint8"):
        Frame(frame.image / 255, frame.depth, frame.world_from_cam, frame.intrinsics)
    with pytest.raises(InputError, match=r"depth must have the image's size \(10, 20\), got \(20, 10\)"):
        Frame(frame.image, frame.depth.T, frame.world_from_cam, frame.intrinsics)
    with pytest.raises(InputError, match="world_from_cam"):
        Frame(frame.image, frame.depth, frame.world_from_cam[:3], frame.intrinsics)


def test_frames_become_a_window():
    prepared = prepare_frames(
        [make_frame(100, 120, seed=s) for s in range(3)], 28, 42, EVERYTHING, np.random.default_rng(0)
    )
    prepared[1].depth[0, 0] = 0
    for frame in prepared:
        frame.world_from_cam[:3, 3] += 5e6  # as in a national grid
    views = stack_frames(prepared, is_synthetic=True)
    first, last = prepared[0].world_from_cam, prepared[2].world_from_cam
    np.testing.assert_allclose(views.world_from_cam[0, 2], np.linalg.inv(first) @ last, atol=1e-5)
    assert views.images.shape == (1, 3, 3, 28, 42)
    assert views.world_from_cam.shape == (1, 3, 4, 4)
    assert views.intrinsics.shape == (1, 3, 3, 3)
    assert not views.valid[0, 1, 0, 0]
    assert views.valid.sum() == 3 * 28 * 42 - 1
    assert views.is_synthetic.tolist() == [True]
    assert {x.dtype for x in (views.images, views.depth, views.world_from_cam)} == {torch.float32}
    np.testing.assert_allclose(views.images[0, 2].permute(1, 2, 0) * 255, prepared[2].image, atol=1e-4)


# Colours


def photos(count=4, seed=0):
    return np.random.default_rng(seed).uniform(size=(count, 12, 10, 3)).astype(np.float32)


def test_each_change_by_hand():
    image = photos(1)[0]
    grey = image @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    change = lambda **values: ColourChange(**values).apply(image)  # noqa: E731
    np.testing.assert_allclose(change(), image)
    np.testing.assert_allclose(change(jitter=(("brightness", 0.7),)), 0.7 * image, atol=1e-6)
    np.testing.assert_allclose(change(jitter=(("contrast", 0.0),)), np.full_like(image, grey.mean()), atol=1e-6)
    np.testing.assert_allclose(change(jitter=(("saturation", 0.0),)), np.repeat(grey[..., None], 3, -1), atol=1e-6)
    np.testing.assert_allclose(change(grey=True), np.repeat(grey[..., None], 3, -1), atol=1e-6)
    np.testing.assert_allclose(change(jitter=(("hue", 1 / 3),)), np.roll(image, 1, axis=-1), atol=1e-4)
    np.testing.assert_allclose(change(jitter=(("hue", 0.1), ("hue", -0.1))), image, atol=1e-4)
    blurred = change(blur_sigma=1.0)
    assert blurred.std() < 0.8 * image.std()
    assert blurred.mean() == pytest.approx(image.mean(), abs=0.02)


@given(st.integers(0, 10**6))
@settings(max_examples=30, deadline=None)
def test_changed_colours_stay_colours_and_repeat_with_the_seed(seed):
    images = photos()
    a, b = (change_colours(images, ColourRule(), np.random.default_rng(seed)) for _ in range(2))
    np.testing.assert_array_equal(a, b)
    assert a.dtype == np.float32
    assert a.shape == images.shape
    assert a.min() >= 0
    assert a.max() <= 1 + 1e-6
    np.testing.assert_array_equal(images, photos())


def test_most_windows_change_all_frames_alike():
    same = np.repeat(photos(1), 3, axis=0)
    alike = []
    for seed in range(300):
        changed = change_colours(same, ColourRule(jitter_chance=1), np.random.default_rng(seed))
        alike.append((changed == changed[:1]).all())
    assert np.mean(alike) == pytest.approx(0.7, abs=0.08)


def test_changes_are_as_frequent_and_as_large_as_the_rule_says():
    drawn = [ColourChange.draw(ColourRule(), np.random.default_rng(seed)) for seed in range(2000)]
    assert np.mean([bool(change.jitter) for change in drawn]) == pytest.approx(0.9, abs=0.02)
    assert np.mean([change.grey for change in drawn]) == pytest.approx(0.05, abs=0.015)
    sigmas = [change.blur_sigma for change in drawn if change.blur_sigma is not None]
    assert len(sigmas) / 2000 == pytest.approx(0.05, abs=0.015)
    assert 0.1 <= min(sigmas) < max(sigmas) <= 1.0
    for name, middle, reach in (
        ("brightness", 1, 0.3),
        ("contrast", 1, 0.4),
        ("saturation", 1, 0.2),
        ("hue", 0, 0.1),
    ):
        values = np.array([dict(change.jitter)[name] for change in drawn if change.jitter]) - middle
        assert 0.95 * reach < np.abs(values).max() <= reach
        assert values.mean() == pytest.approx(0, abs=0.1 * reach)
    assert len({tuple(name for name, _ in change.jitter) for change in drawn}) == 25  # 24 orders, and none
