"""A flight through cameras, as a video."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dvlt_ros.errors import InputError
from dvlt_ros.geometry import matrix_from_quaternion, pose_matrix, quaternion_from_matrix


def poses_along(world_from_cam: Tensor, frames: int) -> Iterator[Tensor]:
    """So many poses (4, 4) from the first of some cameras (S, 4, 4) to the last, through all of them.

    Centres move along straight lines, orientations along the shortest arc.
    """
    quaternions = quaternion_from_matrix(world_from_cam[:, :3, :3])
    for place in torch.linspace(0, len(world_from_cam) - 1, frames).tolist():
        before = min(int(place), len(world_from_cam) - 2)
        share = place - before
        one, two = quaternions[before], quaternions[before + 1]
        two = torch.where((one @ two) < 0, -two, two)
        angle = (one @ two).clamp(-1, 1).acos()
        if angle > 1e-4:
            turned = (((1 - share) * angle).sin() * one + (share * angle).sin() * two) / angle.sin()
        else:
            turned = one + share * (two - one)
        center = torch.lerp(world_from_cam[before, :3, 3], world_from_cam[before + 1, :3, 3], share)
        yield pose_matrix(matrix_from_quaternion(F.normalize(turned, dim=-1)), center)


def to_bytes(picture: Tensor) -> np.ndarray:
    """(H, W, 3) in [0, 1] as uint8."""
    return (255 * picture.detach().clamp(0, 1)).round().byte().cpu().numpy()


def write_video(path: Path, pictures: Iterable[np.ndarray], rate_hz: float) -> None:
    """An MP4 of pictures (H, W, 3) uint8 RGB of one size.

    Raises:
        InputError: it cannot be written.
    """
    import cv2  # only here: training runs without OpenCV

    writer = None
    for picture in pictures:
        if writer is None:
            size = picture.shape[1], picture.shape[0]
            writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), rate_hz, size)
            if not writer.isOpened():
                raise InputError(f"{path}: OpenCV cannot write a video there")
        writer.write(picture[..., ::-1])
    if writer is not None:
        writer.release()
