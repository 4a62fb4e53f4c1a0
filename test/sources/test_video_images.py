"""Videos give their images at their own rate."""

from __future__ import annotations

import numpy as np
from pictures import HEIGHT, WIDTH, make_video, picture, write_video

from dvlt_ros.sources import open_source


def test_a_video_has_its_own_rate(tmp_path):
    source = open_source(make_video(tmp_path / "clip.avi"), rate_hz=1.0)
    images = list(source)
    assert len(source) == len(images) == 20
    assert source.refusals.count == 0
    assert [image.stamp_ns for image in images] == [40_000_000 * index for index in range(20)]
    for index, image in enumerate(images):
        assert image.image.shape == (HEIGHT, WIDTH, 3)
        np.testing.assert_allclose(image.image.mean(axis=(0, 1)), [10 * index, 120, 10], atol=6)  # RGB


def test_a_truncated_video_gives_what_is_left_and_says_so(tmp_path):
    video = write_video(tmp_path / "clip.avi", [picture(index, (240, 320)) for index in range(20)])
    data = video.read_bytes()
    video.write_bytes(data[: len(data) // 2])
    source = open_source(video)
    readable = len(list(source))
    assert 2 < readable < 18
    assert source.refusals.count == 20 - readable
    assert f"frame {readable} of 20 cannot be read" in source.refusals.first
