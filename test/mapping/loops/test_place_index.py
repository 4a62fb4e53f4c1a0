"""Recognized places: synthetic features first, then pictures through the embedded checkpoint."""

import numpy as np
import pytest
import torch

from dvlt_ros.errors import ConfigError, InputError
from dvlt_ros.mapping.inference.descriptors import describe
from dvlt_ros.mapping.loops.config import PlaceIndexConfig
from dvlt_ros.mapping.loops.place_index import MIN_PLACES, Place, PlaceIndex
from dvlt_ros.model import Dvlt, Features, prepare_images

SECOND = 10**9
CELLS, CHANNELS = 8, 32


class Stream:
    """Descriptors of places along a drive; one direction has most of the variance and says nothing."""

    def __init__(self, seed=0, places=40, views=3, noise=0.3):
        self.rng = np.random.default_rng(seed)
        self.places = self.rng.normal(size=(places, CELLS, CHANNELS))
        self.noise, self.views = noise, views

    def view(self, place):
        look = self.places[place] + self.noise * self.rng.normal(size=(CELLS, CHANNELS))
        look[:, 0] = 5 + 20 * self.rng.normal(size=CELLS)
        return look.astype(np.float32)

    def drive(self, index, start_s=1):
        """Every place in turn, a keyframe each second; what was taken for a return, and the time afterwards."""
        found, time_s = [], start_s
        for place in range(len(self.places)):
            for _ in range(self.views):
                look = self.view(place)
                found += index.look_up(look, time_s * SECOND)
                index.add(Place(place, time_s * SECOND, time_s), look)
                time_s += 1
        return found, time_s


@pytest.fixture(scope="module")
def known():
    stream, index = Stream(), PlaceIndex()
    return stream, index, *stream.drive(index)


def test_a_first_visit_is_no_return_and_a_second_is(known):
    stream, index, false, time_s = known
    assert len(false) <= 3  # of 120
    right = wrong = 0
    for place in range(len(stream.places)):
        for candidate in index.look_up(stream.view(place), (time_s + 100) * SECOND)[:1]:
            right, wrong = right + (candidate.place.submap == place), wrong + (candidate.place.submap != place)
    assert right >= 34  # of 36: the last ten keyframes are no return
    assert wrong <= 1


def test_the_threshold_lies_between_neighbours_and_others(known):
    likeness = known[1].likeness
    assert likeness.others + 3 * likeness.spread <= likeness.threshold <= likeness.neighbors
    assert abs(likeness.others) < 0.1


def test_only_what_is_more_alike_than_neighbours_is_surely_alike(known):
    stream, index, *_ = known
    assert index.likeness.threshold <= index.likeness.neighbors < index.likeness.sure
    for place in range(0, len(stream.places), 8):
        alike = index.alike(stream.view(place))
        assert place in alike
        assert len(alike) <= 5
        exact = stream.places[place].copy()
        exact[:, 0] = 5.0
        surely = index.alike(exact.astype(np.float32), surely=True)
        assert surely <= {place}
    assert PlaceIndex().alike(stream.view(0)) == frozenset()


def test_one_candidate_per_window_best_first(known):
    stream, index, _, time_s = known
    found = index.look_up(stream.view(7), (time_s + 100) * SECOND)
    assert found[0].place.submap == 7
    assert len({candidate.place.submap for candidate in found}) == len(found) <= 2
    assert [c.similarity for c in found] == sorted((c.similarity for c in found), reverse=True)


def test_what_was_just_seen_is_no_return(known):
    stream, index, _, time_s = known
    latest = len(stream.places) - 1
    assert all(c.place.submap != latest for c in index.look_up(stream.view(latest), time_s * SECOND))
    assert all(c.place.submap != latest for c in index.look_up(stream.view(latest), (time_s + 100) * SECOND))
    far = PlaceIndex(PlaceIndexConfig(min_age_s=1e3))
    assert not stream.drive(far)[0]
    assert not far.look_up(stream.view(0), time_s * SECOND)


def test_places_of_another_map_are_looked_up_beside_the_others_however_young(known):
    stream, index, _, time_s = known
    latest = len(stream.places) - 1
    found = index.look_up(stream.view(latest), time_s * SECOND, apart={latest})
    assert found[0].place.submap == latest
    look = (stream.view(7) + stream.view(20)) / 2  # alike to both
    assert {candidate.place.submap for candidate in index.look_up(look, (time_s + 100) * SECOND)} >= {7, 20}
    index.config = PlaceIndexConfig(max_candidates=1)
    try:
        alone, both = (index.look_up(look, (time_s + 100) * SECOND, apart) for apart in (frozenset(), {7}))
    finally:
        index.config = PlaceIndexConfig()
    assert len(alone) == 1
    assert {candidate.place.submap for candidate in both} == {7, 20}


