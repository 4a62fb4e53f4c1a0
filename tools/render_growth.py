"""The demo's map as it grows, from above, beside the true room: a moving picture.

    python tools/render_growth.py docs/images

Leaves room_map.gif. The map is that of the node's mapper with the embedded checkpoint, every frame of the bundled
sequence, no odometry; it is laid on the truth by the cameras' path, with one scale.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from dvlt_ros.demo import DEMO_SEQUENCE
from dvlt_ros.demo.true_room import TrueRoom
from dvlt_ros.mapping.config import MapperConfig
from dvlt_ros.mapping.data.frames import Frame, Picture
from dvlt_ros.mapping.inference.loading import load_predictor
from dvlt_ros.mapping.mapper import Mapper
from dvlt_ros.sources import open_source

RATE_HZ = 10
STEP_MS, LAST_MS = 350, 2500


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path)
    output = parser.parse_args().output
    room, steps = TrueRoom.load(), []
    config = MapperConfig()
    mapper = Mapper(config, load_predictor(config.model))
    stamps_ns = [int((index + 1) * 1e9 / RATE_HZ) for index in range(len(room.world_from_cam))]
    for stamp_ns, shown in zip(stamps_ns, open_source(DEMO_SEQUENCE), strict=True):
        assert shown.lens is not None  # camera_info.yaml is in the folder
        picture = partial(Picture, shown.image, shown.lens.intrinsics)
        if mapper.add(Frame(stamp_ns, "camera", stamp_ns, picture)) is not None:
            steps.append(mapper.snapshot())
    for _ in mapper.finish():
        steps.append(mapper.snapshot())
    last = steps[-1]
    indices = np.searchsorted(stamps_ns, last.stamps_ns)
    world_from_map = room.world_from_map(last.map_from_cam, indices)
    clouds = [(step, step.cloud) for step in steps if len(step.cloud.points)]
    moving = [
        Image.fromarray(room.beside(world_from_map, cloud.points, cloud.colors, step.map_from_cam)).quantize(96)
        for step, cloud in clouds
    ]
    output.mkdir(parents=True, exist_ok=True)
    times = [STEP_MS] * (len(moving) - 1) + [LAST_MS]
    moving[0].save(output / "room_map.gif", save_all=True, append_images=moving[1:], duration=times, loop=0)
    off = 100 * room.error(world_from_map, last.map_from_cam, indices)
    print(f"{len(last.stamps_ns)} poses of map {last.map_id}, off by {off:.1f} % of what the path spans (RMS); "
          f"{len(last.cloud.points)} points")  # fmt: skip


if __name__ == "__main__":
    main()
