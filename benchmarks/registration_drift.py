"""Drift of 200 registered windows along simulated paths, under typical errors of networks.

    python benchmarks/registration_drift.py
    python benchmarks/registration_drift.py --quick

Every window of 8 frames, 3 of them shared with the next, has a gauge of its own. Each section of shared frames sees a
room of its own, 1 to 8 m deep; other frames share nothing, so a path of any length needs no larger scene. The usual
robust fit of the points alone is compared with `register_points`.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn.functional import normalize

from dvlt_ros.alignment import Sim3, fit_sim3
from dvlt_ros.benchmark import machine
from dvlt_ros.geometry import (
    camera_directions,
    invert_pose,
    matrix_from_quaternion,
    pose_matrix,
    rotate,
    rotation_angle,
    transform_points,
    unproject,
)
from dvlt_ros.mapping.submaps.registration import SharedPoints, register_points

HEIGHT, WIDTH = 24, 32
INTRINSICS = torch.tensor([[28.0, 0, 16], [0, 28, 12], [0, 0, 1]], dtype=torch.float64)
WINDOW, SHARED = 8, 3
NEW = WINDOW - SHARED
STEP_M = 0.1
OUTLIER_DEPTHS_M = (0.1, 20.0)

Estimator = Callable[[SharedPoints], Sim3]


@dataclass(frozen=True)
class Disturbance:
    """Errors of a window's prediction; drawn anew for every window."""

    noise: float = 0.01  # of each depth, relative
    outliers: float = 0.1  # share of the pixels, of both sides of a registration independently
    warp: float = 0.0  # of the depths, smooth over image and window, relative, root mean square
    bend_deg: float = 0.0  # of the path over a window, about any axis
    focal: float = 0.0  # relative, too long or too short
    jitter: float = 0.0  # of every camera: radians about each axis, and metres along it times 3


DISTURBANCES = {
    "noise, outliers": Disturbance(),
    "+ warp 1 %": Disturbance(warp=0.01),
    "+ warp 3 %": Disturbance(warp=0.03),
    "+ bend 0.3 deg": Disturbance(bend_deg=0.3),
    "+ focal 1 %": Disturbance(focal=0.01),
    "+ cameras 0.1 deg": Disturbance(jitter=math.radians(0.1)),
}


@dataclass(frozen=True)
class Drift:
    """Error of the last frame, if the first window is placed without error."""

    position: float  # % of the path; of the median depth where there is no path
    rotation_deg: float
    scale: float  # %


@dataclass(frozen=True, eq=False)
class Views:
    """The shared frames at one end of a window, in its gauge."""

    points: Tensor  # (V, P, 3)
    depth: Tensor  # (V, P)
    window_from_cam: Tensor  # (V, 4, 4)

    def moved(self, map_from_window: Sim3) -> Views:
        return Views(
            map_from_window.apply(self.points),
            map_from_window.scale * self.depth,
            map_from_window.apply_to_poses(self.window_from_cam),
        )


@dataclass(frozen=True, eq=False)
class Window:
    window_from_world: Sim3  # the gauge
    head: Views
    tail: Views


