"""Mesh and grid of the map as topics, on a thread of their own: what takes long delays no frame."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
from nav_msgs.msg import OccupancyGrid
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import QoSProfile
from rclpy.qos_overriding_options import QoSOverridingOptions
from visualization_msgs.msg import MarkerArray

from ...errors import InputError
from ...health import Health
from ...mapping.mapper import Mapper
from ...mapping.surfaces.grid import Grid
from ...mapping.surfaces.mesh import Mesh
from ...mapping.surfaces.surface_map import MeshChange, SurfaceMap
from ...mapping.surfaces.volume import keys_of, places_of
from .. import messages
from ..config import NodeConfig
from ..status_board import StatusBoard
from .frame_outputs import LATCHED, may_be_unscaled, wanted
from .mesh_markers import delete_all, deletions, mesh_markers

TILE = 4  # blocks of a marker along each axis: what has not changed is not sent again
MESH_QUEUE = QoSProfile(depth=10)


class SurfaceOutputs:
    """The publishers of mesh and grid. Nothing is fused while nobody has subscribed to them."""

    def __init__(self, node: LifecycleNode, config: NodeConfig) -> None:
        self._node = node
        self._map_frame = config.frames.prefix + config.frames.map
        overridable = {"qos_overriding_options": QoSOverridingOptions.with_default_policies()}
        self._mesh = node.create_lifecycle_publisher(MarkerArray, "mesh", MESH_QUEUE, **overridable)
        self._grid = node.create_lifecycle_publisher(OccupancyGrid, "grid", LATCHED, **overridable)
        self._numbers: dict[int, int] = {}  # of the markers that have been sent, by the tile's key
        self._state: object = None
        self._listeners = 0
        self._latest: Grid | None = None

    def publish(self, surfaces: SurfaceMap, mapper: Mapper, config: NodeConfig) -> str:
        """Publishes what has changed; returns why the grid is withheld from its subscribers, or nothing."""
        is_heard = wanted(self._mesh) or wanted(self._grid)
        if not is_heard:
            return ""
        surfaces.follow()
        if wanted(self._mesh) and (config.has_metric_source or may_be_unscaled(config)):
            self._publish_mesh(surfaces)
        if not wanted(self._grid):
            return ""
        try:
            self._publish_grid(surfaces.grid(mapper.config.band))
        except InputError as error:
            return f"grid is withheld: {error}"
        return ""

    def close(self) -> None:
        for publisher in (self._mesh, self._grid):
            self._node.destroy_lifecycle_publisher(publisher)

    def _publish_mesh(self, surfaces: SurfaceMap) -> None:
        """Tiles that have changed; all of them to a new subscriber and of another volume."""
        listeners = self._mesh.get_subscription_count()
        is_new, self._listeners = listeners > self._listeners, listeners
        change = surfaces.meshes(None if is_new else self._state)
        if change is None:
            return
        head = messages.header(self._map_frame, self._node.get_clock().now().nanoseconds)
        if change.changed is None:
            self._mesh.publish(delete_all(head))
            self._numbers = {}
        self._state = change.state
        tiles = tiles_of(change)
        filled = [(self._number(key), mesh) for key, mesh in tiles.items() if len(mesh.triangles)]
        gone = [
            self._numbers.pop(key) for key, mesh in tiles.items() if not len(mesh.triangles) and key in self._numbers
        ]
        if gone:
            self._mesh.publish(deletions(head, gone))
        if filled:
            self._mesh.publish(mesh_markers(head, filled))

    def _number(self, key: int) -> int:
        return self._numbers.setdefault(key, 1 + max(self._numbers.values(), default=0))

    def _publish_grid(self, grid: Grid) -> None:
        """Only where it is another one: the topic is latched."""
        if self._latest is not None and is_same(self._latest, grid):
            return
        self._latest = grid
        stamp_ns = self._node.get_clock().now().nanoseconds
        self._grid.publish(messages.grid_message(grid, messages.header(self._map_frame, stamp_ns)))


class SurfaceThread:
    """Publishes mesh and grid at ``output.map_rate_hz``, from `start` to `stop`."""

    def __init__(
        self, outputs: SurfaceOutputs, mapper: Mapper, config: Callable[[], NodeConfig], board: StatusBoard,
        fail: Callable[[Exception], None],
    ) -> None:  # fmt: skip
        self._outputs, self._mapper, self._config, self._board, self._fail = outputs, mapper, config, board, fail
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="dvlt surfaces", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()

    def _loop(self) -> None:
        while not self._stopping.wait(1 / self._config().output.map_rate_hz):
            try:
                problem = self._outputs.publish(self._mapper.surfaces, self._mapper, self._config())
                self._board.post("grid", Health.unless(problem))
            except Exception as error:
                self._fail(error)


def tiles_of(change: MeshChange) -> dict[int, Mesh]:
    """The meshes of changed tiles, by their key; without triangles: nothing is there any longer."""
    keys = np.fromiter(change.of_block, np.int64, len(change.of_block))
    tiles = keys_of(places_of(keys) // TILE)
    changed = np.unique(tiles if change.changed is None else keys_of(places_of(change.changed) // TILE))
    parts: dict[int, list[Mesh]] = {key: [] for key in changed.tolist()}
    for key, tile in zip(keys.tolist(), tiles.tolist(), strict=True):
        if tile in parts:
            parts[tile].append(change.of_block[key])
    return {tile: Mesh.together(meshes) for tile, meshes in parts.items()}


def is_same(one: Grid, other: Grid) -> bool:
    places = [(grid.cells.shape, grid.origin, grid.resolution) for grid in (one, other)]
    return places[0] == places[1] and bool((one.cells == other.cells).all())
