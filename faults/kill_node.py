"""`kill_node`: nodes end at once, as by a power cut or a spot market that gives no notice."""

from __future__ import annotations

from typing import ClassVar, Literal

from chaos.cluster import KillsNodes
from chaos.events import NodeDied
from chaos.fault import Effect, Fault, Site


class KillNode(Fault):
    """SIGKILL to all of each victim. Shows its effect when the GCS sees every victim dead; cannot be healed."""

    name: ClassVar[str] = "kill_node"
    summary: ClassVar[str] = "SIGKILL to everything on a node"
    needs: ClassVar[tuple[type, ...]] = (KillsNodes,)
    acts_on: ClassVar[Literal["nodes", "launches"]] = "nodes"
    lasts: ClassVar[bool] = False
    effect_within_s: ClassVar[float] = 60.0

    async def inject(self, site: Site) -> None:
        """Kills the victims, one after the other."""
        assert isinstance(site.cluster, KillsNodes)
        for victim in site.victims:
            await site.cluster.kill_node(victim)

    async def probe(self, site: Site) -> Effect:
        """Asks the history which victims the GCS has seen die since."""
        died = {event.node: record.t_s for record, event in site.history.of(NodeDied, since_s=site.injected_s)}
        waiting = [victim for victim in site.victims if victim not in died]
        if waiting:
            return Effect(outcome="unknown", detail=f"the GCS has not seen {', '.join(waiting)} die")
        seen_s = max(died[victim] for victim in site.victims) - site.injected_s
        return Effect(outcome="took_effect", detail="the GCS saw every victim die", measured=round(seen_s, 3), unit="s")
