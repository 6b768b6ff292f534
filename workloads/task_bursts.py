"""Bursts of Ray Core tasks: demand with a known profile in time."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Iterator
from typing import ClassVar

from pydantic import Field, model_validator

from chaos.events import Demand, DemandChanged, Resources
from chaos.workload import ModelSite, Stage
from workloads.inference import InferenceWorkload


class TaskBursts(InferenceWorkload):
    """GPU tasks running the same model, as many at a time as the stage says; system failures are retried for ever."""

    name: ClassVar[str] = "task_bursts"
    summary: ClassVar[str] = "Ray Core: bursts of GPU tasks with a demand profile in time"
    driver_module: ClassVar[str] = "workloads.task_bursts_driver"

    stages: tuple[Stage, ...] = Field(
        default=(Stage(tasks=4, batches=32), Stage(tasks=1, batches=8), Stage(tasks=3, batches=15)), min_length=1
    )

    @model_validator(mode="after")
    def _some_rows(self) -> TaskBursts:
        if not any(stage.batches for stage in self.stages):
            raise ValueError("no stage has batches; at least one must")
        return self

    @property
    def rows_total(self) -> int:
        """How many rows the output must hold."""
        return self.batch_rows * sum(stage.batches for stage in self.stages)

    def bundles(self) -> tuple[Resources, ...]:
        """One task; like every Ray task that does not say otherwise, it also asks for a CPU."""
        return ({"CPU": 1.0, "GPU": self.num_gpus},)

    def nodes_wanted(self, bundle_fits_per_node: int) -> int:
        """The nodes that hold the largest stage."""
        return math.ceil(max(max(stage.tasks, stage.request) for stage in self.stages) / max(1, bundle_fits_per_node))

    def wants(self, stage: Stage) -> tuple[Demand, ...]:
        """What is wanted at once while a stage lasts."""
        shape = self.bundles()[0]
        tasks = Demand(shape=shape, count=stage.tasks)
        standing = Demand(shape=shape, count=stage.request, source="request_resources")
        return tuple(demand for demand in (tasks, standing) if demand.count)

    def varied(self, source: random.Random, *, length_s: float) -> TaskBursts:
        """Stages of as many tasks as the largest at most, each followed by a pause; standing requests likewise."""
        most = max(stage.tasks for stage in self.stages)
        most_requested = max(stage.request for stage in self.stages)
        batch_s = max(0.001, self.device_ms_per_batch / 1000.0)
        stages: list[Stage] = []
        spent_s = 0.0
        while spent_s < length_s:
            tasks, rounds = source.randint(1, most), source.randint(1, max(1, round(length_s / batch_s / 4)))
            pause_s = round(source.uniform(1.0, max(2.0, length_s / 4)), 3)
            requests = [source.randint(0, most_requested) if most_requested else 0 for _ in range(2)]
            stages += [
                Stage(tasks=tasks, batches=tasks * rounds, request=requests[0]),
                Stage(tasks=0, pause_s=pause_s, request=requests[1]),
            ]
            spent_s += rounds * batch_s + pause_s
        return self.model_copy(update={"stages": tuple(stages)})

    async def play(self, site: ModelSite) -> None:
        """The stages one after the other, each task retried until its batch is computed."""
        requested, first = 0, 0
        for stage in self.stages:
            site.report(DemandChanged(bundles=self.wants(stage)))
            if stage.request != requested:
                requested = stage.request
                site.request([self.bundles()[0]] * requested)
            if not stage.tasks:
                await site.sleep(stage.pause_s)
                continue
            starts = iter(range(first, first + stage.batches * self.batch_rows, self.batch_rows))
            await asyncio.gather(*(self._play_batches(site, starts) for _ in range(stage.tasks)))
            first += stage.batches * self.batch_rows
        if requested:
            site.request(())
        site.report(DemandChanged(bundles=()))

    async def _play_batches(self, site: ModelSite, starts: Iterator[int]) -> None:
        """One of the tasks at a time: batch after batch, each in a task of its own."""
        for start in starts:
            rows, done = range(start, start + self.batch_rows), False
            while not done:
                place = await site.hold(self.bundles()[0])
                try:
                    done = await place.compute(rows, self.device_ms_per_batch / 1000.0)
                finally:
                    place.let_go()
