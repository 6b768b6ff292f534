"""`zombie_launch`: an instance runs, and Ray never starts on it, as with a broken image or start script."""

from __future__ import annotations

import math
from typing import ClassVar, NamedTuple

from pydantic import Field

from chaos.cluster import FaultsLaunches, UndoesEffects
from chaos.events import (
    BaselineKnown,
    ClusterSampled,
    NodeJoined,
    NodeLaunching,
    NodeStarted,
)
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
        """Looks whether the effect is undone, and whatever ran without Ray no longer runs.

        What another one that is still in force may have made is not looked for, whatever types that is about.
        """
        healed = await super().probe_healed(site)
        running = {node.node for node in await site.cluster.nodes() if node.state == "running"}
        left = sorted(running & set(self._zombies(site)) - await self._of_others(site))
        if healed.outcome == "no_effect" and left:
            return Effect(outcome="took_effect", detail=f"{', '.join(left)} still runs without Ray")
        return healed

    async def _of_others(self, site: Site) -> set[str]:
        """The nodes that were asked for while others were in force that still are."""
        _, others = await site.active()
        begun_s = [e.due_s for e in others.made if e.fault == self.name and e.effect_id in others.effects]
        since_s = min(begun_s, default=math.inf)
        return {event.node for _, event in site.history.of(NodeLaunching, since_s=since_s)}

    def _zombies(self, site: Site) -> dict[str, float]:
        """How long each node asked for while in force has run, not joined in time, and by the last sample runs on."""
        last = site.history.last(ClusterSampled)
        if last is None:
            return {}
        record, sample = last
        waiting = asked_in_force(site) - {event.node for _, event in site.history.of(NodeJoined)}
        ran_s: dict[str, float] = {}
        patience_s: dict[str, float] = {}
        for started, event in site.history.of(NodeStarted, since_s=site.injected_s):
            if self.node_type not in (None, event.node_type) or event.node not in waiting:
                continue
            if event.node_type not in patience_s:
                patience_s[event.node_type] = _PATIENCE * (usual_join_s(site, event.node_type) or _USUAL_JOIN_S)
            waited_s = record.t_s - started.t_s
            if sample.cloud.get(event.node) == "running" and waited_s > patience_s[event.node_type]:
                ran_s[event.node] = waited_s
        return ran_s


def usual_join_s(site: Site, node_type: str) -> float | None:
    """How long a node of a type may take to join, in seconds; None where nothing says.

    The slowest of the baseline, from its request on, or of the last four of that type that joined in this run before
    the injection, from when their instances ran, whichever is less: a baseline on a machine that was busy with other
    things, or that started its first node, says more than there is. Where all four took longer than the baseline's,
    which may have been of other types, it is theirs.
    """
    known = [event.join_s for _, event in site.history.of(BaselineKnown)][-1:]
    known = [join_s for join_s in known if join_s > 0.0]  # one of a cluster of fixed size says nothing
    own = [join.took_s for join in joins(site) if join.node_type == node_type and join.joined_s < site.injected_s]
    if len(own) < _ENOUGH:
        return min(known, default=None)
    own = own[-_ENOUGH:]
    return max(own) if min(own) > min(known, default=0.0) else min([*known, max(own)])


class Join(NamedTuple):
    """A node's way from its instance's start to its place in the cluster."""

    node: str
    node_type: str
    started_s: float
    joined_s: float

    @property
    def took_s(self) -> float:
        """How many seconds."""
        return self.joined_s - self.started_s


def joins(site: Site) -> list[Join]:
    """All there were in this run, by the time they ended; Ray that starts again on a node is none."""
    started_s: dict[str, list[float]] = {}
    for record, start in site.history.of(NodeStarted):
        started_s.setdefault(start.node, []).append(record.t_s)
    found = []
    for record, join in site.history.of(NodeJoined):
        begun_s = [at_s for at_s in started_s.get(join.node, []) if at_s <= record.t_s]
        if begun_s:
            found.append(Join(join.node, join.node_type, begun_s[-1], record.t_s))
            started_s[join.node] = [at_s for at_s in started_s[join.node] if at_s > record.t_s]
    return found


def asked_in_force(site: Site) -> set[str]:
    """The nodes that the autoscaler asked for between the injection and the time of its healing."""
    until_s = site.injected_s + (site.duration_s or site.lease_s)
    launches = site.history.of(NodeLaunching, since_s=site.injected_s)
    return {event.node for record, event in launches if record.t_s <= until_s}