class Simulator:
    """Random numbers of one run."""

    def __init__(self, seed: int) -> None:
        self._generator = torch.Generator().manual_seed(seed)

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, dtype=torch.float64, generator=self._generator)

    def uniform(self, *shape: int) -> Tensor:
        return torch.rand(shape, dtype=torch.float64, generator=self._generator)

    def path(self, kind: str, count: int) -> Tensor:
        """world_from_cam (count, 4, 4)."""
        index = torch.arange(count, dtype=torch.float64)
        zero, forward = torch.zeros_like(index), torch.tensor([0.0, 0.0, STEP_M], dtype=torch.float64)
        turns = {
            "forward": zero,
            "sideways": zero,
            "loop": zero + 2 * math.pi / count,
            "rotation": zero + math.radians(3),
            "walk": math.radians(2) * self.normal(count),
        }
        step = {"rotation": 0 * forward, "sideways": forward.flip(0)}.get(kind, forward)
        yaw = turns[kind].cumsum(0)
        rotation = turned(torch.stack([zero, yaw, zero], dim=-1))
        return pose_matrix(rotation, (rotation @ step).cumsum(0))

    def room(self, world_from_cam: Tensor) -> Tensor:
        """True depth (V, H, W) of views in a room with a cabinet, about the first of them."""
        yaw = 1.2 * self.uniform() - 0.6
        world_from_room = world_from_cam[0, :3, :3] @ turned(torch.stack([0 * yaw, yaw, 0 * yaw]))
        rotation = world_from_room.T @ world_from_cam[:, :3, :3]
        origin = ((world_from_cam[:, :3, 3] - world_from_cam[0, :3, 3]) @ world_from_room)[:, None, None]
        direction = rotate(rotation, camera_directions(INTRINSICS, HEIGHT, WIDTH).expand(SHARED, -1, -1, -1))
        low, high = -self._corner(), self._corner()
        wall = ((torch.where(direction > 0, high, low) - origin) / direction).amin(dim=-1)
        centre = torch.stack([2 * self.uniform() - 1, yaw * 0 + 0.4, 1.5 + 2 * self.uniform()])
        size = torch.tensor([0.4, 0.8, 0.4], dtype=torch.float64)
        sides = torch.stack([(centre - size - origin) / direction, (centre + size - origin) / direction])
        enter, leave = sides.amin(dim=0).amax(dim=-1), sides.amax(dim=0).amin(dim=-1)
        return torch.where((enter < leave) & (enter > 0.5) & (enter < wall), enter, wall)

    def _corner(self) -> Tensor:
        return torch.tensor([1.2, 1, 2]) + torch.tensor([1.8, 0.6, 6]) * self.uniform(3)

    def window(self, world_from_cam: Tensor, depth: Tensor, wrong: Disturbance) -> Window:
        """Prediction of frames (8, 4, 4), of which the first and last three have true depth (6, H, W)."""
        poses = self._bent(world_from_cam, math.radians(wrong.bend_deg))
        poses = poses @ pose_matrix(
            turned(wrong.jitter * self.normal(WINDOW, 3)), 3 * wrong.jitter * self.normal(WINDOW, 3)
        )
        predicted = depth * (1 + wrong.warp * self._smooth()) * (1 + wrong.noise * self.normal(*depth.shape))
        low, high = (math.log(value) for value in OUTLIER_DEPTHS_M)
        anything = (low + (high - low) * self.uniform(*depth.shape)).exp()
        predicted = torch.where(self.uniform(*depth.shape) < wrong.outliers, anything, predicted)
        intrinsics = INTRINSICS.clone()
        intrinsics[:2, :2] *= 1 + wrong.focal * self.normal(1).sign()
        scale, rotation = (0.5 * self.normal()).exp(), matrix_from_quaternion(self.normal(4))
        gauge = Sim3(scale, rotation, 10 * self.normal(3))
        points = transform_points(poses[_ENDS], unproject(predicted, intrinsics.expand(2 * SHARED, 3, 3)))
        ends = Views(points.flatten(1, 2), predicted.flatten(1), poses[_ENDS]).moved(gauge)
        head, tail = (
            Views(ends.points[end], ends.depth[end], ends.window_from_cam[end])
            for end in (slice(SHARED), slice(SHARED, None))
        )
        return Window(gauge, head, tail)

    def _bent(self, world_from_cam: Tensor, angle: float) -> Tensor:
        """The same steps, with a turn between them that adds up to ``angle``."""
        axis = normalize(self.normal(3), dim=0)
        turn = pose_matrix(turned(axis * angle / (WINDOW - 1)), torch.zeros_like(axis))
        poses = [world_from_cam[0]]
        for before, after in pairwise(world_from_cam):
            poses.append(poses[-1] @ turn @ invert_pose(before) @ after)
        return torch.stack(poses)

    def _smooth(self) -> Tensor:
        """(6, H, W), of second order over the image, of first order over the window; about 1 in size."""
        v, u = torch.linspace(-1, 1, HEIGHT)[:, None], torch.linspace(-1, 1, WIDTH)[None]
        basis = torch.stack(torch.broadcast_tensors(torch.ones(1, 1), u, v, u * v, 2 * u * u - 1, 2 * v * v - 1))
        time = torch.linspace(-1, 1, WINDOW)[_ENDS]
        basis = torch.stack([basis.expand(2 * SHARED, -1, -1, -1), time[:, None, None, None] * basis], dim=1).double()
        size = basis.square().sum(dim=(1, 2)).mean().sqrt()
        return torch.einsum("vtbij,tb->vij", basis, self.normal(2, 6)) / size


