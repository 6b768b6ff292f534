"""Waves of placement groups: demand that is met as a whole or not at all."""

from __future__ import annotations

import asyncio
import math
from typing import Annotated, ClassVar

from pydantic import Field

from chaos.drawn import Drawn
from chaos.events import Demand, DemandChanged, Resources
from chaos.workload import ModelGang, ModelSite, Strategy
from workloads.inference import InferenceWorkload


class GangBursts(InferenceWorkload):
    """`waves` of `gangs` placement groups at a time, of `gang_size` bundles each, placed by Ray's `strategy`.

    Once a group has its room, each of its bundles computes `batches` batches, one after the other, in tasks bound to
    it; a task whose node dies is repeated, as soon as the group has its bundle back. A group is removed when all of its
    batches are computed, so that one after the other gets its room where there is not enough for all; `pause_s` seconds
    after the last of a wave the next wave begins.
    """

    name: ClassVar[str] = "gang_bursts"
    summary: ClassVar[str] = "Ray Core: waves of placement groups, each met as a whole or not at all"
    driver_module: ClassVar[str] = "workloads.gang_bursts_driver"

    waves: Annotated[int, Drawn(among=(1, 2, 3))] = Field(default=2, ge=1)
    gangs: Annotated[int, Drawn(among=(1, 2))] = Field(default=1, ge=1)
    gang_size: Annotated[int, Drawn(among=(2, 1))] = Field(default=2, ge=1)
    strategy: Annotated[Strategy, Drawn(among=("PACK", "SPREAD", "STRICT_SPREAD"))] = "STRICT_SPREAD"
    batches: Annotated[int, Drawn(among=(4, 8, 16))] = Field(default=8, ge=1)
    pause_s: Annotated[float, Drawn(among=(2.0, 10.0))] = Field(default=2.0, ge=0.0)

    @property
    def rows_total(self) -> int:
        """How many rows the output must hold."""
        return self.waves * self.gangs * self.gang_size * self.batches * self.batch_rows

    @property
    def bundle(self) -> Resources:
        """What one bundle of a group is."""
        return {"CPU": 1.0, "GPU": self.num_gpus}

    def bundles(self) -> tuple[Resources, ...]:
        """One bundle, or all of a group where they are to be on one node."""
        count = self.gang_size if self.strategy == "STRICT_PACK" else 1
        return ({name: amount * count for name, amount in self.bundle.items()},)

    @property
    def together(self) -> int:
        """All bundles of one group."""
        return 1 if self.strategy == "STRICT_PACK" else self.gang_size

    @property
    def apart(self) -> bool:
        """Only strictly."""
        return self.strategy == "STRICT_SPREAD"

    def nodes_wanted(self, bundle_fits_per_node: int) -> int:
        """The nodes that hold all groups of a wave."""
        fits = max(1, bundle_fits_per_node)
        if self.strategy == "STRICT_PACK":
            return math.ceil(self.gangs / fits)
        least = self.gang_size if self.strategy == "STRICT_SPREAD" else 1
        return max(least, math.ceil(self.gangs * self.gang_size / fits))

    def wants(self, gangs: int) -> tuple[Demand, ...]:
        """What so many groups want at once: each by itself."""
        shape = self.bundles()[0]
        return (Demand(shape=shape, count=self.together, source="placement_group", apart=self.apart),) * gangs

    def starts(self, wave: int, gang: int, bundle: int) -> range:
        """The first row of each batch of one bundle."""
        place = (wave * self.gangs + gang) * self.gang_size + bundle
        first = place * self.batches * self.batch_rows
        return range(first, first + self.batches * self.batch_rows, self.batch_rows)

    async def play(self, site: ModelSite) -> None:
        """The waves one after the other, each batch repeated until it is computed."""
        for wave in range(self.waves):
            if wave:
                await site.sleep(self.pause_s)
            site.report(DemandChanged(bundles=self.wants(self.gangs)))
            bundles = [self.bundle] * self.gang_size
            gangs = {number: site.gather(bundles, self.strategy) for number in range(self.gangs)}
            try:
                await asyncio.gather(*(self._play_gang(site, wave, number, gangs) for number in list(gangs)))
            finally:
                for gang in gangs.values():
                    gang.let_go()

    async def _play_gang(self, site: ModelSite, wave: int, number: int, left: dict[int, ModelGang]) -> None:
        """One of the groups that are left; it is none of them any more when its batches are computed."""
        gang = left[number]
        bundles = range(self.gang_size)
        await asyncio.gather(*(self._play_bundle(gang, each, self.starts(wave, number, each)) for each in bundles))
        left.pop(number).let_go()
        site.report(DemandChanged(bundles=self.wants(len(left))))

    async def _play_bundle(self, gang: ModelGang, bundle: int, starts: range) -> None:
        for start in starts:
            rows = range(start, start + self.batch_rows)
            while not await gang.compute(bundle, rows, self.device_ms_per_batch / 1000.0):
                pass
