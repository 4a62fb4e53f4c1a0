"""A transforms.json with the separators of another system; what cannot be found is refused when it is opened."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from dvlt_ros.errors import DataError
from dvlt_ros.training.data.readers import nerfstudio

COUNT = 4


def write(folder, path_of):
    """Four frames, two metres before a wall, in folders that ``path_of`` names as some system does."""
    frames = []
    for kind in ("rgb", "depth"):
        (folder / "sensor0" / kind).mkdir(parents=True)
    for index in range(COUNT):
        shown = np.random.default_rng(index).integers(0, 255, (48, 64, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / "sensor0" / "rgb" / f"{index:06d}.png"), shown)
        cv2.imwrite(str(folder / "sensor0" / "depth" / f"{index:06d}.png"), np.full((48, 64), 2000, np.uint16))
        pose = np.eye(4)
        pose[0, 3] = 0.1 * index
        frames.append(
            {
                "file_path": path_of("rgb", index), "depth_file_path": path_of("depth", index), "fl_x": 60.0,
                "fl_y": 60.0, "cx": 32.0, "cy": 24.0, "w": 64, "h": 48, "transform_matrix": pose.tolist(),
            }
        )  # fmt: skip
    (folder / "transforms.json").write_text(json.dumps({"frames": frames}))


@pytest.mark.parametrize(
    "form", ["sensor0/{}/{:06d}.png", r"sensor0\{}\{:06d}.png", r"sensor0\{}/{:06d}.png", r".\sensor0\{}\{:06d}.png",
             "./sensor0/{}/{:06d}.png", r"sensor0\\{}\\{:06d}.png"],
)  # fmt: skip
def test_the_separators_of_any_system(tmp_path, form):
    write(tmp_path, form.format)
    sequence = nerfstudio.read(tmp_path)
    assert len(sequence) == COUNT
    for index in range(COUNT):
        assert float(sequence.frame(index).depth.mean()) == pytest.approx(2.0)


@pytest.mark.parametrize("form", [r"C:\data\{}\{:06d}.png", r"\\server\share\{}\{:06d}.png", r"sensor1\{}\{:06d}.png"])
def test_what_is_not_there_is_refused_when_it_is_opened(tmp_path, form):
    write(tmp_path, form.format)
    with pytest.raises(DataError, match="missing"):
        nerfstudio.read(tmp_path)
