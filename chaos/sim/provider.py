"""Ray's cloud provider over the Cloud itself: the calls that the real node provider makes by HTTP, in virtual time.

As in Ray's `NodeProviderAdapter`, one thread takes the autoscaler's requests in turn and carries out terminations, and
hands launches, in batches, to a few others; what goes wrong is told at the next update. A call that takes too long is
given up by the one who made it, and carried out by the Cloud all the same. The threads of a monitor that hangs make no
calls.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from ray.autoscaler._private.constants import AUTOSCALER_MAX_CONCURRENT_LAUNCHES, AUTOSCALER_MAX_LAUNCH_BATCH
from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig
from ray.autoscaler.v2.instance_manager.node_provider import (
    CloudInstance,
    CloudInstanceProviderError,
    ICloudInstanceProvider,
    LaunchNodeError,
    TerminateNodeError,
)
from ray.core.generated.instance_manager_pb2 import NodeKind

from chaos.clock import wall_s
from chaos.cloud.config import CloudConfig
from chaos.cloud.core import Cloud
from chaos.cloud.ray_start import autoscaling_config
from chaos.cluster_spec import ClusterSpec
from chaos.errors import ClusterError
from chaos.sim.autoscaler import MakesConfig
from chaos.sim.node import Motion
from chaos.sim.ray import HEAD

# The node provider's patience with one call.
CALL_LIMIT_S = 15.0
_LAUNCHERS = math.ceil(AUTOSCALER_MAX_CONCURRENT_LAUNCHES / AUTOSCALER_MAX_LAUNCH_BATCH)
_NS = 1_000_000_000

T = TypeVar("T")


class CloudApi:
    """The Cloud as it is called by Ray: it outlives whoever called it."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self._requests: set[asyncio.Task[Any]] = set()

    async def call(self, request: Callable[[], Awaitable[T]], *, limit_s: float = CALL_LIMIT_S) -> T:
        """What the request returns, once it is admitted.

        Raises:
            ClusterError: it failed, or there was no answer in `limit_s` seconds; then it may be carried out later.
        """

        async def serve() -> T | ClusterError:
            try:
                await self.cloud.answers.admit()
                return await request()
            except ClusterError as error:
                return error

        serving = asyncio.create_task(serve())
        self._requests.add(serving)
        serving.add_done_callback(self._requests.discard)
        await asyncio.wait({serving}, timeout=limit_s)
        if not serving.done():
            raise ClusterError(f"no answer in {limit_s:g} s")
        answer = serving.result()
        if isinstance(answer, ClusterError):
            raise answer
        return answer

    def close(self) -> None:
        """Nothing is carried out any more."""
        for request in self._requests:
            request.cancel()


