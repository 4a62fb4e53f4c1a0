"""How many windows photos become: one, where the memory holds it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from wall import Wall

from dvlt_ros.mapping.config import MapperConfig
from dvlt_ros.mapping.inference import memory
from dvlt_ros.mapping.inference.dvlt_predictor import DvltPredictor
from dvlt_ros.mapping.inference.model_predictor import WindowPredictor
from dvlt_ros.model import Dvlt, DvltConfig
from dvlt_ros.photos import windows
from dvlt_ros.photos.windows import for_photos

SIZE = (480, 640)


def spans(count, config):
    """First and last photo of every window, as the mapper fills them."""
    size, overlap = config.window.size, config.window.overlap
    found, end = [], 0
    while end < count:
        begin = max(0, end - overlap)
        end = min(count, begin + size)
        found.append((begin, end))
    return found


@given(count=st.integers(1, 600), room=st.integers(8, 300))
def test_windows_hold_every_photo_and_are_as_few_as_the_memory_allows(count, room):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(windows, "most_views", lambda *_: room)
        config, said = for_photos(MapperConfig(), None, count, SIZE)
    found = spans(count, config)
    assert config.window.size <= max(2, min(room, windows.MOST_TOGETHER))
    assert bool(said) == (len(found) > 1) == (count > min(room, windows.MOST_TOGETHER))
    if said:
        assert f"{count} photos are seen in {len(found)} windows of {config.window.size}" in said
        assert config.window.overlap >= 2
    assert config.keyframes.min_change == config.keyframes.min_interval_s == 0


def test_what_somebody_asked_for_stays():
    config, said = for_photos(MapperConfig(), None, 100, SIZE, asked={"window.size", "keyframes.min_change"})
    assert (config.window, said) == (MapperConfig().window, "")
    assert config.keyframes.min_change == MapperConfig().keyframes.min_change


def predictor(**changes):
    options = {"embed_dim": 96, "num_heads": 2, "patch_embed": "vit14_reg", "encoder_depth": 1, "num_steps": 2}
    small = {"decoder_embed_dim": 64, "decoder_num_heads": 2, "decoder_depth": 1, "min_steps": 1, "image_size": 168}
    return DvltPredictor(Dvlt(DvltConfig(**(options | small | changes))), "cpu")


def test_the_memory_is_asked_and_a_larger_network_or_image_takes_more(monkeypatch):
    monkeypatch.setattr(windows, "available_bytes", lambda *_: 2**30)
    plain = windows.most_views(MapperConfig(), predictor(depth_head_type="linear"), SIZE)
    assert 8 < windows.most_views(MapperConfig(), predictor(depth_head_type="conv"), SIZE) < plain
    assert windows.most_views(MapperConfig(), predictor(depth_head_type="linear", image_size=336), SIZE) < plain / 3
    assert windows.most_views(MapperConfig(), WindowPredictor(Wall()), SIZE) > 8
    monkeypatch.setattr(windows, "available_bytes", lambda *_: None)
    assert windows.most_views(MapperConfig(), WindowPredictor(Wall()), SIZE) == windows.MOST_TOGETHER


def test_what_is_free_here():
    free = memory.available_bytes(torch.device("cpu"))
    if free is None:
        pytest.skip("this system does not tell its free memory; Linux does, in /proc/meminfo")
    assert 2**20 < free < 2**50


def test_a_container_with_a_limit_has_less(tmp_path):
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("400\n")
    assert memory._of_group(tmp_path) == 600
    (tmp_path / "memory.max").write_text("max\n")
    assert memory._of_group(tmp_path) is None
    assert memory._of_group(tmp_path / "nowhere") is None
