"""Which data sets a step draws from, and what stands in for a bad sequence."""

import collections
import logging

import numpy as np
import pytest
from sampling_draws import rng

from dvlt_ros.errors import ConfigError, InputError
from dvlt_ros.training.batches.augment import DepthRule
from dvlt_ros.training.batches.mixture import load_mixture, repeat_factors, shares
from dvlt_ros.training.batches.sampling import (
    EpochStream,
    ViewRule,
    with_retries,
)


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
