"""`partial_launch`: of a request for several instances some are launched, and the rest is refused."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from chaos.cluster import FaultsLaunches, UndoesEffects
from chaos.drawn import Drawn
from chaos.events import NodeLaunchFailed, NodeLaunching
from chaos.fault import ActsOn, Effect, Fault, Site
from chaos.harm import PartialLaunch as PartialLaunches
from faults.fail_launch import noticed, pods_wait

_WORDS = "InsufficientInstanceCapacity: the request could be filled in part only"


class PartialLaunch(Fault):
    """Of each request a `share` (rounded up), and at most `at_most` instances, are launched; the rest is refused."""

    name: ClassVar[str] = "partial_launch"
    summary: ClassVar[str] = "the cloud fills a request in part"
    needs: ClassVar[tuple[type, ...]] = (FaultsLaunches, UndoesEffects)
    acts_on: ClassVar[ActsOn] = "launches"
    lasts: ClassVar[bool] = True
    effect_within_s: ClassVar[float] = 30.0

    share: Annotated[float, Drawn(least=0.1, most=0.9, milder="more")] = Field(default=0.5, gt=0.0, lt=1.0)
    at_most: Annotated[int | None, Drawn(milder="more")] = Field(default=None, ge=1)
    node_type: str | None = None

    async def inject(self, site: Site) -> None:
        """Tells the Cloud to fill requests in part."""
        assert isinstance(site.cluster, FaultsLaunches)
        harm = PartialLaunches(node_type=self.node_type, share=self.share, at_most=self.at_most, error=_WORDS)
        await site.cluster.fault_launches(harm, effect_id=site.effect_id, lease_s=site.lease_s)

    async def probe(self, site: Site) -> Effect:
        """Looks for a request of which some were launched and some refused, and that the autoscaler noticed."""
        refused = {
            event.request: event.count
            for _, event in site.history.of(NodeLaunchFailed, since_s=site.injected_s)
            if event.reason == _WORDS
        }
        launched = [
            event.request
            for _, event in site.history.of(NodeLaunching, since_s=site.injected_s)
            if event.request in refused
        ]
        if not launched:
            return Effect(outcome="unknown", detail="no request for several instances was made")
        waiting = sum(refused[request] for request in set(launched))
        total = len(launched) + (0 if pods_wait(site) else waiting)
        filled = total - waiting
        if not noticed(site):
            return Effect(outcome="unknown", detail=f"{filled} of {total} launched, but the autoscaler is silent")
        return Effect(
            outcome="took_effect",
            detail=f"{filled} of {total} were launched, and the autoscaler saw the rest fail",
            asked=self.share,
            measured=round(filled / total, 3),
        )
