"""Render the photos of the bundled demo: a room that no checkpoint of ours has been trained on.

python tools/render_demo.py dvlt_ros/demo/room
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import torch

from dvlt_ros.training.synthetic import BENCHMARK_SEED, SyntheticConfig, sample_windows

SEED = BENCHMARK_SEED - 10  # above all training seeds


def main() -> None:
    parser = argparse.ArgumentParser(description="Render the photos of the bundled demo.")
    parser.add_argument("output", type=Path)
    parser.add_argument("--views", type=int, default=8)
    output, views = vars(parser.parse_args()).values()
    config = SyntheticConfig(
        families=("room",),
        family_weights=(1.0,),
        motions=("handheld",),
        motion_weights=(1.0,),
        supersample=2,
        augment=None,
    )
    windows = sample_windows([SEED], config, views=views, size=(252, 336))
    output.mkdir(parents=True, exist_ok=True)
    for i, image in enumerate((255 * windows.images[0]).round().to(torch.uint8)):
        picture = cv2.cvtColor(image.permute(1, 2, 0).numpy(), cv2.COLOR_RGB2BGR)
        cv2.imwrite(str(output / f"{i:02d}.jpg"), picture, [cv2.IMWRITE_JPEG_QUALITY, 92])


if __name__ == "__main__":
    main()
