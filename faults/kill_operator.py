"""`kill_operator`: KubeRay's operator is gone for a while, as when its pod is evicted or it loses its leadership."""

from __future__ import annotations

from typing import ClassVar

from chaos.cluster import UndoesEffects
from chaos.fault import ActsOn, Effect, Fault, Site
from chaos.harm import EndedOperator
from chaos.kuberay import RunsOnKubeRay


class KillOperator(Fault):
    """Nobody acts on the RayCluster for as long as it lasts; the next operator knows only what the API tells it."""

    name: ClassVar[str] = "kill_operator"
    summary: ClassVar[str] = "end KubeRay's operator, and start it again later"
    needs: ClassVar[tuple[type, ...]] = (RunsOnKubeRay, UndoesEffects)
    acts_on: ClassVar[ActsOn] = "cloud"
    lasts: ClassVar[bool] = True
    effect_within_s: ClassVar[float] = 10.0

    async def inject(self, site: Site) -> None:
        """Ends it."""
        assert isinstance(site.cluster, RunsOnKubeRay)
        await site.cluster.fault_kuberay(EndedOperator(), effect_id=site.effect_id, lease_s=site.lease_s)

    async def probe(self, site: Site) -> Effect:
        """Looks whether there is no operator that acts."""
        assert isinstance(site.cluster, RunsOnKubeRay)
        if await site.cluster.operator_is_up():
            return Effect(outcome="unknown", detail="an operator still acts")
        return Effect(outcome="took_effect", detail="there is no operator that acts")

    async def probe_healed(self, site: Site) -> Effect:
        """Looks whether there is an operator again."""
        assert isinstance(site.cluster, RunsOnKubeRay)
        ours, others = await site.active()
        if ours:
            return Effect(outcome="took_effect", detail="still in force")
        if not others.explain(fault=self.name) and not await site.cluster.operator_is_up():
            return Effect(outcome="took_effect", detail="there is no operator yet")
        return Effect(outcome="no_effect", detail="an operator acts again")
