"""The thread in which Ray's autoscaler stops nodes: one call after the other, each until it is answered."""

from __future__ import annotations

import asyncio
import contextlib
from queue import Queue
from typing import Any

from ray.autoscaler.v2.instance_manager.subscribers import ray_stopper
from ray.core.generated.instance_manager_pb2 import Instance, InstanceUpdateEvent, TerminationRequest

from chaos.sim.autoscaler import _Gcs, _Thread
from chaos.sim.loop import run_in_virtual_time


def stop(node_id: str) -> InstanceUpdateEvent:
    """An end for idleness that the autoscaler decided."""
    asked = TerminationRequest(cause=TerminationRequest.Cause.IDLE, ray_node_id=node_id, instance_id=f"row-{node_id}")
    return InstanceUpdateEvent(
        instance_id=f"row-{node_id}", new_instance_status=Instance.RAY_STOP_REQUESTED, termination_request=asked
    )


def test_a_drain_that_is_not_answered_holds_up_the_next_and_a_death_is_its_error(monkeypatch: Any) -> None:
    thread = _Thread(contextlib.nullcontext)
    monkeypatch.setattr(ray_stopper, "ThreadPoolExecutor", lambda **_: thread)
    errors: Queue[Any] = Queue()
    asked: list[str] = []

    async def main() -> None:
        answer: asyncio.Future[bool | None] = asyncio.get_running_loop().create_future()

        async def later() -> bool | None:
            return await answer

        def drain(node_id: str, _: bool) -> bool | asyncio.Task[bool | None]:
            asked.append(node_id)
            return asyncio.create_task(later()) if node_id == "frozen" else node_id != "busy"

        stopper = ray_stopper.RayStopper(gcs_client=_Gcs(drain), error_queue=errors)
        stopper.notify([stop("idle"), stop("frozen"), stop("busy")])
        await asyncio.sleep(60.0)
        assert asked == ["idle", "frozen"]
        assert errors.empty()
        answer.set_result(None)
        await asyncio.sleep(0.1)
        assert asked == ["idle", "frozen", "busy"]
        assert [errors.get().im_instance_id for _ in range(errors.qsize())] == ["row-frozen", "row-busy"]

    run_in_virtual_time(main)
