"""`restart_head`: the head dies as by a power cut and comes back at its address, with what its GCS had stored."""

from __future__ import annotations

from typing import ClassVar

from chaos.cluster import RestartsHead
from chaos.events import NodeDied, NodeJoined, NodeTerminated
from chaos.fault import ActsOn, Effect, Fault, Site

_HEAD = "head"


class RestartHead(Fault):
    """The head is killed and started again; the cluster must have storage for its GCS that outlives it."""

    name: ClassVar[str] = "restart_head"
    summary: ClassVar[str] = "the head is killed, and started again with what its GCS had stored"
    needs: ClassVar[tuple[type, ...]] = (RestartsHead,)
    acts_on: ClassVar[ActsOn] = "cluster"
    lasts: ClassVar[bool] = False
    restarts_head: ClassVar[bool] = True
    effect_within_s: ClassVar[float] = 60.0

    async def inject(self, site: Site) -> None:
        """Kills the head and starts it again."""
        assert isinstance(site.cluster, RestartsHead)
        await site.cluster.restart_head()

    async def probe(self, site: Site) -> Effect:
        """Looks for a head that the Cloud saw killed, and that the GCS has since seen join anew."""
        since_s = site.injected_s
        killed = [e for _, e in site.history.of(NodeTerminated, since_s=since_s) if e.node == _HEAD]
        joined_s = [r.t_s for r, e in site.history.of(NodeJoined, since_s=since_s) if e.node == _HEAD]
        if not killed:
            return Effect(outcome="unknown", detail="the head has not ended")
        if not joined_s:
            return Effect(outcome="unknown", detail="the head has ended, and has not joined again")
        lost = {event.node for _, event in site.history.of(NodeDied, since_s=since_s)} - {_HEAD}
        took_s = round(joined_s[0] - since_s, 3)
        detail = f"the head was back after {took_s:.1f} s, {len(lost)} workers were lost"
        return Effect(outcome="took_effect", detail=detail, measured=took_s, unit="s")
