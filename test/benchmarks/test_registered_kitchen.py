"""7-Scenes' calibration lays the recorded depth onto the recorded colours."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import registered_kitchen

from dvlt_ros.errors import DataError
from dvlt_ros.training.data.readers import numbered

KITCHEN = Path(__file__).resolve().parents[3] / "shared" / "data" / "rgbd_kitchen"
FRAMES = slice(0, None, 13)


@pytest.fixture
def recording(tmp_path):
    if not KITCHEN.is_dir():
        pytest.skip("the recording is not here; ../shared/data/rgbd_kitchen beside the project runs this")
    source = tmp_path / "recorded"
    for name in ("color", "depth"):
        (source / name).mkdir(parents=True)
        for file in sorted((KITCHEN / name).iterdir())[FRAMES]:
            shutil.copy(file, source / name)
    rows = [row for row in (KITCHEN / numbered.POSES).read_text().splitlines() if not row.startswith("#")]
    (source / numbered.POSES).write_text("\n".join(rows[FRAMES]) + "\n")
    return source


def test_edges_of_depth_lie_on_edges_of_the_image(recording, tmp_path):
    found = registered_kitchen.main([str(recording), str(tmp_path / "registered")])
    assert found["registered"] > 1.25 * found["as it is"]
    raw = numbered.read(recording, registered_kitchen.camera(585.0))
    moved = np.linalg.inv(raw.world_from_cam) @ numbered.read(tmp_path / "registered").world_from_cam
    np.testing.assert_allclose(moved[:, :3, 3], np.tile([0.0256, -0.0001, -0.0018], (len(moved), 1)), atol=5e-4)
    with pytest.raises(DataError, match="registered exists"):
        registered_kitchen.main([str(recording), str(tmp_path / "registered")])


def test_a_folder_without_a_recording_is_named(tmp_path):
    with pytest.raises(DataError, match="no color/, depth/ and camera_poses_tum"):
        registered_kitchen.main([str(tmp_path), str(tmp_path / "registered")])
