"""Render the bundled demo sequence: a room that no checkpoint of ours has been trained on.

    python tools/render_demo.py dvlt_ros/demo/room      # takes minutes

Beside the folder it leaves room_truth.npz: the cameras' poses and the room from above.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
import torch
import yaml

from dvlt_ros.export.from_above import FromAbove
from dvlt_ros.sources import open_source
from dvlt_ros.training.synthetic import BENCHMARK_SEED, SyntheticConfig, sample_windows

SEED = BENCHMARK_SEED - 10  # above all training seeds
SIZE = (192, 256)  # height, width


def main() -> None:
    parser = argparse.ArgumentParser(description="Render the bundled demo sequence.")
    parser.add_argument("output", type=Path)
    parser.add_argument("--views", type=int, default=60)
    output, views = vars(parser.parse_args()).values()
    config = SyntheticConfig(
        families=("room",),
        family_weights=(1.0,),
        motions=("handheld",),
        motion_weights=(1.0,),
        supersample=2,
        augment=None,
    )
    windows = sample_windows([SEED], config, views=views, size=SIZE)
    output.mkdir(parents=True, exist_ok=True)
    for i, image in enumerate((255 * windows.images[0]).round().to(torch.uint8)):
        picture = cv2.cvtColor(image.permute(1, 2, 0).numpy(), cv2.COLOR_RGB2BGR)
        cv2.imwrite(str(output / f"{i:03d}.jpg"), picture, [cv2.IMWRITE_JPEG_QUALITY, 88])
    (output / "camera_info.yaml").write_text(camera_info(windows.intrinsics[0, 0]))
    world_from_cam, depth = windows.world_from_cam[0].double().numpy(), windows.depth[0].double().numpy()
    images = np.stack([image.image for image in open_source(output)])
    write_truth(output, images, windows.intrinsics[0, 0].double().numpy(), depth, world_from_cam)


def write_truth(
    sequence: Path, images: np.ndarray, intrinsics: np.ndarray, depth: np.ndarray, world_from_cam: np.ndarray
) -> None:
    """Of images (V, H, W, 3) uint8, intrinsics (3, 3), depth (V, H, W), world_from_cam (V, 4, 4)."""
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    rays = np.stack([columns, rows, np.ones(SIZE)], axis=-1) @ np.linalg.inv(intrinsics).T
    views = zip(depth, world_from_cam, strict=True)
    points = np.concatenate([(rays * d[..., None])[d > 0] @ pose[:3, :3].T + pose[:3, 3] for d, pose in views])
    view = FromAbove.of(points, world_from_cam)
    picture = view.draw(points, images[depth > 0], world_from_cam[:, :3, 3])
    truth = sequence.with_name(f"{sequence.name}_truth.npz")
    np.savez_compressed(truth, world_from_cam=world_from_cam, picture=picture, **vars(view))


def camera_info(intrinsics: torch.Tensor) -> str:
    """In the format of ROS's camera_calibration, which puts pixel centres at integers."""
    (fx, _, cx), (_, fy, cy) = intrinsics[:2].tolist()
    k = [fx, 0.0, cx - 0.5, 0.0, fy, cy - 0.5, 0.0, 0.0, 1.0]
    fields = {
        "image_width": SIZE[1],
        "image_height": SIZE[0],
        "camera_name": "rendered",
        "camera_matrix": {"rows": 3, "cols": 3, "data": k},
        "distortion_model": "plumb_bob",
        "distortion_coefficients": {"rows": 1, "cols": 5, "data": [0.0] * 5},
        "rectification_matrix": {"rows": 3, "cols": 3, "data": [1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0]},
        "projection_matrix": {"rows": 3, "cols": 4, "data": [*k[:3], 0.0, *k[3:6], 0.0, *k[6:], 0.0]},
    }
    return yaml.safe_dump(fields, sort_keys=False, default_flow_style=None)


if __name__ == "__main__":
    main()
