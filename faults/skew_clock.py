"""`skew_clock`: a node's time of day is wrong, as with a broken NTP client, or after a resume without one."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field, field_validator

from chaos.cluster import Gauges, SkewsClocks, UndoesEffects
from chaos.cluster_spec import ClusterSpec
from chaos.drawn import Drawn
from chaos.events import Outcome
from chaos.fault import ActsOn, Effect, Fault, Readings, Site
from chaos.harm import ClockSkew

_LEAST_S = 1.0
_TOLERANCE_S = 0.25
_UNIT = "s"

_SKEWS_S = (60.0, -60.0, 600.0, -600.0, 3600.0, -3600.0, 86_400.0, -86_400.0)


class SkewClock(Fault):
    """Each victim's time of day jumps by `offset_s` seconds, and jumps back. Durations are measured as before."""

    name: ClassVar[str] = "skew_clock"
    summary: ClassVar[str] = "move a node's time of day, ahead or back"
    needs: ClassVar[tuple[type, ...]] = (SkewsClocks, UndoesEffects)
    acts_on: ClassVar[ActsOn] = "nodes"
    lasts: ClassVar[bool] = True
    effect_within_s: ClassVar[float] = 5.0

    offset_s: Annotated[float, Drawn(among=_SKEWS_S)] = Field(ge=-86_400.0, le=86_400.0)

    @field_validator("offset_s")
    @classmethod
    def _enough_to_show(cls, offset_s: float) -> float:
        if abs(offset_s) < _LEAST_S:
            raise ValueError(f"offset_s is {offset_s:g}: ahead or back, it must be {_LEAST_S:g} s or more")
        return offset_s

    def impossible(self, cluster: ClusterSpec, selected: str | None) -> str:
        """There is nothing to move on the head, or where no type of node has a clock of its own."""
        if selected == "head":
            return "the head has no clock of its own; target workers"
        if not any(kind.own_clock for kind in cluster.node_types.values()):
            return "no node type has a clock of its own; give one own_clock: true"
        return ""

    async def measure_before(self, site: Site) -> Readings:
        """How far each victim's clock is off already, in seconds."""
        return {(victim,): offset_s for victim, offset_s in _offsets(await self._gauges(site)).items()}

    async def inject(self, site: Site) -> None:
        """Moves each victim's clock."""
        assert isinstance(site.cluster, SkewsClocks)
        for victim in site.victims:
            await site.cluster.skew_clock(
                victim, ClockSkew(offset_s=self.offset_s), effect_id=site.effect_for(victim), lease_s=site.lease_s
            )

    async def probe(self, site: Site) -> Effect:
        """Reads each victim's clock as its raylet does: it has jumped by as much as was asked."""
        jumps = {
            victim: offset_s - site.before[victim,]
            for victim, offset_s in _offsets(await self._gauges(site)).items()
            if (victim,) in site.before
        }
        if not jumps:
            return self._saw("unknown", "no victim's clock could be read")
        worst = max(jumps, key=lambda victim: abs(jumps[victim] - self.offset_s))
        moved = abs(jumps[worst] - self.offset_s) <= _TOLERANCE_S
        return self._saw("took_effect" if moved else "unknown", f"the clock of {worst} jumped", jumps[worst])

    async def probe_healed(self, site: Site) -> Effect:
        """Reads each victim's clock again: it is right, unless another injection of this fault moves it."""
        ours, others = await site.active()
        if ours:
            return self._saw("took_effect", "still in force")
        read = await self._gauges(site)
        if not read:
            return self._saw("no_effect", "no victim is left")
        offsets = _offsets(read)
        unread = sorted(read.keys() - offsets.keys())
        if unread:
            return self._saw("unknown", f"the clock of {unread[0]} could not be read")
        by_offset = sorted(offsets, key=lambda victim: abs(offsets[victim]), reverse=True)
        wrong = [victim for victim in by_offset if abs(offsets[victim]) > _TOLERANCE_S]
        for victim in wrong:
            if not others.explain(victim, fault=self.name):
                return self._saw("took_effect", f"the clock of {victim} is still wrong", offsets[victim])
        worst = by_offset[0]
        seen = f"the clock of {worst} is off, as another injection may want" if wrong else "the clocks are right again"
        return self._saw("no_effect", seen, offsets[worst])

    async def _gauges(self, site: Site) -> dict[str, Gauges]:
        """Those of the victims that are still there."""
        assert isinstance(site.cluster, SkewsClocks)
        read = {victim: await site.cluster.gauges(victim) for victim in site.victims}
        return {victim: gauges for victim, gauges in read.items() if gauges is not None}

    def _saw(self, outcome: Outcome, detail: str, measured_s: float | None = None) -> Effect:
        measured = None if measured_s is None else round(measured_s, 3)
        return Effect(outcome=outcome, detail=detail, asked=self.offset_s, measured=measured, unit=_UNIT)


def _offsets(read: dict[str, Gauges]) -> dict[str, float]:
    """How far each victim's clock is off, where that could be read, in seconds."""
    return {victim: gauges.clock_offset_s for victim, gauges in read.items() if gauges.clock_offset_s is not None}
