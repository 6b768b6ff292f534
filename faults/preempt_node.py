"""`preempt_node`: a spot market takes a node back, with notice."""

from __future__ import annotations

from typing import ClassVar, Literal

from chaos.cluster import Cluster, GivesNotice, UndoesEffects
from chaos.errors import InjectionError
from chaos.events import ClusterSampled, NodeDied, NodeStarted, NodeTerminated
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

    async def prepare(self, cluster: Cluster) -> None:
        """Has Ray's client loaded, where the notice goes through it."""
        assert isinstance(cluster, GivesNotice)
        if self.told_by == "drain_notice":
            await cluster.prepare_notice()

    async def inject(self, site: Site) -> None:
        """Tells the victims; one that has gone before is passed over.

        Raises:
            InjectionError: not one of them could be told.
        """
        assert isinstance(site.cluster, GivesNotice)
        notice_s = site.duration_s or site.lease_s
        ending = EndingNode(told_by=self.told_by, notice_s=notice_s)
        refusals = []
        for victim in site.victims:
            try:
                await site.cluster.give_notice(victim, ending, effect_id=site.effect_for(victim), lease_s=site.lease_s)
            except InjectionError as error:
                refusals.append(error)
        if len(refusals) == len(site.victims):
            raise InjectionError("; ".join(str(error) for error in refusals)) from refusals[-1]

    async def probe(self, site: Site) -> Effect:
        """Asks the history whether the GCS saw each victim drain, or die, since it was told.

        One that had gone before is no hit.
        """
        ended_s = {event.node: r.t_s for r, event in site.history.of(NodeTerminated)}
        told = [victim for victim in site.victims if ended_s.get(victim, site.injected_s) >= site.injected_s]
        if not told:
            return Effect(outcome="no_effect", detail=f"every victim had gone before: {', '.join(site.victims)}")
        drained_s: dict[str, float] = {}
        for record, sample in site.history.of(ClusterSampled, since_s=site.injected_s):
            for view in sample.nodes:
                if view.status == "draining":
                    drained_s.setdefault(view.node, record.t_s)
        died_s = {event.node: r.t_s for r, event in site.history.of(NodeDied, since_s=site.injected_s)}
        seen_s = {**died_s, **drained_s}
        if waiting := [victim for victim in told if victim not in seen_s]:
            return Effect(outcome="unknown", detail=f"the GCS has seen {', '.join(waiting)} neither drain nor die")
        drained = [victim for victim in told if victim in drained_s]
        detail = f"the GCS saw {', '.join(drained)} drain" if drained else "the GCS saw every victim die, none drain"
        latest_s = max(seen_s[victim] for victim in told) - site.injected_s
        return Effect(outcome="took_effect", detail=detail, measured=round(latest_s, 3), unit="s")

    async def probe_healed(self, site: Site) -> Effect:
        """Looks whether each victim has ended: nothing takes such a notice back.

        One that was started again since has, whatever ended it; its notice went with it.
        """
        ours, _ = await site.active()
        anew = {event.node for _, event in site.history.of(NodeStarted, since_s=site.injected_s)}
        living = {node.node for node in await site.cluster.nodes()} - anew
        if ours or not living.isdisjoint(site.victims):
            return Effect(
                outcome="took_effect", detail="the notice still runs" if ours else "not every victim has ended"
            )
        causes = {event.node: event.cause for _, event in site.history.of(NodeTerminated, since_s=site.injected_s)}
        how = {**dict.fromkeys(anew, "started again meanwhile"), **{node: _HOW[causes[node]] for node in causes}}
        told = ", ".join(f"{victim} {how[victim]}" for victim in site.victims if victim in how)
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
