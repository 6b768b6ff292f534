"""`press_memory`: memory runs short on a node, as with a leak or a greedy neighbour."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field, model_validator

from chaos.cluster import Gauges, PressesMemory, UndoesEffects
from chaos.cluster_spec import ClusterSpec
from chaos.drawn import Drawn
from chaos.events import Outcome
from chaos.fault import ActsOn, Effect, Fault, Readings, Site
from chaos.harm import MemoryPressure

# How much of what is asked must be there: a page or two may not be resident at the moment of looking.
_ENOUGH = 0.95
# Percentage points of the limit that others may have given back since the size was worked out.
_SLACK_PERCENT = 5.0


class PressMemory(Fault):
    """A process on each victim holds `mb` of memory, or fills the node's memory to `until_percent` of its limit."""

    name: ClassVar[str] = "press_memory"
    summary: ClassVar[str] = "hold memory on a node until it runs short"
    needs: ClassVar[tuple[type, ...]] = (PressesMemory, UndoesEffects)
    acts_on: ClassVar[ActsOn] = "nodes"
    lasts: ClassVar[bool] = True
    effect_within_s: ClassVar[float] = 20.0

    mb: Annotated[int | None, Drawn(most=512)] = Field(default=None, ge=1, le=1_048_576)
    until_percent: Annotated[float | None, Drawn(least=50.0)] = Field(default=None, gt=0.0, le=100.0)

    @classmethod
    def agreed(cls, drawn: Mapping[str, Any]) -> Mapping[str, Any]:
        """One size: that in megabytes, where both were drawn or none."""
        if drawn["mb"] is None and drawn["until_percent"] is not None:
            return drawn
        return {**drawn, "mb": drawn["mb"] or 1, "until_percent": None}

    @model_validator(mode="after")
    def _one_size(self) -> PressMemory:
        if (self.mb is None) == (self.until_percent is None):
            raise ValueError("give either mb, or until_percent of the node's memory limit")
        return self

    def impossible(self, cluster: ClusterSpec, selected: str | None) -> str:  # noqa: ARG002
        """Nodes that are processes have no memory limit of their own."""
        if self.until_percent is not None and cluster.kind == "local":
            return "nodes of a local cluster have no memory limit for until_percent to be of; give mb"
        return ""

    async def measure_before(self, site: Site) -> Readings:
        """How many processes of each victim the kernel has killed for want of memory so far."""
        assert isinstance(site.cluster, PressesMemory)
        read = {victim: await site.cluster.gauges(victim) for victim in site.victims}
        return {(victim,): float(gauges.oom_kills) for victim, gauges in read.items() if gauges is not None}

    async def inject(self, site: Site) -> None:
        """Begins to hold memory on each victim."""
        assert isinstance(site.cluster, PressesMemory)
        pressure = MemoryPressure(mb=self.mb, until_percent=self.until_percent)
        for victim in site.victims:
            await site.cluster.press_memory(victim, pressure, effect_id=site.effect_for(victim), lease_s=site.lease_s)

    async def probe(self, site: Site) -> Effect:
        """Reads from the kernel what is held and how full the node is, and whether it killed anything for that."""
        assert isinstance(site.cluster, PressesMemory)
        seen: list[Effect] = []
        for victim in site.victims:
            gauges = await site.cluster.gauges(victim)
            if gauges is not None:
                seen.append(self._judge(victim, gauges, site.before.get((victim,), 0.0)))
        if not seen:
            return Effect(outcome="no_effect", detail="the victims were gone")
        waiting = [effect for effect in seen if effect.outcome != "took_effect"]
        return waiting[0] if waiting else min(seen, key=lambda effect: effect.measured or 0.0)

    async def probe_healed(self, site: Site) -> Effect:
        """Reads from the kernel whether anything of ours is still held."""
        assert isinstance(site.cluster, PressesMemory)
        ours, others = await site.active()
        for victim in site.victims:
            gauges = await site.cluster.gauges(victim)
            held_mb = 0.0 if gauges is None else gauges.ballast_mb
            if ours or (held_mb and not others.explain(victim, fault=self.name)):
                return Effect(outcome="took_effect", detail=f"{victim} is still pressed", measured=held_mb, unit="MB")
        return Effect(outcome="no_effect", detail="nothing is held any more")

    def _judge(self, victim: str, gauges: Gauges, kills_before: float) -> Effect:
        kills = round(gauges.oom_kills - kills_before)
        detail = f"{victim}: {gauges.ballast_mb:.0f} MB held, {gauges.memory_mb:.0f} MB in use"
        if gauges.memory_limit_mb is not None:
            detail += f" of {gauges.memory_limit_mb:.0f}"
        if kills:
            detail += f"; the kernel killed {kills} of its processes"
        if self.until_percent is not None and gauges.memory_limit_mb is not None:
            percent = round(100.0 * gauges.memory_mb / gauges.memory_limit_mb, 1)
            full = bool(kills) or (gauges.ballast_mb > 0 and percent >= self.until_percent - _SLACK_PERCENT)
            return self._saw("took_effect" if full else "unknown", detail, self.until_percent, percent, "%")
        asked_mb = float(self.mb or 0)
        there = bool(kills) or gauges.ballast_mb >= asked_mb * _ENOUGH
        return self._saw("took_effect" if there else "unknown", detail, asked_mb, gauges.ballast_mb, "MB")

    @staticmethod
    def _saw(outcome: Outcome, detail: str, asked: float, measured: float, unit: str) -> Effect:
        return Effect(outcome=outcome, detail=detail, asked=asked, measured=measured, unit=unit)
