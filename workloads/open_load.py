"""Tasks on demand: as many as it is told to run, while it runs."""

from __future__ import annotations

import asyncio
from typing import ClassVar

from pydantic import Field

from chaos.events import Demand, DemandChanged, Resources
from chaos.workload import ModelSite, SteppedWorkload
from workloads.inference import InferenceWorkload

POLL_S = 0.25


class OpenLoad(InferenceWorkload, SteppedWorkload):
    """GPU tasks running the model, as `chaos.workload.Load` says; at the end one task computes all rows that are left.

    There are `batches_limit` batches; what is told beyond them is not done.
    """

    name: ClassVar[str] = "open_load"
    summary: ClassVar[str] = "Ray Core: GPU tasks on demand, step by step; for state machines"
    driver_module: ClassVar[str] = "workloads.open_load_driver"

    batch_rows: int = Field(default=4, ge=1, le=65536)
    batches_limit: int = Field(default=64, ge=1)
    tasks_limit: int = Field(default=4, ge=1)

    @property
    def rows_total(self) -> int:
        """How many rows the output must hold."""
        return self.batch_rows * self.batches_limit

    def bundles(self) -> tuple[Resources, ...]:
        """One task."""
        return ({"CPU": 1.0, "GPU": self.num_gpus},)

    def nodes_wanted(self, bundle_fits_per_node: int) -> int:
        """The nodes that hold as many tasks as may run at a time."""
        return -(-self.tasks_limit // max(1, bundle_fits_per_node))

    async def play(self, site: ModelSite) -> None:
        """Looks what it is told, and keeps so many tasks waiting or running; each is retried until it has computed."""
        shape, next_batch, wanted = self.bundles()[0], 0, -1
        running: set[asyncio.Task[None]] = set()
        while not (load := site.load()).ended:
            running = {task for task in running if not task.done()}
            tasks, batches = min(load.tasks, self.tasks_limit), min(load.batches, self.batches_limit)
            asked = min(tasks, len(running) + max(0, batches - next_batch))
            if asked != wanted:
                wanted = asked
                site.report(DemandChanged(bundles=(Demand(shape=shape, count=asked),) if asked else ()))
            while len(running) < tasks and next_batch < batches:
                running.add(asyncio.create_task(self._play_rows(site, next_batch, next_batch + 1)))
                next_batch += 1
            await site.sleep(POLL_S)
        await asyncio.gather(*running)
        if next_batch < self.batches_limit:
            site.report(DemandChanged(bundles=(Demand(shape=shape, count=1),)))
            await self._play_rows(site, next_batch, self.batches_limit)
        site.report(DemandChanged(bundles=()))

    async def _play_rows(self, site: ModelSite, first: int, end: int) -> None:
        rows, done = range(first * self.batch_rows, end * self.batch_rows), False
        while not done:
            place = await site.hold(self.bundles()[0])
            try:
                done = await place.compute(rows, self.device_ms_per_batch / 1000.0)
            finally:
                place.let_go()
