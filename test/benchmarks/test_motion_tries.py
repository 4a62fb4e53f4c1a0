"""The tries for motion: what each one changes, and that all are on one budget."""

import motion_tries
import pytest

GIVEN = ["model.encoder_weights=dinov2.safetensors", "model.head_weights=heads.safetensors", "total_steps=10"]


@pytest.fixture
def configs(tmp_path):
    return {name: motion_tries.legs(name, GIVEN, tmp_path) for name in motion_tries.TRIES}


def test_every_try_sees_as_many_images_from_the_same_start(configs):
    for name, legs in configs.items():
        assert sum(leg.total_steps for leg in legs) == 10, name
        assert {leg.shapes.images_per_step for leg in legs} == {8}, name
        assert legs[0].model.head_weights == "heads.safetensors", name


def test_a_try_differs_from_the_first_by_its_own_line_alone(configs):
    (first,) = configs["as before"]
    assert configs["all pairs"][0].loss.pairs == 1
    assert first.loss.pairs == 0
    assert configs["matching times 4"][0].loss.match == 4 * first.loss.match
    assert configs["matching times 4"][0].loss.displacement == 4 * first.loss.displacement
    assert configs["descriptors"][0].model.dvlt.match_taps == (4, 6)
    assert not first.model.dvlt.match_taps
    assert configs["larger images"][0].shapes.image_size == 224
    assert first.shapes.image_size == 168
    wide, rest = configs["wide pairs first"]
    assert wide.data.prefer_far
    assert wide.shapes.views == (2, 2)
    assert not rest.data.prefer_far
    assert rest.shapes == first.shapes
    assert rest.model.checkpoint == f"{wide.output}/last"
    assert rest.model.encoder_weights is None
    assert rest.model.head_weights is None


def test_windows_and_features_are_shared_where_they_are_the_same(configs):
    (first,) = configs["as before"]
    assert configs["all pairs"][0].data == first.data
    assert configs["descriptors"][0].data.windows_folder == first.data.windows_folder
    assert configs["descriptors"][0].data.features_folder != first.data.features_folder
    assert configs["larger images"][0].data.windows_folder != first.data.windows_folder
