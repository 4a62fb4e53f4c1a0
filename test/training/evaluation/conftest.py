"""What tests of evaluation share."""

import cv2
import numpy as np
import pytest
from protocol_runs import ORDER

from dvlt_ros.lens import Lens
from dvlt_ros.training.data.readers.folder import DepthCoding, FolderSequence, FrameFiles


@pytest.fixture(scope="module")
def recorded(tmp_path_factory, box_scene):
    """Sequences on disk, by name, most of them broken in one way each."""
    root = tmp_path_factory.mktemp("sequences")

    def sequence(name, unit=1e-3):
        poses = box_scene.poses(3)
        files = []
        for i, pose in enumerate(poses):
            image, depth = box_scene.render(pose)
            stem = root / f"{name}_{i}"
            cv2.imwrite(f"{stem}.png", image[..., ::-1])
            cv2.imwrite(f"{stem}_depth.png", np.round(depth / unit).astype(np.uint16))
            lens = Lens(*box_scene.intrinsics[[0, 1, 0, 1], [0, 1, 2, 2]], box_scene.size, source=name)
            files.append(FrameFiles(f"{stem}.png", f"{stem}_depth.png", lens))
        return FolderSequence(name, tuple(files), poses, DepthCoding())

    sequences = {name: sequence(name) for name in ORDER}
    (root / "a-hidden-frame_1.png").rename(root / ".a-hidden-frame_1.png")
    (root / "b-missing-depth_2_depth.png").unlink()
    sequences["c-wrong-unit"] = sequence("c-wrong-unit", unit=1)  # metres as if they were millimetres
    sequences["d-empty"] = sequences["d-empty"].part(0, 0)
    return sequences
