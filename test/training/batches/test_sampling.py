import collections
import logging

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dvlt_ros.errors import ConfigError, InputError
from dvlt_ros.geometry import matrix_from_quaternion, pose_matrix
from dvlt_ros.training.batches.augment import DepthRule
from dvlt_ros.training.batches.mixture import load_mixture, repeat_factors, shares
from dvlt_ros.training.batches.sampling import (
    BatchSampler,
    EpochStream,
    ViewRule,
    image_shape,
    pose_distance,
    sample_aspect,
    sample_num_steps,
    sample_views,
    scenes_per_step,
    with_retries,
)
from dvlt_ros.training.config import Shapes

SHAPES = Shapes(image_size=504, views=(2, 6), images_per_step=12, tokens_per_step=None)


def rng(seed=0):
    return np.random.default_rng(seed)


def path(length, seed=0):
    generator = torch.Generator().manual_seed(seed)
    quaternion = torch.randn(length, 4, generator=generator, dtype=torch.float64)
    return pose_matrix(matrix_from_quaternion(quaternion), torch.randn(length, 3, generator=generator).double())


# Views


@given(st.integers(0, 10**6), st.integers(1, 20), st.integers(1, 300), st.sampled_from([0.1, 1, 3.5, 30, None]))
@settings(max_examples=60, deadline=None)
def test_index_windows_hold_the_anchor_and_its_neighbours(seed, num_views, length, ratio):
    views = sample_views(ViewRule(window_ratio=ratio), num_views, length, rng(seed))
    half = max(1, int(num_views * ratio)) if ratio else 256
    anchor = views[0]
    assert len(views) == num_views
    assert (views >= max(0, anchor - half)).all()
    assert (views < min(length, anchor + half)).all()
    ordered = sample_views(ViewRule(window_ratio=ratio, order="random_ordered"), num_views, length, rng(seed))
    assert np.array_equal(ordered, np.sort(views))


def test_all_of_a_window_is_drawn_with_replacement_and_nothing_else():
    rule, seen = ViewRule(window=3), set()
    for seed in range(300):
        views = sample_views(rule, 8, 100, rng(seed))
        if 3 <= views[0] < 97:
            seen |= set((views[1:] - views[0]).tolist())
            assert len(set(views[1:].tolist())) < 7  # 7 draws from 6 candidates
    assert seen == {-3, -2, -1, 0, 1, 2}


@given(st.integers(0, 10**6), st.integers(2, 6))
@settings(max_examples=20, deadline=None)
def test_pose_windows_hold_the_nearest_whatever_the_world_and_unit(seed, num_views):
    poses = path(40, seed)
    rule = ViewRule("pose", window_ratio=1)
    views = sample_views(rule, num_views, 40, rng(seed), poses)
    distance = pose_distance(poses, int(views[0]))
    assert distance[views[0]] == pytest.approx(0, abs=1e-7)
    assert distance[views].max() <= np.sort(distance)[2 * num_views - 1] + 1e-12
    moved = path(1, seed + 1) @ poses
    moved[:, :3, 3] *= 50
    np.testing.assert_allclose(pose_distance(moved, int(views[0])), distance, atol=1e-7)
    assert np.array_equal(sample_views(rule, num_views, 40, rng(seed), moved), views)


def test_pose_distance_by_hand():
    poses = torch.eye(4).repeat(3, 1, 1)
    poses[1, :3, :3] = torch.diag(torch.tensor([-1.0, -1, 1]))
    poses[1, 0, 3], poses[2, 0, 3] = 1.0, 2.0
    np.testing.assert_allclose(pose_distance(poses, 0), [0, 2, 2])  # half a turn + 1/1, and 2/1


def test_impossible_view_rules_are_refused_by_name():
    with pytest.raises(ConfigError, match=r"ranking must be one of .* got 'time'"):
        ViewRule("time")
    with pytest.raises(ConfigError, match=r"window_ratio 2.0 and window 3 exclude each other"):
        ViewRule(window_ratio=2.0, window=3)
    with pytest.raises(ConfigError, match=r"window_ratio must be above 0, got 0"):
        ViewRule(window_ratio=0)
    with pytest.raises(InputError, match=r"of 0 frames"):
        sample_views(ViewRule(), 2, 0, rng())
    with pytest.raises(InputError, match=r"needs poses"):
        sample_views(ViewRule("pose"), 2, 5, rng(), path(4))


