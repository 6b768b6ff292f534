"""`kill_node`: nodes end at once, as by a power cut or a spot market that gives no notice."""

from __future__ import annotations

from typing import ClassVar

from chaos.cluster import KillsNodes
from chaos.errors import InjectionError
from chaos.events import ClusterSampled, NodeDied, NodeTerminated
from chaos.fault import ActsOn, Effect, Fault, Mainstay, Site


class KillNode(Fault):
    """SIGKILL to all of each victim. Shows its effect when the GCS sees every one dead; cannot be healed.

    A victim that has gone before it is killed is no hit; the others are killed all the same. The head is seen to be
    dead when the GCS, which goes with it, no longer answers.
    """

    name: ClassVar[str] = "kill_node"
    summary: ClassVar[str] = "SIGKILL to everything on a node"
    needs: ClassVar[tuple[type, ...]] = (KillsNodes,)
    acts_on: ClassVar[ActsOn] = "nodes"
    lasts: ClassVar[bool] = False
    effect_within_s: ClassVar[float] = 60.0
    fatal_to: ClassVar[tuple[Mainstay, ...]] = ("head", "driver")

    async def inject(self, site: Site) -> None:
        """Kills the victims, one after the other.

        Raises:
            InjectionError: not one of them could be killed.
        """
        assert isinstance(site.cluster, KillsNodes)
        refusals = []
        for victim in site.victims:
            try:
                await site.cluster.kill_node(victim)
            except InjectionError as error:
                refusals.append(error)
        if len(refusals) == len(site.victims):
            raise InjectionError("; ".join(str(error) for error in refusals)) from refusals[-1]

    async def probe(self, site: Site) -> Effect:
        """Asks the history how each victim ended, and when the GCS saw it die."""
        ended = {event.node: (record.t_s, event.cause) for record, event in site.history.of(NodeTerminated)}
        died_s = {event.node: record.t_s for record, event in site.history.of(NodeDied)}
        if (silent_s := _silent_s(site)) is not None:
            died_s["head"] = silent_s
        gone = [victim for victim in site.victims if _gone_before(site, ended.get(victim), died_s.get(victim))]
        hit = [victim for victim in site.victims if victim not in gone]
        others = f"; {', '.join(gone)} had gone before" if gone else ""
        if not hit:
            return Effect(outcome="no_effect", detail=f"every victim had gone before: {', '.join(gone)}")
        if waiting := [victim for victim in hit if victim not in died_s]:
            return Effect(outcome="unknown", detail=f"the GCS has not seen {', '.join(waiting)} die{others}")
        if waiting := [victim for victim in hit if victim not in ended]:
            return Effect(outcome="unknown", detail=f"the Cloud has not said how {', '.join(waiting)} ended{others}")
        seen_s = max(died_s[victim] for victim in hit) - site.injected_s
        told = f"the GCS saw {', '.join(hit)} die{others}" if gone else "the GCS saw every victim die"
        if hit == ["head"]:
            told = "the GCS went with it"
        return Effect(outcome="took_effect", detail=told, measured=round(seen_s, 3), unit="s")


def _silent_s(site: Site) -> float | None:
    """When the GCS first gave no answer after the injection."""
    samples = site.history.of(ClusterSampled, since_s=site.injected_s)
    return next((record.t_s for record, sample in samples if not sample.reachable), None)


def _gone_before(site: Site, ended: tuple[float, str] | None, died_s: float | None) -> bool:
    """Whether a victim ended before the injection, or then but not by being killed."""
    if died_s is not None and died_s < site.injected_s:
        return True
    return ended is not None and (ended[0] < site.injected_s or ended[1] != "killed")
