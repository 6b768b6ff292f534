"""`limit_capacity`: there are so many instances of a type to be had, and no more."""

from __future__ import annotations

from collections import Counter
from typing import ClassVar, Literal

from pydantic import Field

from chaos.cluster import FaultsLaunches, UndoesEffects
from chaos.events import ClusterSampled, NodeJoined, NodeLaunchFailed, NodeStarted
from chaos.fault import Effect, Fault, Site
from chaos.harm import CapacityLimit
from faults.fail_launch import noticed

_WORDS = "InsufficientInstanceCapacity: all capacity of this type in this zone is in use"


class LimitCapacity(Fault):
    """There are at most `at_most` instances of each node type, or of one `node_type`, at a time; more are refused."""

    name: ClassVar[str] = "limit_capacity"
    summary: ClassVar[str] = "the cloud has only so many instances of a type"
    needs: ClassVar[tuple[type, ...]] = (FaultsLaunches, UndoesEffects)
    acts_on: ClassVar[Literal["nodes", "launches", "cloud"]] = "launches"
    lasts: ClassVar[bool] = True
    effect_within_s: ClassVar[float] = 30.0

    at_most: int = Field(ge=0)
    node_type: str | None = None

    async def inject(self, site: Site) -> None:
        """Tells the Cloud its limit."""
        assert isinstance(site.cluster, FaultsLaunches)
        limit = CapacityLimit(node_type=self.node_type, at_most=self.at_most, error=_WORDS)
        await site.cluster.fault_launches(limit, effect_id=site.effect_id, lease_s=site.lease_s)

    async def probe(self, site: Site) -> Effect:
        """Looks for a refusal that the autoscaler noticed, while the cluster never had more than the limit."""
        refusals = [
            (record.t_s, event)
            for record, event in site.history.of(NodeLaunchFailed, since_s=site.injected_s)
            if event.reason == _WORDS and self.node_type in (None, event.node_type)
        ]
        if not refusals:
            return Effect(outcome="unknown", detail="no launch beyond the limit was asked for")
        refused = sum(event.count for _, event in refusals)
        peak = self._peak(site, until_s=refusals[-1][0])
        measured = float(peak)
        asked = float(self.at_most)
        if peak > max(self.at_most, self._peak(site, until_s=site.injected_s)):
            detail = f"{refused} refused, but there were {peak} instances of a type"
            return Effect(outcome="no_effect", detail=detail, asked=asked, measured=measured, unit="instances")
        if not noticed(site):
            return Effect(outcome="unknown", detail=f"{refused} refused, but the autoscaler has not said so")
        detail = f"the autoscaler saw {refused} launches refused with {peak} instances there"
        return Effect(outcome="took_effect", detail=detail, asked=asked, measured=measured, unit="instances")

    def _peak(self, site: Site, *, until_s: float) -> int:
        """The most instances of a limited type that a sample showed, from the last before the injection on."""
        started = {event.node: event.node_type for _, event in site.history.of(NodeStarted)}
        types = started | {event.node: event.node_type for _, event in site.history.of(NodeJoined)}
        samples = [(record.t_s, sample) for record, sample in site.history.of(ClusterSampled) if record.t_s <= until_s]
        before = [sample for t_s, sample in samples if t_s <= site.injected_s][-1:]
        counts = [
            Counter(kind for node in sample.cloud if (kind := types.get(node)) is not None)
            for sample in [*before, *(sample for t_s, sample in samples if t_s > site.injected_s)]
        ]
        limited = [self.node_type] if self.node_type else sorted(set(types.values()) - {"head"})
        return max((count[kind] for count in counts for kind in limited), default=0)
