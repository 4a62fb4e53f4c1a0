"""What a training step sees: views, shapes, steps and batches that resume."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sampling_draws import SHAPES, path, rng

from dvlt_ros.errors import ConfigError, InputError
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
)
from dvlt_ros.training.config import Shapes


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
