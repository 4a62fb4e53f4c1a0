"""Recorded pictures that speed is measured on: windows of neighbours, from all over a folder."""

import numpy as np
import pytest
from PIL import Image
from timing.paths import MOST_WINDOWS, recorded


def numbered(folder, count):
    """Pictures whose pixels are their number."""
    for number in range(count):
        Image.fromarray(np.full((6, 8, 3), number, np.uint8)).save(folder / f"{number:03}.png")
    return folder


@pytest.mark.parametrize(("count", "windows"), [(4, 1), (6, 3), (40, MOST_WINDOWS)])
def test_windows_are_neighbours_in_order_from_the_first_picture_to_the_last(tmp_path, count, windows):
    found = recorded(numbered(tmp_path, count), 4)
    numbers = [[int(picture[0, 0, 0]) for picture in window] for window in found]
    assert len(numbers) == windows
    assert all(np.all(np.diff(window) == 1) and len(window) == 4 for window in numbers)
    assert (numbers[0][0], numbers[-1][-1]) == (0, count - 1)
    starts = np.diff([window[0] for window in numbers])
    assert windows == 1 or starts.max() - starts.min() <= 1  # spread evenly


def test_a_folder_with_fewer_pictures_than_a_window_is_refused_with_both_numbers(tmp_path):
    with pytest.raises(SystemExit, match="has 3 pictures, a window has 4"):
        recorded(numbered(tmp_path, 3), 4)
