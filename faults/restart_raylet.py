"""`restart_raylet`: a node's raylet crashes, and whatever keeps the node up starts Ray on it again."""

from __future__ import annotations

import math
from typing import ClassVar

from chaos.cluster import Cluster, RestartsRaylets
from chaos.events import NodeJoined, NodeStarted, NodeTerminated
from chaos.fault import Effect, Site
from faults.restart_node import ComesBack


class RestartRaylet(ComesBack):
    """SIGKILL to each victim's raylet. Ray goes down on the node and comes up again there; the instance runs on."""

    name: ClassVar[str] = "restart_raylet"
    summary: ClassVar[str] = "SIGKILL to a node's raylet, which is started again in place"
    needs: ClassVar[tuple[type, ...]] = (RestartsRaylets,)

    async def restart(self, cluster: Cluster, victim: str) -> None:
        """As by a crash under a supervisor: systemd, or a pod whose container is restarted."""
        assert isinstance(cluster, RestartsRaylets)
        await cluster.restart_raylet(victim)

    async def probe(self, site: Site) -> Effect:
        """Asks the GCS for two identities, one dead and one alive, and the Cloud for one life of the instance.

        What becomes of the instance once it is back, for example that the autoscaler ends it, is Ray's affair.
        """
        if moved := [victim for victim in site.victims if not _in_place(site, victim)]:
            return Effect(outcome="unknown", detail=f"not in place: {', '.join(moved)} ended or started as a whole")
        back = await super().probe(site)
        if back.outcome != "took_effect":
            return back
        return back.model_copy(update={"detail": f"{back.detail}; the instances ran on"})


def _in_place(site: Site, victim: str) -> bool:
    """Whether nothing is known to have moved the instance before the victim was back."""
    history, since_s = site.history, site.injected_s
    ended = [record.t_s for record, event in history.of(NodeTerminated, since_s=since_s) if event.node == victim]
    begun = [record.t_s for record, event in history.of(NodeStarted, since_s=since_s) if event.node == victim]
    back = [record.t_s for record, event in history.of(NodeJoined, since_s=since_s) if event.node == victim]
    return min([*ended, *begun], default=math.inf) >= min(back, default=math.inf)
