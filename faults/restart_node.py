"""`restart_node`: a machine crashes and comes back as the one it was."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from chaos.cluster import Cluster, RestartsNodes
from chaos.cluster_spec import ClusterSpec
from chaos.errors import InjectionError
from chaos.events import NodeDied, NodeJoined
from chaos.fault import ActsOn, Effect, Fault, Site


class ComesBack(Fault):
    """Victims that die to Ray, and come back to it as the same instance with a new identity."""

    acts_on: ClassVar[ActsOn] = "nodes"
    lasts: ClassVar[bool] = False
    effect_within_s: ClassVar[float] = 90.0

    def impossible(self, cluster: ClusterSpec, selected: str | None) -> str:  # noqa: ARG002
        """The head does not come back so."""
        return "the head does not come back so; restart_head does that" if selected == "head" else ""

    async def inject(self, site: Site) -> None:
        """Restarts the victims, one after the other.

        Raises:
            InjectionError: not one of them could be restarted.
        """
        refusals = []
        for victim in site.victims:
            try:
                await self.restart(site.cluster, victim)
            except InjectionError as error:
                refusals.append(error)
        if len(refusals) == len(site.victims):
            raise InjectionError("; ".join(str(error) for error in refusals)) from refusals[-1]

    @abstractmethod
    async def restart(self, cluster: Cluster, victim: str) -> None:
        """Restarts one of them.

        Raises:
            InjectionError: it could not be.
        """

    async def probe(self, site: Site) -> Effect:
        """Asks the history whether the GCS saw each victim die, and join again under a new Ray node id."""
        died = {event.node: event.ray_node_id for _, event in site.history.of(NodeDied, since_s=site.injected_s)}
        back_s = {
            event.node: record.t_s
            for record, event in site.history.of(NodeJoined, since_s=site.injected_s)
            if event.ray_node_id != died.get(event.node)
        }
        if waiting := [victim for victim in site.victims if victim not in died]:
            return Effect(outcome="unknown", detail=f"the GCS has not seen {', '.join(waiting)} die")
        if waiting := [victim for victim in site.victims if victim not in back_s]:
            return Effect(outcome="unknown", detail=f"the GCS has not seen {', '.join(waiting)} join again")
        latest_s = max(back_s[victim] for victim in site.victims) - site.injected_s
        told = "the GCS saw every victim die, and join again under a new id"
        return Effect(outcome="took_effect", detail=told, measured=round(latest_s, 3), unit="s")


class RestartNode(ComesBack):
    """SIGKILL to all of each victim, which is then started again: the same instance, with a new identity in Ray."""

    name: ClassVar[str] = "restart_node"
    summary: ClassVar[str] = "SIGKILL to a node, which comes back as the same instance"
    needs: ClassVar[tuple[type, ...]] = (RestartsNodes,)

    async def restart(self, cluster: Cluster, victim: str) -> None:
        """As by a power cut."""
        assert isinstance(cluster, RestartsNodes)
        await cluster.restart_node(victim)
