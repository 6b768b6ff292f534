"""Ray's cloud provider over the Cloud itself: the calls that the real node provider makes by HTTP, in virtual time.

As in Ray's `NodeProviderAdapter`, launches and terminations are carried out beside the autoscaler's update, in batches,
and what goes wrong is told at the next one; the listing is asked for before it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from ray.autoscaler._private.constants import AUTOSCALER_MAX_LAUNCH_BATCH
from ray.autoscaler.v2.instance_manager.node_provider import (
    CloudInstance,
    CloudInstanceProviderError,
    ICloudInstanceProvider,
    LaunchNodeError,
    TerminateNodeError,
)
from ray.core.generated.instance_manager_pb2 import NodeKind

from chaos.clock import wall_s
from chaos.cloud.core import Cloud
from chaos.errors import ClusterError

# The node provider's patience with one call, and the engine of its own that carries them out.
CALL_LIMIT_S = 15.0
_NS = 1_000_000_000


class CloudProvider(ICloudInstanceProvider):  # type: ignore[misc]
    """What the autoscaler of one cluster launches from."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._errors: list[CloudInstanceProviderError] = []
        self._calls: set[asyncio.Task[None]] = set()
        self._listed: dict[str, CloudInstance] = {}

    async def refresh(self) -> None:
        """Asks for the listing the next update works on.

        Raises:
            ClusterError: the Cloud did not answer, or with an error.
        """
        await self._admitted()
        self._listed = {
            item.instance: CloudInstance(
                cloud_instance_id=item.instance,
                node_type=item.tags.get("ray-user-node-type", ""),
                is_running=item.state == "running",
                request_id=item.tags.get("ray-launch-request", ""),
                node_kind=NodeKind.HEAD if item.instance == "head" else NodeKind.WORKER,
            )
            for item in self._cloud.answers.listed()
        }

    def get_non_terminated(self) -> dict[str, CloudInstance]:
        """The listing that was last asked for."""
        return dict(self._listed)

    def poll_errors(self) -> list[CloudInstanceProviderError]:
        """What has gone wrong since the last time."""
        errors, self._errors = self._errors, []
        return errors

    def launch(self, shape: dict[str, int], request_id: str) -> None:
        """Asks for instances, in batches."""
        for node_type, count in shape.items():
            for first in range(0, count, AUTOSCALER_MAX_LAUNCH_BATCH):
                batch = min(AUTOSCALER_MAX_LAUNCH_BATCH, count - first)
                self._beside(self._launch(node_type, batch, request_id))

    def terminate(self, ids: list[str], request_id: str) -> None:
        """Asks for the end of instances."""
        self._beside(self._terminate(list(ids), request_id))

    def close(self) -> None:
        """Gives up what is under way, as with the process that did it."""
        for call in self._calls:
            call.cancel()

    async def _launch(self, node_type: str, count: int, request_id: str) -> None:
        tags = {
            "ray-node-type": "worker",
            "ray-node-status": "uninitialized",
            "ray-user-node-type": node_type,
            "ray-launch-request": request_id,
        }
        try:
            await self._admitted()
            await self._cloud.launch(node_type, count, tags)
        except ClusterError as error:
            failed = LaunchNodeError(node_type, count, request_id, int(wall_s() * _NS), details=str(error), cause=error)
            self._errors.append(failed)

    async def _terminate(self, ids: list[str], request_id: str) -> None:
        try:
            for instance_id in ids:
                await self._admitted()
                self._cloud.answers.check_termination(instance_id)
                await self._cloud.terminate(instance_id)
        except ClusterError as error:
            # As the adapter has it: the first error ends the call, and counts for all of its instances.
            self._errors += [TerminateNodeError(one, request_id, int(wall_s() * _NS), cause=error) for one in ids]

    async def _admitted(self) -> None:
        try:
            await asyncio.wait_for(self._cloud.answers.admit(), CALL_LIMIT_S)
        except asyncio.TimeoutError as error:
            raise ClusterError(f"no answer in {CALL_LIMIT_S:g} s") from error

    def _beside(self, call: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(call)
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)
