"""`preempt_node`: a spot market takes a node back, with notice."""

from __future__ import annotations

from typing import ClassVar, Literal

from chaos.cluster import GivesNotice, UndoesEffects
from chaos.events import ClusterSampled, NodeDied, NodeTerminated
from chaos.fault import ActsOn, Effect, Fault, Mainstay, Site
from chaos.harm import EndingNode


class TellsNodes(Fault):
    """Each victim is told that it will end, and is killed when `duration_s` is over unless it has ended by then."""

    needs: ClassVar[tuple[type, ...]] = (GivesNotice, UndoesEffects)
    acts_on: ClassVar[ActsOn] = "nodes"
    fatal_to: ClassVar[tuple[Mainstay, ...]] = ("head",)
    lasts: ClassVar[bool] = True
    effect_within_s: ClassVar[float] = 20.0
    told_by: ClassVar[Literal["drain_notice", "sigterm"]]

    async def inject(self, site: Site) -> None:
        """Tells the victims."""
        assert isinstance(site.cluster, GivesNotice)
        notice_s = site.duration_s or site.lease_s
        for victim in site.victims:
            await site.cluster.give_notice(
                victim,
                EndingNode(told_by=self.told_by, notice_s=notice_s),
                effect_id=site.effect_for(victim),
                lease_s=site.lease_s,
            )

    async def probe(self, site: Site) -> Effect:
        """Asks the history whether the GCS saw each victim drain, or die, since it was told."""
        drained_s: dict[str, float] = {}
        for record, sample in site.history.of(ClusterSampled, since_s=site.injected_s):
            for view in sample.nodes:
                if view.status == "draining":
                    drained_s.setdefault(view.node, record.t_s)
        died_s = {event.node: r.t_s for r, event in site.history.of(NodeDied, since_s=site.injected_s)}
        seen_s = {**died_s, **drained_s}
        if waiting := [victim for victim in site.victims if victim not in seen_s]:
            return Effect(outcome="unknown", detail=f"the GCS has seen {', '.join(waiting)} neither drain nor die")
        drained = [victim for victim in site.victims if victim in drained_s]
        told = f"the GCS saw {', '.join(drained)} drain" if drained else "the GCS saw every victim die, none drain"
        latest_s = max(seen_s[victim] for victim in site.victims) - site.injected_s
        return Effect(outcome="took_effect", detail=told, measured=round(latest_s, 3), unit="s")

    async def probe_healed(self, site: Site) -> Effect:
        """Looks whether each victim has ended: nothing takes such a notice back."""
        ours, _ = await site.active()
        living = {node.node for node in await site.cluster.nodes()}
        if ours or not living.isdisjoint(site.victims):
            return Effect(
                outcome="took_effect", detail="the notice still runs" if ours else "not every victim has ended"
            )
        causes = {event.node: event.cause for _, event in site.history.of(NodeTerminated, since_s=site.injected_s)}
        told = ", ".join(f"{victim} {_HOW[causes[victim]]}" for victim in site.victims if victim in causes)
        return Effect(outcome="no_effect", detail=told or "every victim has ended")


_HOW = {
    "killed": "killed when its time was over",
    "exited": "ended by itself in time",
    "autoscaler": "ended in time, and removed by the autoscaler",
    "down": "ended with its cluster",
}


class PreemptNode(TellsNodes):
    """Each victim gets Ray's drain notice `duration_s` ahead, and is killed then."""

    name: ClassVar[str] = "preempt_node"
    summary: ClassVar[str] = "Ray's drain notice, and SIGKILL to the node at its deadline"
    told_by: ClassVar[Literal["drain_notice", "sigterm"]] = "drain_notice"
