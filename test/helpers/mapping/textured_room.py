"""A room with patterned walls and boxes, photographed by exact ray casting, and a network with known errors."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np

from dvlt_ros.refinement import NetworkAnswer, WindowFrame

SIZE = (240, 320)  # height, width of the images
MAP_SIZE = (60, 80)
FOCAL = 260.0
INTRINSICS = np.array([[FOCAL, 0, 160.0], [0, FOCAL, 120.0], [0, 0, 1]])
MAP_SCALE = (0.25, 0.25)
ROOM = np.array([[-3.0, -1.5, -3.0], [3.0, 1.3, 4.5]])  # lower and upper corner, metres
BOXES = (
    np.array([[-1.6, 0.2, 2.2], [-0.7, 1.3, 3.0]]),
    np.array([[0.5, -0.3, 2.6], [1.5, 1.3, 3.4]]),
)
PIXELS_PER_METRE = 90.0
SURFACES = 18  # six walls, six faces of each box


def pose(position, yaw=0.0, pitch=0.0, roll=0.0):
    """world_from_cam (4, 4): metres and radians, y down."""
    result = np.eye(4)
    turns = (cv2.Rodrigues(np.array(axis))[0] for axis in ((0, yaw, 0.0), (pitch, 0, 0.0), (0, 0, roll)))
    first, second, third = turns
    result[:3, :3], result[:3, 3] = first @ second @ third, position
    return result


def walk(count, step=0.08, turn=0.02, start=0):
    """Sideways and forward, looking a little around: poses (count, 4, 4)."""
    return np.stack(
        [
            pose((step * i - 0.3, 0.03 * np.sin(i), 0.4 * step * i), turn * i - 0.05, 0.015 * np.sin(0.9 * i))
            for i in range(start, start + count)
        ]
    )


def repeating_blur(noise, sigma):
    around = int(6 * sigma)
    blurred = cv2.GaussianBlur(np.pad(noise, around, mode="wrap"), (0, 0), sigma)
    return blurred[around:-around, around:-around]


@cache
def pattern(seed, contrast=1.0, period=0):
    """A square grey image, 0 to 1, that goes on when it is repeated; ``period``: its size in pixels."""
    rng = np.random.default_rng(seed)
    size = period or 1024
    layers = [repeating_blur(rng.random((size, size)).astype(np.float32), sigma) for sigma in (1.5, 4, 10)]
    mixed = sum((layer - layer.mean()) / layer.std() for layer in layers)
    return np.clip(0.5 + contrast * 0.14 * mixed, 0, 1).astype(np.float32)


def directions(world_from_cam, size=SIZE, intrinsics=INTRINSICS):
    """(H, W, 3) world rays whose length along the optical axis is 1."""
    rows, columns = np.mgrid[: size[0], : size[1]] + 0.5
    pixels = np.stack([columns, rows, np.ones(size)], axis=-1)
    return pixels @ np.linalg.inv(intrinsics).T @ world_from_cam[:3, :3].T


def slab(lower, upper, origin, rays):
    """Where rays enter and leave a box, and the axis of the faces."""
    with np.errstate(divide="ignore", invalid="ignore"):
        low, high = (lower - origin) / rays, (upper - origin) / rays
    near, far = np.minimum(low, high), np.maximum(low, high)
    return near.max(axis=-1), near.argmax(axis=-1), far.min(axis=-1), far.argmin(axis=-1)


def cast(world_from_cam, boxes=BOXES, size=SIZE, intrinsics=INTRINSICS):
    """Depth (H, W) metres along the optical axis, surface number, and coordinates (H, W, 2) on the surface."""
    origin, rays = world_from_cam[:3, 3], directions(world_from_cam, size, intrinsics)
    _, _, depth, axis = slab(*ROOM, origin, rays)
    surface = 2 * axis + (np.take_along_axis(rays, axis[..., None], -1)[..., 0] > 0)
    for number, box in enumerate(boxes, start=1):
        enter, face, leave, _ = slab(*box, origin, rays)
        hit = (enter > 0) & (enter < leave) & (enter < depth)
        depth, axis = np.where(hit, enter, depth), np.where(hit, face, axis)
        surface = np.where(hit, 6 * number + face, surface)
    points = origin + rays * depth[..., None]
    others = np.array([[1, 2], [0, 2], [0, 1]])[axis]
    return depth, surface, np.take_along_axis(points, others, axis=-1)


def photograph(world_from_cam, patterns=pattern, boxes=BOXES, size=SIZE, intrinsics=INTRINSICS):
    """(H, W, 3) uint8; ``patterns`` gives the pattern of a surface by its number."""
    _, surface, where = cast(world_from_cam, boxes, size, intrinsics)
    gray = np.zeros(size, dtype=np.float32)
    for number in np.unique(surface):
        tile = patterns(int(number) % SURFACES)
        at = ((where * PIXELS_PER_METRE + 37 * number) % (len(tile) - 1)).astype(np.float32)
        seen = cv2.remap(tile, at[..., 0], at[..., 1], cv2.INTER_LINEAR)
        gray = np.where(surface == number, seen, gray)
    return np.repeat((255 * gray).round().astype(np.uint8)[..., None], 3, axis=-1)


def depth_map(world_from_cam, boxes=BOXES):
    """(h, w) float32 metres, as a network's map."""
    scaled = INTRINSICS * np.array([[MAP_SCALE[0]], [MAP_SCALE[1]], [1.0]])
    return cast(world_from_cam, boxes, MAP_SIZE, scaled)[0].astype(np.float32)


