"""`vanish_node`: the cloud has lost an instance that runs, as after a failure of its own books."""

from __future__ import annotations

from typing import ClassVar

from chaos.cluster import FaultsAnswers, UndoesEffects
from chaos.events import ClusterSampled
from chaos.fault import ActsOn, Effect, Fault, Mainstay, Site
from chaos.harm import Omission


class VanishNode(Fault):
    """The API lists the victims no more and says that they do not exist, while they run; at the healing they end."""

    name: ClassVar[str] = "vanish_node"
    summary: ClassVar[str] = "the cloud has lost an instance that Ray still sees"
    needs: ClassVar[tuple[type, ...]] = (FaultsAnswers, UndoesEffects)
    acts_on: ClassVar[ActsOn] = "nodes"
    fatal_to: ClassVar[tuple[Mainstay, ...]] = ("head",)
    lasts: ClassVar[bool] = True
    effect_within_s: ClassVar[float] = 15.0

    async def inject(self, site: Site) -> None:
        """Tells the Cloud to lose the victims."""
        assert isinstance(site.cluster, FaultsAnswers)
        for victim in site.victims:
            effect_id = site.effect_for(victim)
            await site.cluster.fault_answers(
                Omission(lost=True), node=victim, effect_id=effect_id, lease_s=site.lease_s
            )

    async def probe(self, site: Site) -> Effect:
        """Looks whether the autoscaler was given listings without a victim that the GCS still sees."""
        missing = site.answered_wrong("omitted")
        if not missing:
            return Effect(outcome="unknown", detail="the autoscaler has not asked for a listing yet")
        sample = site.history.last(ClusterSampled)
        seen = {view.node for view in sample[1].nodes} & set(site.victims) if sample is not None else set()
        if not seen:
            return Effect(
                outcome="unknown", detail=f"missing from {missing} listings, but the GCS does not see it either"
            )
        detail = f"missing from {missing} listings, while the GCS saw {', '.join(sorted(seen))}"
        return Effect(outcome="took_effect", detail=detail, measured=float(missing))

    async def probe_healed(self, site: Site) -> Effect:
        """Looks whether the effect is undone, and the victims no longer run."""
        healed = await super().probe_healed(site)
        running = sorted(node.node for node in await site.cluster.nodes() if node.node in site.victims)
        if healed.outcome == "no_effect" and running:
            return Effect(outcome="took_effect", detail=f"{', '.join(running)} still there")
        return healed