# Shapes and steps


def test_image_shapes():
    assert image_shape(504, 1.0) == (504, 504)
    assert image_shape(504, 0.75) == (378, 504)
    assert image_shape(504, 0.33) == (154, 504)  # 166.32 -> 166 -> 154
    assert image_shape(1400, 0.29) == (406, 1400)  # 1400 * 0.29 is 405.99... in floating point
    assert image_shape(14, 0.33) == (14, 14)
    assert image_shape(504, 0.75, portrait=True) == (504, 378)
    with pytest.raises(ConfigError, match=r"multiple of 14, got 500"):
        image_shape(500, 1.0)
    with pytest.raises(ConfigError, match=r"aspect must be in \(0, 1\], got 1.5"):
        image_shape(504, 1.5)


def test_aspects_are_uniform_with_two_decimals():
    drawn = [sample_aspect(rng(seed), 0.33, 1.0) for seed in range(2000)]
    assert all(0.33 <= a <= 1.0 and round(100 * a) / 100 == a for a in drawn)
    assert np.mean(drawn) == pytest.approx(0.665, abs=0.01)


def test_a_token_budget_overrides_the_number_of_images_both_ways():
    published = Shapes()
    assert scenes_per_step(published, 2, 1.0) == 8  # 20736 // (2 * 36 * 36)
    assert scenes_per_step(published, 2, 0.33) == 26  # 52 images, above 36
    assert scenes_per_step(published, 18, 1.0) == 1  # 23328 tokens, above the budget
    capped = Shapes(tokens_per_step=None)
    assert [scenes_per_step(capped, n, 0.33) for n in (2, 5, 18)] == [18, 7, 2]
    assert scenes_per_step(Shapes(tokens_per_step=None, images_per_step=4, views=(2, 8)), 8, 1.0) == 1


def test_step_counts_are_beta_distributed_and_depend_on_seed_and_step_alone():
    drawn = [sample_num_steps(3, step, 8, 16) for step in range(4000)]
    assert drawn == [sample_num_steps(3, step, 8, 16) for step in range(4000)]
    assert drawn[:50] != [sample_num_steps(4, step, 8, 16) for step in range(50)]
    # P(K = 8 + i) = P(round(8 m) = i) with the distribution function m ** 2.
    edges = np.clip((np.arange(10) - 0.5) / 8, 0, 1) ** 2
    for i, expected in enumerate(np.diff(edges)):
        assert drawn.count(8 + i) / 4000 == pytest.approx(expected, abs=0.025)
    assert {sample_num_steps(0, step, 12, 12) for step in range(20)} == {12}
    with pytest.raises(ConfigError, match=r"got 9 and 8"):
        sample_num_steps(0, 0, 9, 8)


# Batches


def take(sampler, count):
    batches = []
    for batch, _ in zip(sampler, range(count), strict=False):
        sampler.commit()
        batches.append(batch)
    return batches


def sampler(rank=0, world_size=1, seed=0, shapes=SHAPES, lengths=(30, 7), repeats=(1, 2.5)):
    return BatchSampler(shapes, lengths, repeats, seed, rank, world_size)


