"""`lose_launch_reply`: the cloud launches, and its caller is told that the call timed out."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from chaos.cluster import FaultsLaunches, UndoesEffects
from chaos.events import NodeStarted
from chaos.fault import ActsOn, Effect, Fault, Site
from chaos.harm import LostReply
from faults.fail_launch import noticed

_WORDS = "RequestTimeout: the request timed out"


class LoseLaunchReply(Fault):
    """Launch requests are carried out and answered with a timeout: the first `requests` of them, where given."""

    name: ClassVar[str] = "lose_launch_reply"
    summary: ClassVar[str] = "the cloud launches, and says that it did not"
    needs: ClassVar[tuple[type, ...]] = (FaultsLaunches, UndoesEffects)
    acts_on: ClassVar[ActsOn] = "launches"
    lasts: ClassVar[bool] = True
    effect_within_s: ClassVar[float] = 30.0

    requests: int | None = Field(default=None, ge=1)
    node_type: str | None = None

    async def inject(self, site: Site) -> None:
        """Tells the Cloud to lose its replies."""
        assert isinstance(site.cluster, FaultsLaunches)
        harm = LostReply(node_type=self.node_type, requests=self.requests, error=_WORDS)
        await site.cluster.fault_launches(harm, effect_id=site.effect_id, lease_s=site.lease_s)

    async def probe(self, site: Site) -> Effect:
        """Looks whether a reply was lost, instances began all the same, and the autoscaler saw a failure."""
        lost = site.answered_wrong("reply_lost")
        if not lost:
            return Effect(outcome="unknown", detail="no launch was asked for while in force")
        began = len(site.history.of(NodeStarted, since_s=site.injected_s))
        if not began:
            return Effect(outcome="unknown", detail=f"{lost} replies lost, but no instance has begun")
        if not noticed(site):
            return Effect(outcome="unknown", detail=f"{lost} replies lost, but the autoscaler has not said so")
        detail = f"the autoscaler took {lost} requests for failed; {began} instances began"
        return Effect(outcome="took_effect", detail=detail, measured=float(lost))
