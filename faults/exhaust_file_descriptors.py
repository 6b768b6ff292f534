"""`exhaust_file_descriptors`: a node's Ray processes can open hardly any more files, as after a leak of connections."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from chaos.cluster import LimitsFiles, UndoesEffects
from chaos.drawn import Drawn
from chaos.events import Outcome
from chaos.fault import ActsOn, Effect, Fault, Readings, Site
from chaos.harm import FileLimit

# Files the raylet may have closed between the lowering and the look.
_CLOSED_SINCE = 16
_UNIT = "files"


class ExhaustFileDescriptors(Fault):
    """Each victim's Ray processes may open `spare` files more than they have open at the injection.

    Processes they start have the same limit as the one that starts them.
    """

    name: ClassVar[str] = "exhaust_file_descriptors"
    summary: ClassVar[str] = "let a node's Ray processes open no more files"
    needs: ClassVar[tuple[type, ...]] = (LimitsFiles, UndoesEffects)
    acts_on: ClassVar[ActsOn] = "nodes"
    lasts: ClassVar[bool] = True
    effect_within_s: ClassVar[float] = 5.0

    spare: Annotated[int, Drawn(most=64, milder="more")] = Field(default=4, ge=0, le=10_000)

    async def measure_before(self, site: Site) -> Readings:
        """How many files each victim's raylet may open."""
        assert isinstance(site.cluster, LimitsFiles)
        read = {victim: await site.cluster.gauges(victim) for victim in site.victims}
        return {
            (victim,): float(gauges.raylet_file_limit)
            for victim, gauges in read.items()
            if gauges is not None and gauges.raylet_file_limit is not None
        }

    async def inject(self, site: Site) -> None:
        """Lowers the limits."""
        assert isinstance(site.cluster, LimitsFiles)
        for victim in site.victims:
            await site.cluster.limit_files(
                victim, FileLimit(spare=self.spare), effect_id=site.effect_for(victim), lease_s=site.lease_s
            )

    async def probe(self, site: Site) -> Effect:
        """Reads from the kernel how many more files each victim's raylet may open."""
        spares: dict[str, int] = {}
        for victim in site.victims:
            limit, opened = await self._raylet(site, victim)
            if limit is None or opened is None:
                continue
            if limit >= site.before.get((victim,), float("inf")):
                return self._saw("no_effect", f"{victim} may still open {limit} files")
            spares[victim] = max(0, limit - opened)
        if not spares:
            return self._saw("no_effect", "the victims were gone")
        most = max(spares, key=spares.__getitem__)
        tight = spares[most] <= self.spare + _CLOSED_SINCE
        return self._saw("took_effect" if tight else "unknown", f"{most}'s raylet has the most to spare", spares[most])

    async def probe_healed(self, site: Site) -> Effect:
        """Reads from the kernel whether each raylet may open as many files as before."""
        ours, others = await site.active()
        for victim in site.victims:
            limit, _ = await self._raylet(site, victim)
            lowered = limit is not None and limit < site.before.get((victim,), 0.0)
            if ours or (lowered and not others.explain(victim, fault=self.name)):
                return self._saw("took_effect", f"{victim}'s raylet may open {limit} files only")
        return self._saw("no_effect", "the limits are what they were")

    async def _raylet(self, site: Site, victim: str) -> tuple[int | None, int | None]:
        assert isinstance(site.cluster, LimitsFiles)
        gauges = await site.cluster.gauges(victim)
        return (None, None) if gauges is None else (gauges.raylet_file_limit, gauges.raylet_files)

    def _saw(self, outcome: Outcome, detail: str, spare: int | None = None) -> Effect:
        measured = None if spare is None else float(spare)
        return Effect(outcome=outcome, detail=detail, asked=float(self.spare), measured=measured, unit=_UNIT)
