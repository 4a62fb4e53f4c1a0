"""The demo's map as it grows, from above, beside the true room: a moving picture.

    python tools/render_growth.py docs/images

Leaves room_map.gif; rendering the room takes minutes. The map is that of the node's mapper with the embedded
checkpoint, every frame, no odometry; it is laid on the truth by the cameras' path, with one scale.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from render_demo import SEED, SIZE

from dvlt_ros.alignment import Sim3, fit_sim3
from dvlt_ros.mapping.config import MapperConfig
from dvlt_ros.mapping.data.frames import Frame, Picture
from dvlt_ros.mapping.inference.loading import load_predictor
from dvlt_ros.mapping.mapper import Mapper
from dvlt_ros.training.synthetic import SyntheticConfig, sample_windows

VIEWS, RATE_HZ = 60, 10
EDGE_PX, MARGIN = 420, 0.05
CEILING = 0.85  # of the heights seen; what is higher hides the room
STEP_MS, LAST_MS = 350, 2500
BACKGROUND, PATH, CAMERA = (24, 20, 16), (60, 200, 255), (60, 60, 255)  # BGR


def true_room() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Images (V, H, W, 3) uint8, camera matrix (3, 3), world_from_cam (V, 4, 4), points (N, 3), colours (N, 3)."""
    config = SyntheticConfig(
        families=("room",), family_weights=(1.0,), motions=("handheld",), motion_weights=(1.0,), supersample=1,
        augment=None,
    )  # fmt: skip
    windows = sample_windows([SEED], config, views=VIEWS, size=SIZE)
    images = (255 * windows.images[0]).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    world_from_cam = windows.world_from_cam[0].double().numpy()
    camera, depth = windows.intrinsics[0, 0].double().numpy(), windows.depth[0].double().numpy()
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    rays = np.stack([columns, rows, np.ones(SIZE)], axis=-1) @ np.linalg.inv(camera).T
    points = np.concatenate([
        ((rays * d[..., None])[d > 0]) @ pose[:3, :3].T + pose[:3, 3]
        for d, pose in zip(depth, world_from_cam, strict=True)
    ])  # fmt: skip
    return (
        images,
        camera,
        world_from_cam,
        points,
        np.concatenate([i[d > 0] for i, d in zip(images, depth, strict=True)]),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path)
    output = parser.parse_args().output
    images, camera, truth, points, colors = true_room()
    view = FromAbove.of(points, truth)
    room = view.draw(points, colors, truth[:, :3, 3])
    steps = []
    config = MapperConfig()
    mapper = Mapper(config, load_predictor(config.model))
    stamps_ns = [int((index + 1) * 1e9 / RATE_HZ) for index in range(VIEWS)]
    number_of = {stamp_ns: index for index, stamp_ns in enumerate(stamps_ns)}
    for stamp_ns, image in zip(stamps_ns, images, strict=True):
        frame = Frame(stamp_ns, "camera", stamp_ns, partial(Picture, image, camera))
        if mapper.add(frame) is not None:
            steps.append(mapper.snapshot())
    for _ in mapper.finish():
        steps.append(mapper.snapshot())
    last = steps[-1]
    of_path = truth[[number_of[stamp_ns] for stamp_ns in last.stamps_ns.tolist()]]
    world_from_map = laid_on(last.map_from_cam, of_path)
    shown = []
    for step in steps:
        if not len(step.cloud.points):
            continue
        cloud = world_from_map.apply(step.cloud.points.astype(np.float64))
        path = world_from_map.apply_to_poses(step.map_from_cam)[:, :3, 3]
        shown.append(beside(view.draw(cloud, step.cloud.colors, path), room))
    output.mkdir(parents=True, exist_ok=True)
    moving = [Image.fromarray(one[..., ::-1]).quantize(96) for one in shown]
    times = [STEP_MS] * (len(moving) - 1) + [LAST_MS]
    moving[0].save(output / "room_map.gif", save_all=True, append_images=moving[1:], duration=times, loop=0)
    off = np.linalg.norm(world_from_map.apply(last.map_from_cam[:, :3, 3]) - of_path[:, :3, 3], axis=1)
    extent = np.ptp(truth[:, :3, 3], axis=0)
    print(f"{len(last.stamps_ns)} poses of map {last.map_id}, off by {np.sqrt(np.square(off).mean()):.3f} (RMS) of a "
          f"path that spans {np.linalg.norm(extent):.2f}; {len(last.cloud.points)} points")  # fmt: skip


def laid_on(map_from_cam: np.ndarray, world_from_cam: np.ndarray) -> Sim3:
    """world_from_map by cameras' positions."""
    pairs = (torch.from_numpy(poses[:, :3, 3]) for poses in (map_from_cam, world_from_cam))
    return fit_sim3(*pairs, scale_estimator="symmetric")


class FromAbove:
    """Draws points as seen from above, those that are higher on top."""

    def __init__(self, axes: np.ndarray, low: np.ndarray, scale: float) -> None:
        """``axes`` (3, 3): to the right, ahead and up in the world; ``low`` (2,): of the picture's corner."""
        self.axes, self.low, self.scale = axes, low, scale
        self.ceiling = np.inf

    @classmethod
    def of(cls, points: np.ndarray, world_from_cam: np.ndarray) -> FromAbove:
        up = -world_from_cam[:, :3, 1].mean(axis=0)
        up /= np.linalg.norm(up)
        right = np.cross(world_from_cam[0, :3, 2], up)
        right /= np.linalg.norm(right)
        axes = np.stack([right, np.cross(up, right), up])
        flat = points @ axes.T
        low, high = np.quantile(flat, [0.002, 0.998], axis=0)
        size = (high - low)[:2].max() * (1 + 2 * MARGIN)
        found = cls(axes, (low + high)[:2] / 2 - size / 2, EDGE_PX / size)
        found.ceiling = low[2] + CEILING * (high - low)[2]
        return found

    def draw(self, points: np.ndarray, colors: np.ndarray, path: np.ndarray) -> np.ndarray:
        """(EDGE_PX, EDGE_PX, 3) uint8 BGR."""
        picture = np.full((EDGE_PX, EDGE_PX, 3), BACKGROUND, np.uint8)
        flat = points @ self.axes.T
        pixels = self._pixels(flat)
        inside = ((pixels >= 1) & (pixels < EDGE_PX - 1)).all(axis=1) & (flat[:, 2] < self.ceiling)
        order = np.flatnonzero(inside)[np.argsort(flat[inside, 2], kind="stable")]
        for dx, dy in ((1, 0), (0, 1), (0, 0)):
            picture[pixels[order, 1] + dy, pixels[order, 0] + dx] = colors[order][:, ::-1]
        line = self._pixels(path @ self.axes.T)
        cv2.polylines(picture, [line[:, None].astype(np.int32)], False, PATH, 2, cv2.LINE_AA)
        cv2.circle(picture, tuple(line[-1].tolist()), 5, CAMERA, -1, cv2.LINE_AA)
        return picture

    def _pixels(self, flat: np.ndarray) -> np.ndarray:
        places = (flat[:, :2] - self.low) * self.scale
        return np.column_stack([places[:, 0], EDGE_PX - 1 - places[:, 1]]).astype(np.int64)


def beside(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Both with their names."""
    both = []
    for picture, name in ((left, "map"), (right, "true room")):
        named = picture.copy()
        cv2.putText(named, name, (10, 22), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (255, 255, 255), 1, cv2.LINE_AA)
        both.append(named)
    return np.concatenate(both, axis=1)


if __name__ == "__main__":
    main()
