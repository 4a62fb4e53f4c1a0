"""Which photos are taken of an input, and in which order."""

from __future__ import annotations

import shutil

import cv2
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dvlt_ros.demo import DEMO_SEQUENCE
from dvlt_ros.web.photos import evenly, read_photos


@given(count=st.integers(1, 500), at_most=st.integers(1, 60))
def test_views_are_spread_evenly_with_both_ends(count, at_most):
    found = evenly(count, at_most)
    assert len(found) == min(count, at_most)
    assert found[0] == 0
    assert at_most == 1 or found[-1] == count - 1
    if len(found) > 1:
        assert np.ptp(np.diff(found)) <= 1


def test_photos_are_in_the_order_that_people_count_in(tmp_path, paths):
    for name, path in zip(("10.jpg", "9.jpg", "2.jpg"), paths, strict=True):
        shutil.copy(path, tmp_path / name)
    photos = read_photos(list(tmp_path.iterdir()), 12)
    assert photos.titles == ("2.jpg", "9.jpg", "10.jpg")
    assert photos.images[0].shape == (192, 256, 3)


def test_a_video_and_a_folder_give_evenly_so_many(tmp_path):
    writer = cv2.VideoWriter(str(tmp_path / "walk.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for value in range(21):
        writer.write(np.full((48, 64, 3), 10 * value, np.uint8))
    writer.release()
    video = read_photos([tmp_path / "walk.avi"], 5)
    assert video.titles == ("0.0 s", "0.5 s", "1.0 s", "1.5 s", "2.0 s")
    assert [round(float(image.mean()) / 50) for image in video.images] == [0, 1, 2, 3, 4]
    assert video.total == 21
    assert len(read_photos([DEMO_SEQUENCE], 7)) == 7
