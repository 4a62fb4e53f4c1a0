"""More steps and more views against fewer, with intervals that mean what they say."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from dvlt_ros.training.data.types import Views
from dvlt_ros.training.evaluation.contrasts import (
    mean_interval,
    one_view_errors,
    one_view_line,
    ratio_interval,
    steps_line,
)


@dataclass(frozen=True)
class Depths:
    depth: Tensor  # (B, S, H, W)


def window(views: int = 3) -> Views:
    depth = 1 + torch.rand(1, views, 8, 8, generator=torch.Generator().manual_seed(0))
    poses, intrinsics = torch.eye(4).repeat(1, views, 1, 1), torch.eye(3).repeat(1, views, 1, 1)
    return Views(torch.rand(1, views, 3, 8, 8), poses, intrinsics, depth, depth > 0, torch.tensor([True]))


def test_one_view_alone_has_a_scale_of_its_own():
    views = window()
    truth = iter(views.depth[0])
    seen: list[tuple[int, ...]] = []

    def knows_all_but_the_scale(images: Tensor, steps: int) -> Depths:
        seen.append(tuple(images.shape))
        return Depths(7 * next(truth)[None, None])

    errors = one_view_errors(knows_all_but_the_scale, [views], 4, torch.device("cpu"), bf16=False)
    assert errors == pytest.approx([0.0], abs=1e-6)
    assert seen == [(1, 1, 3, 8, 8)] * 3


def test_views_without_a_valid_pixel_are_left_out():
    views = window()
    views.valid[0, 1] = False
    flat = lambda images, steps: Depths(torch.ones(1, 1, 8, 8))  # noqa: E731
    (error,) = one_view_errors(flat, [views], 4, torch.device("cpu"), bf16=False)
    assert 0 < error < 1
    views.valid[:] = False
    (error,) = one_view_errors(flat, [views], 4, torch.device("cpu"), bf16=False)
    assert math.isnan(error)


def test_intervals_hold_the_mean_and_shrink_with_windows():
    few, many = (np.random.default_rng(0).normal(1.0, 0.3, size=n) for n in (20, 2000))
    for values in (few, many):
        interval = mean_interval(values)
        assert interval.value == pytest.approx(values.mean())
        assert interval.low < interval.value < interval.high
    assert mean_interval(many).high - mean_interval(many).low < 0.2 * (mean_interval(few).high - mean_interval(few).low)


def test_a_ratio_of_windows_that_differ_alike_is_certain():
    errors = np.random.default_rng(0).uniform(0.1, 0.5, size=30)
    ratio = ratio_interval(1.2 * errors, errors)
    assert (ratio.value, ratio.low, ratio.high) == pytest.approx((1.2, 1.2, 1.2))
    assert "1.200 times  [1.200, 1.200]" in one_view_line("mine", 8, list(1.2 * errors), list(errors), 6)


def test_steps_are_compared_window_by_window():
    few = [0.3, 0.5, math.nan, 0.4]
    line = steps_line("mine", (2, few), (8, [0.2, 0.4, 0.1, 0.3]), "abs_rel")
    assert line == "mine, K = 8 against K = 2: abs_rel 0.4000, -0.1000  [-0.1000, -0.1000]"
    assert "no window" in steps_line("mine", (2, [math.nan]), (8, [0.1]), "abs_rel")
