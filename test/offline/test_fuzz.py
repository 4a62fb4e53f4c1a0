"""Random bags through the whole offline tool: files and status 0, or one line that names the bag and status 1."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import bags
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from room import SIZE, FakePredictor, walk

from dvlt_ros import reconstruct_bag
from dvlt_ros.mapping.mapper import Mapper
from dvlt_ros.offline import results

pytest.importorskip("rosbags", reason="bags are read and written with rosbags; `make venv` brings it")

S = 10**9
START_NS = 1_700_000_000 * S
STEPS_NS = st.sampled_from([S // 10] * 6 + [0, -S // 20, -S, 3 * S, 30 * S, -40 * S, 10**8 * S, -(10**9) * S])
ENCODINGS = st.sampled_from(["rgb8"] * 6 + ["mono8", "mono16", "bayer_rggb8", "nonsense", "32FC1", ""])
SHAPES = st.sampled_from([SIZE] * 6 + [SIZE[::-1], (12, 16), (1, 1)])
WORDS = "--device", "cpu", "--keyframes-min-change", "0", "--loops-mode", "never"


class AnyPlace(FakePredictor):
    """Sees the room from the same walk, whatever the stamps are; of every seventh view it finds no camera."""

    def predict(self, views, num_steps, image_size, decoded):
        for view in views:
            self.poses.setdefault(view.frame.stamp_ns, walk(60)[view.number % 60])
            if view.number % 7 == 6:
                self.broken_stamps.add(view.frame.stamp_ns)
        return super().predict(views, num_steps, image_size, decoded)


@st.composite
def recordings(draw):
    """Images of which some have odd stamps, encodings, sizes, too few bytes, or show nothing."""
    records, stamp_ns = [], START_NS
    for index in range(draw(st.integers(1, 14))):
        stamp_ns += draw(STEPS_NS)
        size, encoding = draw(SHAPES), draw(ENCODINGS)
        channels, kind = 3 if encoding == "rgb8" else 1, np.uint16 if encoding == "mono16" else np.uint8
        shown = np.random.default_rng(index).integers(0, 255, (*size, channels)).astype(kind)
        shown = shown * draw(st.sampled_from([1, 1, 1, 0]))
        data = shown.view(np.uint8).ravel()
        kept = data[: len(data) // draw(st.sampled_from([1, 1, 1, 1, 2]))]
        step = shown.strides[0]
        message = bags.image(min(max(stamp_ns, -(2**31) * S), (2**31 - 1) * S), kept, encoding, "cam", size, step)
        records.append(("/cam/image_raw", message))
    return records


@settings(max_examples=12, deadline=None, suppress_health_check=[*HealthCheck])
@given(recordings())
def test_random_recordings(records):
    mappers = []

    class Watched(Mapper):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            mappers.append(self)

    with tempfile.TemporaryDirectory(prefix="fuzz_") as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr(reconstruct_bag, "Mapper", Watched)
        patch.setattr(reconstruct_bag, "load_predictor", lambda _: AnyPlace({}))
        patch.setattr(results, "write_page", lambda *_: None)  # which takes most of the time
        bag, output = bags.write(Path(name) / "bag", records), Path(name) / "out"
        refusal = ""
        try:
            reconstruct_bag.main([str(bag), "--output", str(output), *WORDS])
        except SystemExit as end:
            refusal = str(end.code)
        written = len(list(output.glob("depth/*"))) if output.exists() else 0
        maps = list(output.glob("map_*.ply")) if output.exists() else []
    if refusal:
        assert str(bag) in refusal
        assert re.search("refused|none of|not read|no topic", refusal), refusal
        assert "\n" not in refusal
        assert written == 0
    else:
        (mapper,) = mappers
        counts = mapper.counters.read()
        assert counts.accepted == counts.published + counts.dropped
        assert counts.in_flight == 0
        assert counts.published > 0
        assert maps
        assert 0 < written <= counts.published  # frames of one stamp share a file
