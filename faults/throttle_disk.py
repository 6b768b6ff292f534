"""`throttle_disk`: a node's disk becomes slow, as with exhausted burst credit or a busy neighbour on shared storage."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from chaos.cluster import ThrottlesDisks, UndoesEffects
from chaos.drawn import Drawn
from chaos.events import Outcome
from chaos.fault import ActsOn, Effect, Fault, Readings, Site
from chaos.harm import DiskThrottle

_PROBE_S = 0.5
_LEAST_KIB = 256
_MOST_KIB = 65_536
# How much faster than asked a disk may seem while limited, and must have been before for the limit to show.
_TOLERANCE = 1.25
_CLEARLY = 1.5
_UNIT = "MB/s"


class ThrottleDisk(Fault):
    """Each victim reads from its disk, and writes to it, at most `mb_per_s` megabytes (10^6) a second."""

    name: ClassVar[str] = "throttle_disk"
    summary: ClassVar[str] = "limit how fast a node uses its disk"
    needs: ClassVar[tuple[type, ...]] = (ThrottlesDisks, UndoesEffects)
    acts_on: ClassVar[ActsOn] = "nodes"
    lasts: ClassVar[bool] = True
    effect_within_s: ClassVar[float] = 15.0

    mb_per_s: Annotated[float, Drawn(most=100.0, milder="more")] = Field(ge=0.1, le=1000.0)

    async def measure_before(self, site: Site) -> Readings:
        """Megabytes a second that each victim writes; some tenths of a second a victim."""
        return {(victim,): rate for victim, rate in (await self._rates(site)).items()}

    async def inject(self, site: Site) -> None:
        """Limits the victims."""
        assert isinstance(site.cluster, ThrottlesDisks)
        for victim in site.victims:
            await site.cluster.throttle_disk(
                victim, DiskThrottle(mb_per_s=self.mb_per_s), effect_id=site.effect_for(victim), lease_s=site.lease_s
            )

    async def probe(self, site: Site) -> Effect:
        """Writes again, in each victim: that was clearly faster before, and now is not."""
        if not site.before:
            return self._saw("unknown", "there was nothing to measure before")
        slowest = min(site.before, key=site.before.__getitem__)
        if site.before[slowest] < self.mb_per_s * _CLEARLY:
            return self._saw("no_effect", f"{slowest[0]} was not clearly faster before", site.before[slowest])
        rates = await self._rates(site)
        if not rates:
            return self._saw("no_effect", "the victims were gone")
        fastest = max(rates, key=rates.__getitem__)
        limited = rates[fastest] <= self.mb_per_s * _TOLERANCE
        detail = f"{fastest} writes fastest, before {site.before.get((fastest,), 0.0):g} {_UNIT}"
        return self._saw("took_effect" if limited else "no_effect", detail, rates[fastest])

    async def probe_healed(self, site: Site) -> Effect:
        """Writes once more: faster than the limit, unless it never was or another injection still holds the node."""
        ours, others = await site.active()
        if ours:
            return self._saw("took_effect", "still in force")
        rates = await self._rates(site)
        slow = {
            victim: rate
            for victim, rate in rates.items()
            if site.before.get((victim,), 0.0) >= self.mb_per_s * _CLEARLY
            and rate <= self.mb_per_s * _TOLERANCE
            and not others.explain(victim)
        }
        if slow:
            victim = min(slow, key=slow.__getitem__)
            return self._saw("took_effect", f"{victim} is still slow", slow[victim])
        return self._saw("no_effect", "the limit is gone", min(rates.values(), default=None))

    async def _rates(self, site: Site) -> dict[str, float]:
        assert isinstance(site.cluster, ThrottlesDisks)
        kib = max(_LEAST_KIB, min(_MOST_KIB, int(self.mb_per_s * 1e6 / 1024 * _PROBE_S)))
        read = {victim: await site.cluster.measure_disk(victim, transfer_kib=kib) for victim in site.victims}
        return {victim: rate for victim, rate in read.items() if rate is not None}

    def _saw(self, outcome: Outcome, detail: str, mb_per_s: float | None = None) -> Effect:
        measured = None if mb_per_s is None else round(mb_per_s, 2)
        return Effect(outcome=outcome, detail=detail, asked=self.mb_per_s, measured=measured, unit=_UNIT)