def test_items_of_a_batch_share_their_shape_and_have_their_own_seeds():
    batches = take(sampler(), 200)
    for batch in batches:
        assert len({(item.num_views, item.aspect) for item in batch}) == 1
        assert len(batch) == max(1, 12 // batch[0].num_views)
    assert {batch[0].num_views for batch in batches} == {2, 3, 4, 5, 6}
    seeds = [item.seed for batch in batches for item in batch]
    assert len(set(seeds)) == len(seeds)
    assert batches[0][0].rng.integers(2**60) == batches[0][0].rng.integers(2**60)


@pytest.mark.parametrize("world_size", [2, 3])
def test_ranks_share_the_parameters_and_stride_the_sequences(world_size):
    ranks = [take(sampler(rank, world_size), 60) for rank in range(world_size)]
    for batches in zip(*ranks, strict=True):
        assert len({(item.num_views, item.aspect) for batch in batches for item in batch}) == 1
        assert len({len(batch) for batch in batches}) == 1
    union = [item for batches in zip(*ranks, strict=True) for group in zip(*batches, strict=True) for item in group]
    stream = EpochStream((30, 7), (1, 2.5), 0).take(0, 0, len(union))[0]
    assert [(item.source, item.sequence) for item in union] == [tuple(pair) for pair in stream.tolist()]
    assert len({item.seed for item in union}) == len(union)


@given(st.integers(0, 40), st.integers(0, 9), st.integers(0, 1))
@settings(max_examples=25, deadline=None)
def test_a_resumed_sampler_goes_on_after_the_last_committed_batch(consumed, prefetched, rank):
    whole = take(sampler(rank, 2), consumed + 5)
    first = sampler(rank, 2)
    iterator = iter(first)
    for _ in range(consumed):
        next(iterator)
        first.commit()
    for _ in range(prefetched):
        next(iterator)
    resumed = sampler(rank, 2)
    resumed.load_state_dict(first.state_dict())
    assert take(resumed, 5) == whole[consumed:]
    assert take(first, 5) == whole[consumed:]  # so does a new iterator of the old one


def test_a_state_resumes_on_any_number_of_ranks_and_only_on_the_same_data():
    one = sampler()
    take(one, 9)
    state = one.state_dict()
    following = EpochStream((30, 7), (1, 2.5), 0).take(state["epoch"], state["offset"], 2)[0].tolist()
    for rank in range(2):
        other = sampler(rank, 2)
        other.load_state_dict(state)
        item = take(other, 1)[0][0]
        assert [item.source, item.sequence] == following[rank]
    with pytest.raises(ConfigError, match=r"seed was 0 and is now 1"):
        sampler(seed=1).load_state_dict(state)
    with pytest.raises(ConfigError, match=r"lengths was \[30, 7\] and is now \[30, 8\]"):
        sampler(lengths=(30, 8)).load_state_dict(state)
    with pytest.raises(InputError, match=r"commit without a drawn batch"):
        sampler().commit()
    with pytest.raises(ConfigError, match=r"rank must be"):
        sampler(2, 2)
    with pytest.raises(ConfigError, match=r"multiple of 14"):
        sampler(shapes=Shapes(image_size=500))


def test_a_loader_with_workers_prefetches_without_losing_a_batch():
    own = sampler()
    loader = torch.utils.data.DataLoader(_Echo(), batch_sampler=own, num_workers=1, collate_fn=list)
    iterator, seen = iter(loader), []
    for _ in range(4):
        seen.append(next(iterator))
        own.commit()
    del iterator
    assert seen + take(own, 3) == take(sampler(), 7)


class _Echo(torch.utils.data.Dataset):
    def __getitem__(self, item):
        return item


# The mixture


def test_repeat_factors_give_whole_permutations_and_a_random_fraction():
    stream = EpochStream([1000, 400], [2, 0.25], seed=5)
    epoch = stream.epoch(0)
    counts = [collections.Counter(epoch[epoch[:, 0] == source, 1].tolist()) for source in range(2)]
    assert set(counts[0].values()) == {2}
    assert len(counts[0]) == 1000
    assert set(counts[1].values()) == {1}
    assert len(counts[1]) in (100, 101)
    assert not np.array_equal(epoch, stream.epoch(1))
    assert np.array_equal(epoch, EpochStream([1000, 400], [2, 0.25], seed=5).epoch(0))
    assert len(EpochStream([3], [1], seed=0).epoch(0)) >= 1000  # small data: longer epochs
    pairs, epoch_after, offset = stream.take(0, len(epoch) - 2, 5)
    assert np.array_equal(pairs, np.concatenate([epoch[-2:], stream.epoch(1)[:3]]))
    assert (epoch_after, offset) == (1, 3)


def test_shares_of_short_sources_are_right_on_average():
    stream = EpochStream([3, 5000], [0.4, 0.5], seed=1)
    drawn = [int((stream.epoch(epoch)[:, 0] == 0).sum()) for epoch in range(400)]
    assert np.mean(drawn) == pytest.approx(1.2, abs=0.1)


def test_the_published_mixture():
    mixture = {entry.name: entry for entry in load_mixture()}
    assert len(mixture) == 29
    assert mixture["scannetpp"].views == ViewRule("pose", "random_ordered", window_ratio=10)
    assert mixture["wild_rgbd"].views == ViewRule("pose", "random", window=256)
    assert mixture["wild_rgbd"].depth == DepthRule(percentile=95, drop_background=True)
    assert mixture["metropolis"].cameras == (0, 3)
    assert mixture["metropolis"].depth == DepthRule(max_depth=500, percentile=95)
    assert mixture["spring"].depth == DepthRule()
    assert sum(entry.images for entry in mixture.values()) == 43_106_334
    assert min(mixture.values(), key=lambda entry: entry.repeat).name == "trellis"


def test_shares_are_proportional_to_the_square_root_of_the_images():
    mixture = load_mixture()
    p = shares([entry.images for entry in mixture])
    assert p.sum() == pytest.approx(1)
    for share, entry in zip(p, mixture, strict=True):
        assert share / p[-1] == pytest.approx((entry.images / 5_101_487) ** 0.5)
    assert shares([1, 1, 2], temperature=1).tolist() == pytest.approx([0.25, 0.25, 0.5])


def test_the_published_repeat_factors_are_those_of_these_shares():
    """Shares over repeat factors are numbers of sequences, whole ones: vkitti2 has 50, spring 37."""
    mixture = load_mixture()
    names, repeats = [entry.name for entry in mixture], np.array([entry.repeat for entry in mixture])

    def sequences(temperature):
        implied = shares([entry.images for entry in mixture], temperature) / repeats
        return implied * 50 / implied[names.index("vkitti2")]

    counts = sequences(2.0)
    assert counts[names.index("spring")] == pytest.approx(37, abs=1e-3)
    small = counts < 6000
    assert small.sum() == 24
    assert np.abs(counts - counts.round())[small].max() < 0.06
    assert np.abs(counts - counts.round())[counts < 700].max() < 0.001
    found = repeat_factors(shares([entry.images for entry in mixture]), counts.round().astype(int).tolist())
    np.testing.assert_allclose(found, repeats, rtol=1e-4)
    for other in (1.8, 2.2):
        assert np.abs(sequences(other) - sequences(other).round())[small].mean() > 0.1


def test_mixed_epochs_have_these_shares():
    p, lengths = shares([100, 400, 2500]), [20, 300, 40]
    repeats = repeat_factors(p, lengths)
    assert repeats.min() == 1
    stream = EpochStream(lengths, repeats.tolist(), seed=0)
    drawn = np.concatenate([stream.epoch(epoch)[:, 0] for epoch in range(20)])
    np.testing.assert_allclose(np.bincount(drawn) / len(drawn), p, atol=0.005)


def test_bad_mixtures_are_refused_with_file_and_set(tmp_path):
    file = tmp_path / "mixture.yaml"
    for text, cause in {
        "a: {images: 5, repeat: 0}": "a: mixture set a: repeat must be above 0, got 0",
        "a: {images: 5, repeat: 1, depth_cap: 3}": "a: .*depth_cap",
        "a: {images: 5, repeat: 1, max_depth: -1}": "a: depth rule: max_depth must be above 0, got -1",
        "a: 3": "a: expected fields, got 3",
        "- a": "a mixture maps names of data sets",
        "a: {": "not a readable mixture",
    }.items():
        file.write_text(text)
        with pytest.raises(ConfigError, match=f"mixture.yaml: {cause}"):
            load_mixture(file)
    with pytest.raises(ConfigError, match=r"absent.yaml"):
        load_mixture(tmp_path / "absent.yaml")
    with pytest.raises(ConfigError, match=r"above 0"):
        shares([1, 0])
    with pytest.raises(ConfigError, match=r"repeat factor"):
        EpochStream([5], [1, 2], 0)
    with pytest.raises(ConfigError, match=r"not all 0"):
        EpochStream([5], [0.0], 0)


def test_ten_other_sequences_stand_in_for_a_bad_one(caplog):
    tried = []

    def load(index, good):
        tried.append(index)
        if not good(index):
            raise InputError(f"sequence {index}: no depth")
        return index

    with caplog.at_level(logging.WARNING):
        found = with_retries(lambda index: load(index, lambda i: i % 3 == 0), 1, 100, rng(0))
    assert found % 3 == 0
    assert "sequence 1 left out: sequence 1: no depth" in caplog.text
    tried.clear()
    with pytest.raises(
        InputError, match=r"11 sequences could not be used, the last one because: sequence .*: no depth"
    ):
        with_retries(lambda index: load(index, lambda _: False), 1, 100, rng(0))
    assert len(tried) == 11
    with pytest.raises(ZeroDivisionError):  # a mistake in the code is not bad data
        with_retries(lambda index: 1 // 0, 1, 100, rng(0))
