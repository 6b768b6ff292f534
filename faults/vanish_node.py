"""`vanish_node`: the cloud has lost an instance that runs, as after a failure of its own books."""

from __future__ import annotations

from typing import ClassVar

from chaos.cluster import FaultsAnswers, UndoesEffects
from chaos.errors import InjectionError
from chaos.events import NodeTerminated
from chaos.fault import ActsOn, Effect, Fault, Mainstay, Site
from chaos.harm import Omission
from faults.omit_from_listing import omitted_since_s, samples_around


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
        """Tells the Cloud to lose the victims; one that has gone before is passed over.

        Raises:
            InjectionError: not one of them could be lost.
        """
        assert isinstance(site.cluster, FaultsAnswers)
        refusals = []
        for victim in site.victims:
            effect_id = site.effect_for(victim)
            try:
                await site.cluster.fault_answers(
                    Omission(lost=True), node=victim, effect_id=effect_id, lease_s=site.lease_s
                )
            except InjectionError as error:
                refusals.append(error)
        if len(refusals) == len(site.victims):
            raise InjectionError("; ".join(str(error) for error in refusals)) from refusals[-1]

    async def probe(self, site: Site) -> Effect:
        """Looks whether the autoscaler was given listings without each victim, which the GCS still saw.

        One that had gone before is no hit.
        """
        ended_s = {event.node: r.t_s for r, event in site.history.of(NodeTerminated)}
        lost = [victim for victim in site.victims if ended_s.get(victim, site.injected_s) >= site.injected_s]
        if not lost:
            return Effect(outcome="no_effect", detail=f"every victim had gone before: {', '.join(site.victims)}")
        since_s = omitted_since_s(site)
        if waiting := [victim for victim in lost if victim not in since_s]:
            return Effect(outcome="unknown", detail=f"no listing was asked for yet without {', '.join(waiting)}")
        missing = site.answered_wrong("omitted")
        unseen = [victim for victim in lost if not _seen(site, victim, since_s[victim])]
        if unseen:
            detail = f"missing from {missing} listings, but the GCS does not see {', '.join(unseen)} either"
            return Effect(outcome="unknown", detail=detail)
        detail = f"missing from {missing} listings, while the GCS saw {', '.join(lost)}"
        return Effect(outcome="took_effect", detail=detail, measured=float(missing))

    async def probe_healed(self, site: Site) -> Effect:
        """Looks whether the effect is undone, and the victims no longer run."""
        healed = await super().probe_healed(site)
        running = sorted(node.node for node in await site.cluster.nodes() if node.node in site.victims)
        if healed.outcome == "no_effect" and running:
            return Effect(outcome="took_effect", detail=f"{', '.join(running)} still there")
        return healed


def _seen(site: Site, victim: str, since_s: float) -> bool:
    return any(view.node == victim for sample in samples_around(site, since_s) for view in sample.nodes)
