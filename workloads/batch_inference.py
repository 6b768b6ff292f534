"""Batch inference with Ray Data: the parameters of the job most people run on autoscaled GPU nodes."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from chaos.drawn import Drawn
from chaos.events import Demand, DemandChanged, Resources
from chaos.workload import ModelSite, ResumableWorkload
from workloads.inference import InferenceWorkload


class BatchInference(InferenceWorkload, ResumableWorkload):
    """Images → CPU preprocessing → a pool of GPU actors → Parquet, as one Ray Data pipeline.

    Where `rows` is a multiple of `batch_rows`, one batch is one task of the pool; else Ray Data gives two to a task.
    The pool begins with `initial_actors` (by default `max_actors`: all nodes are asked for at once) and keeps between
    `min_actors` and `max_actors`. At most `cpu_tasks` tasks preprocess and as many write at one time, each on one CPU;
    without a limit Ray Data asks for ever more CPUs towards the end, and gets nodes for them. `source` is where images
    come from: computed from the row ids, or read from Parquet that the driver writes first. `request_gap_s` is how
    often Ray Data may ask the autoscaler anew (Ray's default: 10), `request_expiry_s` how long a request outlives a
    driver that is killed (Ray's default: 180). With `driver_restarts` above 0 the job keeps a checkpoint of the rows it
    has written, and a driver that is started again computes the others only.
    """

    name: ClassVar[str] = "batch_inference"
    summary: ClassVar[str] = "Ray Data: images → CPU preprocessing → pool of GPU actors → Parquet"
    driver_module: ClassVar[str] = "workloads.batch_inference_driver"

    rows: Annotated[int, Drawn(among=(640, 1280, 2048, 4096))] = Field(default=2048, ge=1)
    min_actors: int = Field(default=1, ge=1)
    max_actors: Annotated[int, Drawn(among=(2, 1, 4, 6))] = Field(default=4, ge=1)
    initial_actors: int | None = Field(default=None, ge=1)
    cpu_tasks: int = Field(default=2, ge=1)
    source: Literal["generated", "parquet"] = "generated"
    request_gap_s: int = Field(default=2, ge=1)
    request_expiry_s: int = Field(default=15, ge=2)

    @model_validator(mode="after")
    def _ordered(self) -> BatchInference:
        if self.min_actors > self.max_actors:
            raise ValueError(f"min_actors {self.min_actors} is above max_actors {self.max_actors}")
        if not self.min_actors <= self.actors_at_start <= self.max_actors:
            raise ValueError(
                f"initial_actors {self.initial_actors} is not between min_actors {self.min_actors} "
                f"and max_actors {self.max_actors}"
            )
        if self.request_expiry_s <= self.request_gap_s:
            raise ValueError(
                f"request_expiry_s {self.request_expiry_s} must be above request_gap_s {self.request_gap_s}, "
                "or requests lapse between renewals"
            )
        return self

    @property
    def rows_total(self) -> int:
        """How many rows the output must hold."""
        return self.rows

    @property
    def actors_at_start(self) -> int:
        """How many actors the pool begins with."""
        return self.max_actors if self.initial_actors is None else self.initial_actors

    def bundles(self) -> tuple[Resources, ...]:
        """One GPU actor; one CPU task of preprocessing or writing."""
        return ({"GPU": self.num_gpus}, {"CPU": 1.0})

    def nodes_wanted(self, bundle_fits_per_node: int) -> int:
        """The nodes that hold the whole pool, or as much of it as there are batches for."""
        actors = max(self.min_actors, min(self.max_actors, math.ceil(self.rows / self.batch_rows)))
        return math.ceil(actors / max(1, bundle_fits_per_node))

    def environment(self) -> dict[str, str]:
        """Ray Data's knobs, which it reads once, when it is imported."""
        return {
            "RAY_DATA_MIN_GAP_BETWEEN_AUTOSCALING_REQUESTS": str(self.request_gap_s),
            "RAY_DATA_AUTOSCALING_REQUEST_EXPIRE_TIME_S": str(self.request_expiry_s),
            "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
        }

    async def play(self, site: ModelSite) -> None:
        """A pool of actors over one queue of batches; of an actor that is lost, the batch is computed by another.

        Meanwhile Ray Data asks the autoscaler for the room that the pool and one task beside it take, again and again.
        """
        batches = (
            range(first, min(first + self.batch_rows, self.rows)) for first in range(0, self.rows, self.batch_rows)
        )
        done = site.computed()
        waiting = deque(batch for batch in batches if not done.issuperset(batch))
        actors = min(self.actors_at_start, len(waiting))
        bundle, task = self.bundles()
        site.report(DemandChanged(bundles=(Demand(shape=bundle, count=actors),)))
        asking = asyncio.create_task(self._play_requests(site, [bundle] * actors + [task]))
        try:
            await asyncio.gather(*(self._play_actor(site, bundle, waiting) for _ in range(actors)))
        finally:
            asking.cancel()
            site.withdraw()
        site.report(DemandChanged(bundles=()))

    async def _play_requests(self, site: ModelSite, bundles: list[Resources]) -> None:
        while True:
            await site.sleep(self.request_gap_s)
            site.ask(bundles, expire_after_s=self.request_expiry_s)

    async def _play_actor(self, site: ModelSite, bundle: Resources, waiting: deque[range]) -> None:
        while waiting:
            place = await site.hold(bundle)
            try:
                while waiting:
                    batch = waiting.popleft()
                    if not await place.compute(batch, self.device_ms_per_batch / 1000.0):
                        waiting.appendleft(batch)
                        break
            finally:
                place.let_go()
