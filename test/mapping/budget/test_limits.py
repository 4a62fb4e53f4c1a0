"""What the budget may choose from: by configuration, checkpoint and cameras."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from busy_device import LIMITS
from configs import mapper_config

from dvlt_ros.errors import ConfigError
from dvlt_ros.mapping.budget.limits import Limits


def limits_of(config, predictor, num_cameras):
    return Limits.of(config.budget, config.window, config.model.image_size, predictor, num_cameras)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"budget_ms": -1.0}, "budget_ms must be 0 or more"),
        ({"budget_ms": math.nan}, "budget_ms must be 0 or more"),
        ({"k_min": 0}, "k_min and k_max must be 1 or more"),
        ({"k_min": 17}, "k_min and k_max .* in order, got 17 and 16"),
        ({"window_overlap": 8}, "below window_size 8, got 8"),
        ({"window_overlap": 0}, "window_overlap must be from 1"),
        ({"image_size": 500}, "image_size must be a positive multiple of 14, got 500"),
    ],
)
def test_limits_refuse(change, message):
    with pytest.raises(ConfigError, match=message):
        replace(LIMITS, **change)


def test_where_the_configuration_says_0_the_checkpoint_decides(make_predictor):
    predictor = make_predictor()
    found = limits_of(mapper_config(budget_latency_ms=90.0, budget_k_max=5), predictor, 2)
    assert (found.budget_ms, found.k_min, found.k_max) == (90.0, predictor.min_steps, 5)
    assert (found.image_size, found.min_window) == (predictor.image_size, 4)
    assert limits_of(mapper_config(budget_k_max=1), predictor, 1).k_min == 1  # below the checkpoint's own: asked for


@pytest.mark.parametrize(
    ("changes", "num_cameras", "message"),
    [
        ({"budget_k_min": 12}, 1, "budget.k_min 12 is above budget.k_max 8"),
        ({"window_size": 5}, 3, "window.size must be at least 6, two frame sets of 3 cameras, got 5"),
    ],
)
def test_a_configuration_that_the_checkpoint_or_the_cameras_do_not_fit_is_refused(
    make_predictor, changes, num_cameras, message
):
    with pytest.raises(ConfigError, match=message):
        limits_of(mapper_config(**changes), make_predictor(), num_cameras)


def test_a_model_of_one_number_of_steps_has_no_other(make_predictor):
    with pytest.raises(ConfigError, match=r"one number of steps: budget\.k_min and budget\.k_max must be 0 or 8"):
        limits_of(mapper_config(budget_k_min=4), make_predictor(has_fixed_steps=True), 1)


def test_reference_views_are_saved_before_steps_and_never_more_than_views():
    limits = replace(LIMITS, k_min=3, k_max=4, references=3)
    assert limits.efforts(8) == [(4, 3), (4, 2), (4, 1), (3, 1)]
    assert limits.efforts(2) == [(4, 2), (4, 1), (3, 1)]
    works = [effort.work for effort in limits.efforts(8)]
    assert works == sorted(works, reverse=True)


def test_several_references_need_a_model_that_has_them_and_as_many_views(make_predictor):
    with pytest.raises(ConfigError, match=r"one reference: budget\.references must be 1, got 2"):
        limits_of(mapper_config(budget_references=2), make_predictor(), 1)
    with pytest.raises(ConfigError, match=r"budget\.references must be at most the views of a window, 8 .* got 9"):
        mapper_config(budget_references=9)
