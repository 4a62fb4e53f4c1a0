"""Small arrays: the same answers as NumPy's own functions."""

from __future__ import annotations

import numpy as np
import pytest

from dvlt_ros.refinement.arrays import found_in, median


@pytest.mark.parametrize("shape", [1, 2, 7, 8, (3, 4)])
def test_median_is_numpys(shape):
    values = np.random.default_rng(0).normal(size=shape)
    assert median(values) == np.median(values)


def test_the_median_of_nothing_is_unknown():
    assert np.isnan(median(np.zeros(0)))


def test_what_both_have_is_found_in_the_other():
    values, others = np.array([5, 0, 3, 0, 9]), np.array([9, 4, 5])
    here, there = found_in(values, others)
    assert here.tolist() == [0, 4]
    assert np.array_equal(others[there], values[here])


@pytest.mark.parametrize(("values", "others"), [([], [1]), ([1], []), ([2], [1])])
def test_nothing_is_found_where_nothing_is_shared(values, others):
    here, there = found_in(np.array(values, dtype=int), np.array(others, dtype=int))
    assert len(here) == len(there) == 0