class CloudProvider(ICloudInstanceProvider):  # type: ignore[misc]
    """What the autoscaler of one cluster launches from."""

    def __init__(self, api: CloudApi, motion: Motion) -> None:
        self._api = api
        self._motion = motion
        self._errors: list[CloudInstanceProviderError] = []
        self._main = _Threads(1, motion)
        self._launchers = _Threads(_LAUNCHERS, motion)
        self._listed: dict[str, CloudInstance] = {}
        self._listed_of: object = None

    async def refresh(self) -> None:
        """Asks for the listing the next update works on.

        Where no harm is in force nothing holds a call up, and it is done without a task of its own, in as many turns of
        the loop: it begins in the next one, and its answer is there in the second after that.

        Raises:
            ClusterError: the Cloud did not answer, or with an error.
        """
        ledger = self._api.cloud.ledger
        if not ledger.effects():
            await asyncio.sleep(0)
        if ledger.effects():
            self._listed, self._listed_of = await self._api.call(self._list), None
            return
        if self._listed_of is not (state := ledger.state()):
            self._listed, self._listed_of = await self._list(), state
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    def get_non_terminated(self) -> dict[str, CloudInstance]:
        """The listing that was last asked for."""
        return dict(self._listed)

    def poll_errors(self) -> list[CloudInstanceProviderError]:
        """What has gone wrong since the last time."""
        errors, self._errors = self._errors, []
        return errors

    def launch(self, shape: dict[str, int], request_id: str) -> None:
        """Asks for instances, in batches."""
        wanted = dict(shape)

        async def hand_on() -> None:
            for node_type, count in wanted.items():
                for first in range(0, count, AUTOSCALER_MAX_LAUNCH_BATCH):
                    self._hand_on(node_type, min(AUTOSCALER_MAX_LAUNCH_BATCH, count - first), request_id)

        self._main.submit(hand_on)

    def terminate(self, ids: list[str], request_id: str) -> None:
        """Asks for the end of instances."""
        ending = list(ids)
        self._main.submit(lambda: self._terminate(ending, request_id))

    def close(self) -> None:
        """Gives up what is under way, as with the process that did it; what the Cloud was asked for, it does."""
        self._main.close()
        self._launchers.close()

    def _hand_on(self, node_type: str, count: int, request_id: str) -> None:
        self._launchers.submit(lambda: self._launch(node_type, count, request_id))

    async def _list(self) -> dict[str, CloudInstance]:
        return {
            item.instance: CloudInstance(
                cloud_instance_id=item.instance,
                node_type=item.tags.get("ray-user-node-type", ""),
                is_running=item.state == "running",
                request_id=item.tags.get("ray-launch-request", ""),
                node_kind=NodeKind.HEAD if item.instance == "head" else NodeKind.WORKER,
            )
            for item in self._api.cloud.answers.listed()
        }

    async def _launch(self, node_type: str, count: int, request_id: str) -> None:
        tags = {
            "ray-node-type": "worker",
            "ray-node-status": "uninitialized",
            "ray-user-node-type": node_type,
            "ray-launch-request": request_id,
        }
        try:
            await self._api.call(lambda: self._api.cloud.launch(node_type, count, tags))
        except ClusterError as error:
            failed = LaunchNodeError(node_type, count, request_id, int(wall_s() * _NS), details=str(error), cause=error)
            self._errors.append(failed)

    async def _terminate(self, ids: list[str], request_id: str) -> None:
        try:
            for instance_id in ids:
                await self._motion.moving()
                await self._api.call(lambda one=instance_id: self._end(one))  # type: ignore[misc]
        except ClusterError as error:
            # As the adapter has it: the first error ends the call, and counts for all of its instances.
            self._errors += [TerminateNodeError(one, request_id, int(wall_s() * _NS), cause=error) for one in ids]

    async def _end(self, instance_id: str) -> None:
        self._api.cloud.answers.check_termination(instance_id)
        await self._api.cloud.terminate(instance_id)


class CloudSource:
    """What a monitor launches from on a cloud of machines: it reads a file, and makes calls in threads."""

    head_type = HEAD

    def __init__(
        self, api: CloudApi, read: Callable[[], ClusterSpec], motion: Motion, *, name: str, make: MakesConfig
    ) -> None:
        self._read = read
        self._name = name
        self._make = make
        self._config: tuple[ClusterSpec, AutoscalingConfig] | None = None
        self.ray = CloudProvider(api, motion)

    async def config(self) -> AutoscalingConfig:
        """As the head of a real cluster is given it."""
        spec = self._read()
        if self._config is None or self._config[0] is not spec:
            config = CloudConfig(cluster=self._name, mark=self._name, driver="process", spec=spec)
            text = autoscaling_config(config, cloud_url="", token_path="")
            self._config = spec, self._make(text, spec.ray_environment)
        return self._config[1]

    async def listed(self) -> dict[str, CloudInstance]:
        """What there is, as the cloud tells.

        Raises:
            ClusterError: the Cloud did not answer, or with an error.
        """
        await self.ray.refresh()
        return self.ray.get_non_terminated()

    async def carried_out(self, update: Callable[[], T]) -> T:
        """What an update returns, which waits for nothing."""
        return update()

    def close(self) -> None:
        """Gives up what is under way."""
        self.ray.close()


class _Threads:
    """What an executor of so many threads does: first come, first served, so many at a time.

    While the process hangs none of them begins anything.
    """

    def __init__(self, count: int, motion: Motion) -> None:
        self._free = count
        self._motion = motion
        self._waiting: deque[Callable[[], Coroutine[Any, Any, None]]] = deque()
        self._busy: set[asyncio.Task[None]] = set()

    def submit(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Has it done when it is its turn."""
        self._waiting.append(work)
        self._go_on()

    def close(self) -> None:
        """Gives up what is under way and what waits."""
        self._waiting.clear()
        for task in self._busy:
            task.cancel()

    def _go_on(self) -> None:
        while self._free and self._waiting:
            self._free -= 1
            task = asyncio.create_task(self._done(self._waiting.popleft()))
            self._busy.add(task)
            task.add_done_callback(self._over)

    async def _done(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        if await self._motion.moving():
            await work()

    def _over(self, task: asyncio.Task[None]) -> None:
        self._busy.discard(task)
        self._free += 1
        self._go_on()