def test_too_few_keyframes_know_nothing():
    stream, index = Stream(), PlaceIndex(PlaceIndexConfig(min_age_s=0.0, min_apart=1))
    for number in range(MIN_PLACES - 1):
        index.add(Place(number, (number + 1) * SECOND, number), stream.view(number))
    assert index.likeness is None
    assert index.look_up(stream.view(0), 100 * SECOND) == ()


def test_the_index_stays_small_and_keeps_what_differs():
    stream = Stream(places=60, views=5)
    index = PlaceIndex(PlaceIndexConfig(max_places=100))
    _, time_s = stream.drive(index)
    assert len(index) == 100
    assert len(index.submaps) >= 50  # of 60, although only every third keyframe is left
    right = [stream.view(place) for place in sorted(index.submaps)]
    found = [index.look_up(look, (time_s + 100) * SECOND)[:1] for look in right]
    assert sum(bool(f) and f[0].place.submap == p for f, p in zip(found, sorted(index.submaps), strict=True)) >= 40


def test_descriptors_keep_rows_columns_and_few_channels():
    tokens = torch.zeros(1, 2, 6 * 8, 300)
    tokens[0, 0].unflatten(0, (6, 8))[:3, :2, 0] = 1.0
    tokens[0, 1].unflatten(0, (6, 8))[3:, 6:, 1] = 1.0
    found = describe(Features(tokens, (6, 8)))
    assert found.shape == (2, 8, 256)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(np.abs(found).sum(axis=-1) > 0, [np.arange(8) == 0, np.arange(8) == 7])
    lengths = np.linalg.norm(found, axis=-1).max(axis=-1)
    np.testing.assert_allclose(lengths, 1.0, atol=0.3)  # a random projection keeps them about so
    np.testing.assert_array_equal(found, describe(Features(tokens, (6, 8))))


def test_what_cannot_be_is_refused():
    index = PlaceIndex()
    index.add(Place(0, 5 * SECOND, 0), np.ones((CELLS, CHANNELS), np.float32))
    with pytest.raises(InputError, match="order of time"):
        index.add(Place(1, 4 * SECOND, 1), np.ones((CELLS, CHANNELS), np.float32))
    with pytest.raises(InputError, match=r"must be \(8, 32\) and finite, got \(8, 16\)"):
        index.add(Place(1, 6 * SECOND, 1), np.ones((CELLS, 16), np.float32))
    with pytest.raises(InputError, match="finite"):
        index.look_up(np.full((CELLS, CHANNELS), np.nan, np.float32), 6 * SECOND)
    with pytest.raises(InputError, match="window by window"):
        describe(Features(torch.zeros(2, 1, 4, 8), (2, 2)))
    with pytest.raises(ConfigError, match="max_places"):
        PlaceIndexConfig(max_places=3)


def test_the_embedded_checkpoint_tells_rooms_apart():
    """Twelve synthetic rooms, each seen from two poses and then from one between them: most are found again."""
    synthetic = pytest.importorskip("training.synthetic", reason="the folder training is not here; a checkout has it")
    model = Dvlt.from_pretrained()
    config = synthetic.SyntheticConfig(split="benchmark", views=3, height=84, width=112)
    looks = []
    for images in synthetic.sample_windows([synthetic.BENCHMARK_SEED + 5000 + k for k in range(12)], config).images:
        pictures = [(image.permute(1, 2, 0) * 255).byte().numpy() for image in images]
        with torch.inference_mode():
            looks.append(describe(model.encode(prepare_images(pictures, model.config.image_size).images)))
    index = PlaceIndex(PlaceIndexConfig(min_age_s=3600, min_apart=1))
    for number in range(24):
        index.add(Place(number // 2, (number + 1) * SECOND, number), looks[number // 2][number % 2 * 2])
    found = [index.look_up(views[1], 10**5 * SECOND)[:1] for views in looks]
    right = sum(bool(f) and f[0].place.submap == number for number, f in enumerate(found))
    wrong = sum(bool(f) and f[0].place.submap != number for number, f in enumerate(found))
    assert right >= 8
    assert wrong <= 3
