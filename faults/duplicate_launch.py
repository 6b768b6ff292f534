"""`duplicate_launch`: the cloud launches two instances where one was asked for."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from chaos.cluster import FaultsLaunches, UndoesEffects
from chaos.cluster_spec import ClusterSpec
from chaos.events import ClusterSampled, NodeJoined, NodeLaunching, NodeStarted, NodeTerminating
from chaos.fault import ActsOn, Effect, Fault, Site
from chaos.harm import DuplicatedLaunch


class DuplicateLaunch(Fault):
    """For each instance asked for while in force two are launched; of one `node_type`, at most `count`, where given."""

    name: ClassVar[str] = "duplicate_launch"
    summary: ClassVar[str] = "the cloud launches twice what was asked for"
    needs: ClassVar[tuple[type, ...]] = (FaultsLaunches, UndoesEffects)
    acts_on: ClassVar[ActsOn] = "launches"
    lasts: ClassVar[bool] = True
    effect_within_s: ClassVar[float] = 30.0

    node_type: str | None = None
    count: int | None = Field(default=None, ge=1)

    def impossible(self, cluster: ClusterSpec, selected: str | None) -> str:  # noqa: ARG002
        """An operator counts what there is before it creates another pod."""
        return "KubeRay's operator creates no pod twice" if cluster.on_kuberay else ""

    async def inject(self, site: Site) -> None:
        """Tells the Cloud to launch twice."""
        assert isinstance(site.cluster, FaultsLaunches)
        harm = DuplicatedLaunch(node_type=self.node_type, count=self.count)
        await site.cluster.fault_launches(harm, effect_id=site.effect_id, lease_s=site.lease_s)

    async def probe(self, site: Site) -> Effect:
        """Looks for a node that nobody asked for, and what Ray did with it: it joined, or the autoscaler ended it."""
        asked = {event.node for _, event in site.history.of(NodeLaunching)}
        others = asked | _known_before(site)
        starts = [event for _, event in site.history.of(NodeStarted, since_s=site.injected_s)]
        others |= {event.node for event in starts if self.node_type not in (None, event.node_type)}
        ended = {event.node for _, event in site.history.of(NodeTerminating, since_s=site.injected_s)} - others
        started = {event.node for event in starts} - others
        # The autoscaler ends some before they run, and of what type they are nobody says then.
        began = started | ended if self.node_type is None else started
        if not began:
            return Effect(outcome="unknown", detail="no node began that nobody asked for")
        ended &= began
        joined = began & {event.node for _, event in site.history.of(NodeJoined)}
        if not joined | ended:
            return Effect(outcome="unknown", detail=f"{len(began)} began that nobody asked for; Ray has not noticed")
        told = f"{len(began)} began that nobody asked for; {len(joined)} joined, the autoscaler ended {len(ended)}"
        return Effect(outcome="took_effect", detail=told, measured=float(len(began)))


def _known_before(site: Site) -> set[str]:
    """The nodes that there were when the fault came into force, whoever launched them."""
    known = {event.node for record, event in site.history.of(NodeStarted) if record.t_s < site.injected_s}
    known |= {event.node for record, event in site.history.of(NodeJoined) if record.t_s < site.injected_s}
    samples = (sample for record, sample in site.history.of(ClusterSampled) if record.t_s < site.injected_s)
    return known.union(*(sample.cloud for sample in samples))
