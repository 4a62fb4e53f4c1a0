"""The node's services. File operations run on their own thread; the executor goes on meanwhile."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import rclpy.task
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.lifecycle import LifecycleNode
from std_srvs.srv import SetBool, Trigger

from ...errors import ConfigError, DvltError
from ...mapping.data.region import Region
from .parts import Parts
from .status import Condition
from .stream import describe_error

T = TypeVar("T")


class Services:
    """One file operation at a time: each request waits for the one before."""

    def __init__(self, node: LifecycleNode, condition: Callable[[], Condition]) -> None:
        """``condition`` gives the current condition of the node."""
        self._node, self._condition = node, condition
        self._files = ThreadPoolExecutor(1, thread_name_prefix="dvlt files")
        files, resets = MutuallyExclusiveCallbackGroup(), MutuallyExclusiveCallbackGroup()
        # In the node's default group a pending request would block the timers.
        node.create_service(Trigger, "~/save_map", self._on_save_map, callback_group=files)
        node.create_service(Trigger, "~/load_map", self._on_load_map, callback_group=files)
        node.create_service(Trigger, "~/delete_region", self._on_delete_region, callback_group=files)
        node.create_service(Trigger, "~/reset", self._on_reset, callback_group=resets)
        node.create_service(SetBool, "~/pause", self._on_pause)

    def close(self) -> None:
        """Waits for the file operation that is running."""
        self._files.shutdown()

    async def _on_save_map(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        return await self._answer(response, "not saved", self._save())

    async def _on_load_map(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        return await self._answer(response, "not loaded", self._load())

    async def _on_delete_region(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        return await self._answer(response, "nothing deleted", self._delete_region())

    async def _on_reset(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        return await self._answer(response, "not reset", self._reset())

    def _on_pause(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        condition = self._condition()
        response.success, response.message = False, f"the node is {condition.label}"
        if condition.stream is not None:
            condition.stream.paused = request.data
            response.success, response.message = True, "paused" if request.data else "going on"
        return response

    async def _reset(self) -> str:
        """Begins a new map with the next frame."""
        condition = self._condition()
        if condition.stream is None:
            raise ConfigError(f"the node is {condition.label}")
        await self._outcome(condition.stream.restart())
        return "a new map begins"

    async def _save(self) -> str:
        """Saves the maps of this time, even if the node changes its state meanwhile."""
        parts, config = self._parts(), self._condition().settings.node
        maps = config.maps
        newest = await self._outcome(self._files.submit(parts.mapper.save, Path(maps.directory), maps.scene_formats))
        return str(newest)

    async def _load(self) -> str:
        """Loads a saved map; a file that is refused changes nothing."""
        parts, config = self._parts(), self._condition().settings.node
        work = self._files.submit(parts.mapper.open, Path(config.maps.directory), config.maps.file)
        path, saved = await self._outcome(work)
        now = self._condition()
        if now.parts is not parts:
            raise ConfigError(f"the node is {now.label} meanwhile")
        if now.stream is not None:
            await self._outcome(now.stream.load(saved))
        else:  # no stream runs, so it may run on the executor
            parts.mapper.load(saved)
        return f"{path}: {len(saved.stored_submaps)} places, {len(saved.cloud.points)} points"

    async def _delete_region(self) -> str:
        """Deletes maps.region between two windows."""
        parts, condition = self._parts(), self._condition()
        region = Region.parse(condition.settings.node.maps.region, "maps.region")
        if condition.stream is None:
            return parts.mapper.delete_region(region)
        return await self._outcome(condition.stream.delete_region(region))

    def _parts(self) -> Parts:
        condition = self._condition()
        if condition.parts is None:
            raise ConfigError(f"the node is {condition.label}")
        return condition.parts

    async def _answer(
        self, response: Trigger.Response, refusal: str, work: Coroutine[None, None, str]
    ) -> Trigger.Response:
        try:
            response.message, response.success = await work, True
        except DvltError as error:
            response.message = f"{refusal}: {error}"
        except Exception as error:  # the caller gets an answer nevertheless
            response.message = f"{refusal}: {describe_error(error)}"
            self._node.get_logger().error(f"{refusal}: {traceback.format_exc()}")
        return response

    async def _outcome(self, work: Future[T]) -> T:
        """Awaits the result of another thread; the executor goes on meanwhile."""
        done, executor = rclpy.task.Future(), self._node.executor
        done.add_done_callback(lambda _: executor.wake())  # it resumes awaiting callbacks only when it is woken
        work.add_done_callback(lambda _: done.set_result(None))
        await done
        return work.result()
