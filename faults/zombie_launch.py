"""`zombie_launch`: an instance runs, and Ray never starts on it, as with a broken image or start script."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from chaos.cluster import FaultsLaunches, UndoesEffects
from chaos.events import BaselineKnown, ClusterSampled, NodeJoined, NodeLaunching, NodeStarted
from chaos.fault import ActsOn, Effect, Fault, Site
from chaos.harm import LateRay

_USUAL_JOIN_S = 8.0  # where neither a baseline nor the run itself says
_PATIENCE = 1.5  # so much longer than is usual a node may take to join
_ENOUGH = 4  # nodes that joined before: the slowest of so many tells what is usual by now


class ZombieLaunch(Fault):
    """Instances asked for while in force run without Ray; of one `node_type`, at most `count`, where given."""

    name: ClassVar[str] = "zombie_launch"
    summary: ClassVar[str] = "an instance runs, Ray on it never joins"
    needs: ClassVar[tuple[type, ...]] = (FaultsLaunches, UndoesEffects)
    acts_on: ClassVar[ActsOn] = "launches"
    lasts: ClassVar[bool] = True
    effect_within_s: ClassVar[float] = 5.0

    node_type: str | None = None
    count: int | None = Field(default=None, ge=1)

    async def inject(self, site: Site) -> None:
        """Tells the Cloud to keep Ray from what it launches."""
        assert isinstance(site.cluster, FaultsLaunches)
        harm = LateRay(node_type=self.node_type, count=self.count)
        await site.cluster.fault_launches(harm, effect_id=site.effect_id, lease_s=site.lease_s)

    async def probe(self, site: Site) -> Effect:
        """Looks for an instance that the Cloud has had running for longer than a node may take to join, without one."""
        zombies = self._zombies(site)
        if not zombies:
            detail = f"no instance has run without joining for {_PATIENCE:g} times as long as a join usually takes"
            return Effect(outcome="unknown", detail=detail)
        told = ", ".join(f"{node} for {ran_s:.1f} s" for node, ran_s in sorted(zombies.items()))
        return Effect(
            outcome="took_effect",
            detail=f"ran and did not join: {told}",
            measured=round(max(zombies.values()), 3),
            unit="s",
        )

    async def probe_healed(self, site: Site) -> Effect:
        """Looks whether the effect is undone, and whatever ran without Ray no longer runs."""
        healed = await super().probe_healed(site)
        running = {node.node for node in await site.cluster.nodes() if node.state == "running"}
        if healed.outcome == "no_effect" and (left := sorted(running & set(self._zombies(site)))):
            return Effect(outcome="took_effect", detail=f"{', '.join(left)} still runs without Ray")
        return healed

    def _zombies(self, site: Site) -> dict[str, float]:
        """How long each node asked for while in force has run, not joined in time, and by the last sample runs on."""
        last = site.history.last(ClusterSampled)
        if last is None:
            return {}
        record, sample = last
        asked = asked_in_force(site)
        joined = {event.node for _, event in site.history.of(NodeJoined)}
        return {
            event.node: record.t_s - started.t_s
            for started, event in site.history.of(NodeStarted, since_s=site.injected_s)
            if event.node in asked - joined
            and self.node_type in (None, event.node_type)
            and sample.cloud.get(event.node) == "running"
            and record.t_s - started.t_s > _PATIENCE * (usual_join_s(site, event.node_type) or _USUAL_JOIN_S)
        }


def usual_join_s(site: Site, node_type: str) -> float | None:
    """How long a node of a type may take to join, in seconds; None where nothing says.

    The slowest of the baseline, from its request on, or of the last four of that type that joined in this run before
    the injection, from when their instances ran, whichever is less: a baseline on a machine that was busy with other
    things, or that started its first node, says more than there is.
    """
    known = [event.join_s for _, event in site.history.of(BaselineKnown)][-1:]
    known = [join_s for join_s in known if join_s > 0.0]  # one of a cluster of fixed size says nothing
    joins_s = _joins_s(site, node_type)[-_ENOUGH:]
    if len(joins_s) == _ENOUGH:
        known.append(max(joins_s))
    return min(known, default=None)


def _joins_s(site: Site, node_type: str) -> list[float]:
    """How long nodes of a type took to join before the injection, by when they did; each start counts once."""
    started_s: dict[str, list[float]] = {}
    for record, start in site.history.of(NodeStarted):
        started_s.setdefault(start.node, []).append(record.t_s)
    joins_s = []
    for record, join in site.history.of(NodeJoined):
        begun_s = [at_s for at_s in started_s.get(join.node, []) if at_s <= record.t_s]
        if begun_s and join.node_type == node_type and record.t_s < site.injected_s:
            joins_s.append(record.t_s - begun_s[-1])
            started_s[join.node] = [at_s for at_s in started_s[join.node] if at_s > record.t_s]
    return joins_s


def asked_in_force(site: Site) -> set[str]:
    """The nodes that the autoscaler asked for between the injection and the time of its healing."""
    until_s = site.injected_s + (site.duration_s or site.lease_s)
    launches = site.history.of(NodeLaunching, since_s=site.injected_s)
    return {event.node for record, event in launches if record.t_s <= until_s}
