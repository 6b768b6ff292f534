"""`limit_capacity`: there are so many instances of a type to be had, and no more."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from chaos.cluster import FaultsLaunches, UndoesEffects
from chaos.drawn import Drawn
from chaos.events import NodeJoined, NodeLaunchFailed, NodeLaunching, NodeStarted, NodeTerminated
from chaos.fault import ActsOn, Effect, Fault, Site
from chaos.harm import CapacityLimit
from faults.fail_launch import noticed, pods_wait

_WORDS = "InsufficientInstanceCapacity: all capacity of this type in this zone is in use"
_RECORDING_S = 0.5  # the refusal of a part of a request is recorded before the launch of the rest


class LimitCapacity(Fault):
    """There are at most `at_most` instances of each node type, or of one `node_type`, at a time; more are refused."""

    name: ClassVar[str] = "limit_capacity"
    summary: ClassVar[str] = "the cloud has only so many instances of a type"
    needs: ClassVar[tuple[type, ...]] = (FaultsLaunches, UndoesEffects)
    acts_on: ClassVar[ActsOn] = "launches"
    lasts: ClassVar[bool] = True
    effect_within_s: ClassVar[float] = 30.0

    at_most: Annotated[int, Drawn(milder="more")] = Field(ge=0)
    node_type: str | None = None

    async def inject(self, site: Site) -> None:
        """Tells the Cloud its limit."""
        assert isinstance(site.cluster, FaultsLaunches)
        limit = CapacityLimit(node_type=self.node_type, at_most=self.at_most, error=_WORDS)
        await site.cluster.fault_launches(limit, effect_id=site.effect_id, lease_s=site.lease_s)

    async def probe(self, site: Site) -> Effect:
        """Looks for a refusal that the autoscaler noticed, while there were never more instances than the limit."""
        refusals = [
            (record.t_s, event)
            for record, event in site.history.of(NodeLaunchFailed, since_s=site.injected_s)
            if event.reason == _WORDS and self.node_type in (None, event.node_type)
        ]
        if not refusals:
            return Effect(outcome="unknown", detail="no launch beyond the limit was asked for")
        refused = sum(event.count for _, event in refusals)
        asked = float(self.at_most)
        most = {
            event.node_type: max(self.at_most, _there(site, event.node_type, site.injected_s)) for _, event in refusals
        }
        there = {kind: _there(site, kind, refusals[-1][0] + _RECORDING_S) for kind in most}
        measured = float(max(there.values()))
        if above := [kind for kind in there if there[kind] > most[kind]]:
            detail = f"{refused} refused, but there were {there[above[0]]} instances of type {above[0]}"
            return Effect(outcome="no_effect", detail=detail, asked=asked, measured=measured, unit="instances")
        if not noticed(site):
            return Effect(outcome="unknown", detail=f"{refused} refused, but the autoscaler has not said so")
        told = ", ".join(f"{count} of type {kind}" for kind, count in sorted(there.items()))
        detail = f"the autoscaler saw {refused} launches refused with {told} there"
        return Effect(outcome="took_effect", detail=detail, asked=asked, measured=measured, unit="instances")


def _there(site: Site, node_type: str, at_s: float) -> int:
    """How many instances of a type there were at a moment; of pods, those that had room."""
    asked = [] if pods_wait(site) else site.history.of(NodeLaunching)
    launched = [(r, e.node, e.node_type) for r, e in asked]
    started = [(r, e.node, e.node_type) for r, e in site.history.of(NodeStarted)]
    joined = [(r, e.node, e.node_type) for r, e in site.history.of(NodeJoined)]
    born = {node for record, node, kind in launched + started + joined if kind == node_type and record.t_s <= at_s}
    return len(born - {event.node for record, event in site.history.of(NodeTerminated) if record.t_s <= at_s})
