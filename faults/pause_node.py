"""`pause_node`: nodes freeze and thaw, as in a live migration or a hypervisor stall."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from chaos.cluster import PausesNodes, UndoesEffects
from chaos.fault import ActsOn, Effect, Fault, Site


class PauseNode(Fault):
    """Every process of each victim stops being scheduled until healed. Past the GCS's patience it is a death."""

    name: ClassVar[str] = "pause_node"
    summary: ClassVar[str] = "freeze every process on a node, then let it go on"
    needs: ClassVar[tuple[type, ...]] = (PausesNodes, UndoesEffects)
    acts_on: ClassVar[ActsOn] = "nodes"
    lasts: ClassVar[bool] = True
    effect_within_s: ClassVar[float] = 5.0

    async def inject(self, site: Site) -> None:
        """Freezes the victims."""
        assert isinstance(site.cluster, PausesNodes)
        for victim in site.victims:
            await site.cluster.pause_node(victim, effect_id=site.effect_for(victim), lease_s=site.lease_s)

    async def probe(self, site: Site) -> Effect:
        """Reads from the kernel whether the victims' processes are stopped."""
        stopped, processes = await self._count(site, site.victims)
        if processes == 0:
            return Effect(outcome="no_effect", detail="the victims were gone")
        if stopped < processes:
            return Effect(outcome="unknown", detail=f"{stopped} of {processes} processes are stopped")
        return Effect(outcome="took_effect", detail=f"all {processes} processes are stopped", measured=float(stopped))

    async def probe_healed(self, site: Site) -> Effect:
        """Reads from the kernel whether any process of a victim is still stopped that no other injection may hold."""
        ours, others = await site.active()
        stopped, processes = await self._count(site, [node for node in site.victims if not others.explain(node)])
        if ours or stopped:
            return Effect(outcome="took_effect", detail=f"{stopped} of {processes} processes are still stopped")
        return Effect(outcome="no_effect", detail="no process is stopped by us")

    async def _count(self, site: Site, victims: Iterable[str]) -> tuple[int, int]:
        assert isinstance(site.cluster, PausesNodes)
        stopped = processes = 0
        for victim in victims:
            vitals = await site.cluster.vitals(victim)
            if vitals is not None:
                stopped += vitals.stopped
                processes += vitals.processes
        return stopped, processes
