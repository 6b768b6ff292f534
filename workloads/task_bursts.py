"""Bursts of Ray Core tasks: demand with a known profile in time."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator
from typing import ClassVar

from pydantic import Field, model_validator

from chaos.events import Demand, DemandChanged, Resources
from chaos.value import Value
from chaos.workload import ModelSite
from workloads.inference import InferenceWorkload


class Stage(Value):
    """A stretch of the profile: `batches` tasks, `tasks` of them at a time; or none for `pause_s` seconds."""

    tasks: int = Field(ge=0)
    batches: int = Field(default=0, ge=0)
    pause_s: float = Field(default=0.0, ge=0.0)

    @model_validator(mode="after")
    def _one_kind(self) -> Stage:
        if self.tasks == 0 and (self.batches or not self.pause_s):
            raise ValueError("a stage without tasks is a pause: it needs pause_s, and no batches")
        if self.tasks and (self.pause_s or self.batches < self.tasks):
            raise ValueError(f"a stage of {self.tasks} tasks at a time needs at least as many batches, and no pause_s")
        return self


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
        return math.ceil(max(stage.tasks for stage in self.stages) / max(1, bundle_fits_per_node))

    async def play(self, site: ModelSite) -> None:
        """The stages one after the other, each task retried until its batch is computed."""
        shape, first = self.bundles()[0], 0
        for stage in self.stages:
            site.report(DemandChanged(bundles=(Demand(shape=shape, count=stage.tasks),) if stage.tasks else ()))
            if not stage.tasks:
                await site.sleep(stage.pause_s)
                continue
            starts = iter(range(first, first + stage.batches * self.batch_rows, self.batch_rows))
            await asyncio.gather(*(self._play_batches(site, starts) for _ in range(stage.tasks)))
            first += stage.batches * self.batch_rows
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
