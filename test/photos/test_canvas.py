"""Photos of several sizes on one canvas, and one map from them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dvlt_ros import reconstruct_bag
from dvlt_ros.demo import DEMO_SEQUENCE
from dvlt_ros.errors import DataError
from dvlt_ros.imaging import View
from dvlt_ros.lens import Lens
from dvlt_ros.photos import Canvas, OnCanvas
from dvlt_ros.sources import open_source

SIZES = st.tuples(st.integers(8, 90), st.integers(8, 90))


@given(sizes=st.lists(SIZES, min_size=1, max_size=4), stands=st.booleans())
def test_every_photo_is_as_large_as_the_canvas_and_its_lens_moves_with_it(sizes, stands):
    canvas = Canvas.of(sizes, 64, stands)
    assert canvas.edge == min(64, max(map(max, sizes))) == max(canvas.size)
    for height, width in sizes:
        lens = Lens(50.0, 50.0, width / 2, height / 2, (height, width))
        view, inside = canvas.fit(View(np.full((height, width, 3), 200, np.uint8), lens))
        own = canvas.size[::-1] if stands and height > width else canvas.size
        assert view.image.shape[:2] == view.lens.size == own
        shown = (view.image == 200).all(axis=-1)
        assert np.array_equal(shown, np.ones(own, bool) if inside is None else inside)
        rows, columns = np.nonzero(shown)
        middle = (columns.min() + columns.max() + 1) / 2, (rows.min() + rows.max() + 1) / 2
        np.testing.assert_allclose((view.lens.cx, view.lens.cy), middle)  # the lens looks at the photo's middle


def test_photos_of_one_size_are_only_made_smaller():
    photo = np.zeros((30, 40, 3), np.uint8)
    assert Canvas.of([(30, 40)]).fit(View(photo, None))[0].image is photo
    assert Canvas.of([(30, 40)], 20).fit(View(photo, None))[0].image.shape == (15, 20, 3)
    with pytest.raises(DataError, match="no photos"):
        Canvas.of([])


@pytest.fixture
def mixed(tmp_path):
    """Photos of one room: wide, tall, and a panorama."""
    folder = tmp_path / "mixed"
    folder.mkdir()
    for index, path in enumerate(sorted(DEMO_SEQUENCE.glob("*.jpg"))[:9]):
        image = cv2.imread(str(path))
        image = [image, image[:, 40:184], image[48:144]][index % 3]
        cv2.imwrite(str(folder / f"IMG_{index}.jpg"), image)
    (folder / "IMG_9.jpg").write_bytes(b"no picture")
    return folder


def test_a_folder_without_times_is_photos_and_with_a_rate_a_stream(mixed):
    assert not open_source(mixed).has_times
    assert open_source(mixed, rate_hz=10).has_times
    images = list(OnCanvas(open_source(mixed)))
    assert [image.name for image in images] == [f"IMG_{index}.jpg" for index in range(9)]
    assert [image.image.shape for image in images[:3]] == [(192, 256, 3), (256, 192, 3), (192, 256, 3)]
    assert [image.inside is None for image in images[:3]] == [True, True, False]


def test_photos_of_several_sizes_are_one_map_without_their_border(mixed, tmp_path, capsys):
    quick = ["--model-image-size", "56", "--budget-k-max", "2", "--device", "cpu"]
    reconstruct_bag.main([str(mixed), "--output", str(tmp_path / "out"), *quick])
    assert len(np.loadtxt(tmp_path / "out" / "trajectory_0.txt")) == 9
    assert "9 photos of one scene, seen together" in "".join(capsys.readouterr())
    depths = sorted((tmp_path / "out" / "depth").iterdir())
    wide, tall, panorama = (np.isfinite(cv2.imread(str(path), cv2.IMREAD_UNCHANGED)) for path in depths[:3])
    assert (wide.shape, tall.shape, panorama.shape) == ((42, 56), (56, 42), (42, 56))
    # The embedded checkpoint leaves no depth out for its confidence.
    assert [known.mean() for known in (wide, tall, panorama)] == pytest.approx([1.0, 1.0, 96 / 192], abs=0.04)
    assert not panorama[:9].any()
    assert not panorama[-9:].any()
