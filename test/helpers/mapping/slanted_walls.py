"""One published frame with two slanted walls."""

import numpy as np
import torch

from dvlt_ros.mapping.data.frames import Picture, Reconstruction
from dvlt_ros.model import prepare_images

STAMP_NS = 1_234_567_890_123_456_789
CAMERA = np.array([[70.0, 0.0, 60.0], [0.0, 72.0, 50.0], [0.0, 0.0, 1.0]])
PICTURE_SIZE = (96, 128)


def reconstruction(image_size=56, seed=0) -> Reconstruction:
    """Two slanted walls, a tenth of the pixels not trusted."""
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 255, (*PICTURE_SIZE, 3), dtype=np.uint8)
    mapping = prepare_images([image], image_size).mappings[0]
    height, width = mapping.network_size
    depth = 2 + np.linspace(0, 1, width)[None] + np.linspace(0, 0.5, height)[:, None]
    depth[:, width // 2 :] += 3
    depth[rng.random(depth.shape) < 0.1] = np.nan
    intrinsics = mapping.intrinsics_to_network(torch.from_numpy(CAMERA)).numpy()
    confidence = rng.uniform(1, 9, depth.shape).astype(np.float32)
    picture = Picture(image, CAMERA)
    return Reconstruction(
        STAMP_NS, "cam", 0, 0, picture, depth.astype(np.float32), confidence, intrinsics, np.eye(4), mapping
    )