_ENDS = [*range(SHARED), *range(NEW, WINDOW)]


def turned(vector: Tensor) -> Tensor:
    """Rotation (..., 3, 3) by a vector (..., 3): axis times radians."""
    half = vector.norm(dim=-1, keepdim=True) / 2
    return matrix_from_quaternion(torch.cat([vector / 2 * torch.sinc(half / math.pi), half.cos()], dim=-1))


def shared_points(window: Views, known: Views) -> SharedPoints:
    """The head of a window beside the tail of the one before, in the map."""
    return SharedPoints(
        window.points, known.points, torch.ones_like(window.depth), window.depth, known.depth,
        window.window_from_cam[:, :3, :3], known.window_from_cam[:, :3, :3],
    )  # fmt: skip


def join(points: SharedPoints) -> Sim3:
    return register_points(points).map_from_window


def points_alone(points: SharedPoints) -> Sim3:
    """All of the Sim(3) from the points, reweighted as in `register_points`."""
    in_window, in_map = points.in_window.flatten(0, 1), points.in_map.flatten(0, 1)
    ratio = (points.depth_in_map / points.depth_in_window).log().flatten()
    noise = (points.depth_in_map * points.depth_in_window).sqrt().flatten()
    residual = (ratio - ratio.median()).abs()
    for _ in range(10):
        share = (1 + (residual / (2 * residual.median())).square()).pow(-2)
        fit = fit_sim3(in_window, in_map, share / noise.square(), scale_estimator="symmetric")
        residual = (fit.apply(in_window) - in_map).norm(dim=-1) / noise
    return fit


def drift(kind: str, disturbance: Disturbance, num_windows: int, seed: int, estimate: Estimator = join) -> Drift:
    """Along one path, from window to window."""
    simulator = Simulator(seed)
    world_from_cam = simulator.path(kind, NEW * num_windows + SHARED)
    sections = [world_from_cam[NEW * i :][:SHARED] for i in range(num_windows + 1)]
    rooms = [simulator.room(section) for section in sections]
    known: Views | None = None
    for i in range(num_windows):
        frames, depth = world_from_cam[NEW * i :][:WINDOW], torch.cat(rooms[i : i + 2])
        window = simulator.window(frames, depth, disturbance)
        first = window.window_from_world.inverse
        map_from_window = first if known is None else estimate(shared_points(window.head, known))
        known = window.tail.moved(map_from_window)
    found = map_from_window.apply_to_poses(window.tail.window_from_cam)[-1]
    true = world_from_cam[-1]
    length_m = world_from_cam[:, :3, 3].diff(dim=0).norm(dim=-1).sum()
    return Drift(
        100 * float((found[:3, 3] - true[:3, 3]).norm() / (length_m or torch.stack(rooms).median())),
        math.degrees(rotation_angle(found[:3, :3] @ true[:3, :3].T)),
        100 * float(map_from_window.scale * window.window_from_world.scale - 1),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="20 windows, one run")
    args = parser.parse_args()
    num_windows, runs = (20, 1) if args.quick else (200, 3)
    torch.set_num_threads(1)
    print(machine(torch.device("cpu")))
    print(f"{num_windows} windows of {WINDOW} frames, {SHARED} shared; root mean square of {runs} runs: final position")
    print("(% of the path; rotation: of the median depth), rotation (degrees) and scale (%); beside it points alone")
    for kind in ("forward", "sideways", "loop", "rotation", "walk"):
        for name, disturbance in DISTURBANCES.items():
            cells = []
            for estimate in (join, points_alone):
                found = [drift(kind, disturbance, num_windows, seed, estimate) for seed in range(runs)]
                table = torch.tensor([[d.position, d.rotation_deg, d.scale] for d in found])
                cells.append(" ".join(f"{value:7.2f}" for value in table.square().mean(dim=0).sqrt()))
            print(f"{kind:>9}  {name:<18} {'   |'.join(cells)}", flush=True)


if __name__ == "__main__":
    main()