def frames(poses, patterns=pattern, boxes=BOXES, first=0, intrinsics=INTRINSICS, cameras_say=INTRINSICS):
    return [
        WindowFrame(first + i, photograph(pose, patterns, boxes, intrinsics=intrinsics), cameras_say)
        for i, pose in enumerate(poses)
    ]


def network(poses, turn=0.0, shift=0.0, scale=0.7, bend=0.0, boxes=BOXES, seed=0):
    """An answer in a gauge of its own, with errors of the poses (rad, metres) and a bend of the depth."""
    rng = np.random.default_rng(seed)
    gauge, answer = pose((0.4, -0.2, 1.0), 0.8, 0.1), []
    for world_from_cam in poses:
        wrong = np.eye(4)
        wrong[:3, :3], wrong[:3, 3] = cv2.Rodrigues(turn * rng.normal(size=3))[0], shift * rng.normal(size=3)
        found = gauge @ world_from_cam @ wrong
        found[:3, 3] *= scale
        answer.append(found)
    depth = np.stack([depth_map(world_from_cam, boxes) for world_from_cam in poses])
    across = np.linspace(-1, 1, MAP_SIZE[1], dtype=np.float32)
    depth = depth * np.exp(bend * across) * np.float32(scale)
    scaled = INTRINSICS * np.array([[MAP_SCALE[0]], [MAP_SCALE[1]], [1.0]])
    return NetworkAnswer(
        depth, np.full_like(depth, 2.0), np.stack(answer), np.tile(scaled, (len(poses), 1, 1)), MAP_SCALE, (0.0, 0.0)
    )


def pose_errors(found, truth):
    """Largest rotation error in degrees, and of the centres after the best similarity, over their spread."""
    turns = [
        f[:3, :3].T @ found[0][:3, :3] @ (t[:3, :3].T @ truth[0][:3, :3]).T for f, t in zip(found, truth, strict=True)
    ]
    angles = [np.degrees(np.linalg.norm(cv2.Rodrigues(turn)[0])) for turn in turns]
    local, true = ((np.linalg.inv(poses[0]) @ poses)[:, :3, 3] for poses in (found, truth))
    factor = (local * true).sum() / max((local * local).sum(), 1e-12)
    return max(angles), np.linalg.norm(factor * local - true, axis=-1).max() / np.linalg.norm(true, axis=-1).max()


def is_networks(refined, answer):
    """Whether the refinement has left the network's answer as it was."""
    return all(
        np.array_equal(getattr(refined, name), getattr(answer, name), equal_nan=True)
        for name in ("depth", "confidence", "window_from_cam", "intrinsics")
    )
