"""A saved map is checked whole before anything changes: what is refused leaves the map that grows as it was."""

from __future__ import annotations

import json

import numpy as np
import pytest
from configs import mapper_config
from room import FRAME_NS, FakePredictor, picture, walk
from safetensors import safe_open
from safetensors.numpy import save
from saved_maps import a_saved_map

from dvlt_ros.errors import InputError
from dvlt_ros.mapping.data.frames import Frame
from dvlt_ros.mapping.map_files import PLACES
from dvlt_ros.mapping.mapper import Mapper

PLAIN = {"keyframes_min_change": 0.0, "confidence_cut_share": 0.0, "map_voxel_size": 0.05, "loops_place_distance": 0.05}
COUNT = 9


class Recognizer(FakePredictor):
    checkpoint = "abc"

    def describe(self, view, image_size):
        return np.random.default_rng(view.number).normal(size=(8, 16)).astype(np.float32)

    def predict_apart(self, views, num_steps, image_size):
        return self.predict(views, num_steps, image_size, range(len(views)))


@pytest.fixture(scope="module")
def mapper():
    """With a map of a few frames, one of which waits."""
    pytest.importorskip("gtsam", reason="GTSAM is not here; `pip install 'dvlt_ros[loops]'` runs this")
    predictor = Recognizer({(i + 1) * FRAME_NS: pose for i, pose in enumerate(walk(40))})
    mapper = Mapper(mapper_config(**PLAIN), predictor)
    for number in range(1, COUNT + 1):
        mapper.add(Frame(number * FRAME_NS, "cam", 0, lambda number=number: picture(number)))
    return mapper


def state(mapper):
    """All that a request could change."""
    maps = [(m.map_id, m.cloud.points.tobytes(), m.stamps_ns.tobytes(), m.map_from_cam.tobytes(), m.voxel_size,
             sorted(m.map_from_visual)) for m in mapper.snapshots()]  # fmt: skip
    detector = mapper.loops.detector
    places = sorted(detector.stored_submaps()), len(detector._index), sorted(detector._components.items())
    return maps, places, mapper.counters.read(), mapper.status.values, mapper.config, mapper._front_end.map_id


def parts_of(path):
    with safe_open(path, framework="np") as file:
        return dict(file.metadata()), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def spoilt(value):
    """Other numbers of one array, by what is wrong with them."""
    yield "empty", value[:0]
    yield "short", value[:-1]
    yield "flat", value.ravel()[: max(1, value.size // 2)]
    yield "stacked", value[None]
    yield "words", np.frombuffer(value.tobytes()[: value.nbytes // 8 * 8] or bytes(8), np.int64)
    yield "halves", value.astype(np.float16) if value.dtype.kind == "f" else value.astype(np.float64)
    if value.dtype.kind == "f":
        for bad in (np.nan, np.inf, -1e30):
            changed = value.copy()
            changed.ravel()[value.size // 2] = bad
            yield str(bad), changed
    elif value.dtype.kind == "i":
        for bad in (-1, 0, 2**40, np.iinfo(value.dtype).max):
            changed = value.copy()
            changed.ravel()[value.size // 2] = bad
            yield str(bad), changed
    else:
        yield "noise", np.random.default_rng(0).integers(0, 255, value.shape).astype(value.dtype)


NAMES = sorted(
    {
        "points", "colors", "confidence", "stamps_ns", "map_from_cam", "descriptors", "image_formats", "num_views",
        "view_stamps_ns", "view_jpeg", "view_jpeg_size", "view_picture_intrinsics", "view_depth", "view_depth_size",
        "view_confidence", "view_intrinsics", "view_map_from_cam",
    }
)  # fmt: skip


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    path = tmp_path_factory.mktemp("good") / f"good{PLACES}"
    path.write_bytes(a_saved_map().encoded())
    return parts_of(path)


def refusal(mapper, folder, content):
    """Why the file is refused, with everything as it was; empty: it can be loaded."""
    (folder / f"bad{PLACES}").write_bytes(content)
    before = state(mapper)
    try:
        mapper.open(folder, "bad")
    except InputError as error:
        assert state(mapper) == before
        assert "bad" in str(error)  # noqa: PT017
        assert "\n" not in str(error)  # noqa: PT017
        return str(error)
    return ""


@pytest.mark.parametrize("name", NAMES)
def test_every_spoilt_array_is_refused_or_loads_whole(mapper, good, name, tmp_path):
    words, tensors = good
    assert set(tensors) == set(NAMES)
    refused = 0
    for what, value in spoilt(tensors[name]):
        content = save(tensors | {name: np.ascontiguousarray(value)}, words)
        if refusal(mapper, tmp_path, content):
            refused += 1
        else:  # a number that is possible
            _, saved = mapper.open(tmp_path, "bad")
            other = Mapper(mapper.config, Recognizer(mapper.predictor.poses))
            other.load(saved)
            assert len(other.snapshot().stamps_ns) == 7, what
    assert refused >= 3
    gone = {other: value for other, value in tensors.items() if other != name}
    assert f"'{name}' is missing" in refusal(mapper, tmp_path, save(gone, words))


@pytest.mark.parametrize(
    ("word", "value"),
    [("voxel_size", v) for v in ("Infinity", "NaN", "-1", "[]", '"x"', "1" * 400, "{")]
    + [("frame_ids", v) for v in ("[]", "{}", "null", "[1, 2]")]
    + [("cameras", "[]"), ("is_metric", "maybe"), ("is_metric", "true"), ("checkpoint", "other"), ("format", "1")],
)
def test_every_spoilt_word_is_refused(mapper, good, word, value, tmp_path):
    words, tensors = good
    assert refusal(mapper, tmp_path, save(tensors, words | {word: value}))
    assert refusal(mapper, tmp_path, save(tensors, {k: v for k, v in words.items() if k != word}))


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
def test_a_file_that_is_cut_is_refused(mapper, good, share, tmp_path):
    content = save(good[1], good[0])
    assert refusal(mapper, tmp_path, content[: int(share * len(content))])


def test_the_map_that_grows_goes_on_after_all_refusals(mapper, tmp_path):
    before = mapper.snapshot()
    for number in range(COUNT + 1, 2 * COUNT):
        mapper.add(Frame(number * FRAME_NS, "cam", 0, lambda number=number: picture(number)))
    list(mapper.finish())
    assert mapper.snapshot().map_id == before.map_id
    assert len(mapper.snapshot().stamps_ns) > len(before.stamps_ns)
    assert mapper.save(tmp_path).exists()
    assert json.loads(parts_of(next(tmp_path.glob(f"*{PLACES}")))[0]["is_metric"]) is False
