"""How many workers a demand asks for: the same packing for the checkers, the diagnosis and the report.

Model of Ray's autoscaler, without its scores: waiting tasks and placement groups go onto what is free on the nodes
there are, `request_resources` onto their totals, the rest onto new nodes of types that hold it, within the limits. A
placement group that they cannot hold as a whole gets nothing.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from chaos.cluster_spec import ClusterSpec
from chaos.events import ClusterSampled, Demand, NodeView, Resources

_TINY = 1e-9


@dataclass(frozen=True)
class Wanted:
    """What the demand of one sample asks for beyond the workers that are there.

    `least` is the fewest new nodes that satisfy it within the limits, `most` the most a scheduler may reasonably start
    (each shape packed alone, placement groups spread). `unfit` is demand no node type holds; `capped` counts bundles
    that wait because a limit is reached.
    """

    least: int
    most: int
    unfit: tuple[Demand, ...]
    capped: int


def live_workers(sample: ClusterSampled) -> list[NodeView]:
    """The workers the GCS sees whose instances the Cloud still has and does not stop."""
    return [
        node for node in sample.nodes if node.node != "head" and sample.cloud.get(node.node, "stopping") != "stopping"
    ]


def all_workers(sample: ClusterSampled) -> set[str]:
    """Every worker somebody still knows: the GCS or the Cloud, in whatever state."""
    return ({node.node for node in sample.nodes} | set(sample.cloud)) - {"head"}


def at_minimum(sample: ClusterSampled, cluster: ClusterSpec) -> bool:
    """Whether the GCS and the Cloud both have just the minimum of workers, of every type."""
    if not sample.reachable or len(all_workers(sample)) != cluster.min_workers:
        return False
    counts = Counter(node.node_type for node in live_workers(sample))
    return all(counts[name] == node_type.min_workers for name, node_type in cluster.node_types.items())


def wanted(sample: ClusterSampled, cluster: ClusterSpec) -> Wanted:
    """What the sample's demand asks for beyond the workers that are there."""
    workers = [node for node in live_workers(sample) if node.status != "draining"]
    nodes = [*workers, *(node for node in sample.nodes if node.node == "head")]
    grown = _Growth(cluster, Counter(node.node_type for node in workers))
    grown.fill_minimum()
    totals, free = [dict(node.total) for node in nodes], [dict(node.available) for node in nodes]
    unfit, capped, most = [], 0, grown.started
    for demand in sorted((d for d in sample.demands if d.count > 0), key=_in_turn):
        together = demand.source == "placement_group"
        there = totals if demand.source == "request_resources" else free
        before = _copied(there) if together else there
        open_to_it = [room for room, node in zip(there, nodes, strict=True) if node.node not in demand.not_on]
        left = _place(demand.shape, demand.count, open_to_it, apart=demand.apart)
        if not left:
            continue
        holds = [kind.holds(demand.shape) for kind in cluster.node_types.values() if kind.max_workers > 0]
        fitting = [count for count in holds if count > 0]
        over = left
        if fitting:
            most += left if together else math.ceil(left / min(fitting))
            over = grown.hold(demand, left)
            capped += over
        else:
            unfit.append(demand.model_copy(update={"count": left}))
        if over and together:
            free = before
    return Wanted(least=grown.started, most=min(most, grown.room + grown.started), unfit=tuple(unfit), capped=capped)


def workers_for(demands: Iterable[Demand], cluster: ClusterSpec) -> int:
    """How many workers hold these demands on an empty cluster, its minimum included; never more than the limits."""
    return wanted(ClusterSampled(reachable=True, demands=tuple(demands)), cluster).least


def workers_wanted(sample: ClusterSampled, cluster: ClusterSpec) -> int:
    """How many workers the sample has a use for: those at work, and those that the minimum and what waits need."""
    at_work = [node for node in live_workers(sample) if node.status == "running"]
    idle = {node.node for node in live_workers(sample) if node.status == "idle"}
    without_idle = tuple(node for node in sample.nodes if node.node not in idle)
    return len(at_work) + wanted(sample.model_copy(update={"nodes": without_idle}), cluster).least


def needless(sample: ClusterSampled, cluster: ClusterSpec, *, idle_longer_by_s: float) -> tuple[str, ...]:
    """Workers idle for longer than their timeout and this, that neither a minimum nor a demand keeps.

    Ray keeps every node to which its scheduler assigns a bundle, be others free for it or not
    (`_enforce_idle_termination` of autoscaler v2; v1 does so for `request_resources` alone). So each standing bundle
    may keep one idle worker that holds it, and each waiting one an idle worker that has room for it now. Whoever has
    idled for longer comes first, as in Ray; so a higher limit names the first of those that a lower one names.
    """
    left = sorted(live_workers(sample), key=lambda node: -node.idle_s)
    keeping = [
        _Keeping(demand.shape, demand.count, standing, demand.not_on)
        for demand in sample.demands
        if (standing := demand.source == "request_resources") or cluster.autoscaler == "v2"
    ]
    found: list[str] = []
    for node in tuple(left):
        kind = cluster.node_types.get(node.node_type)
        limit_s = cluster.idle_timeout_of(node.node_type) + idle_longer_by_s
        rest = [other for other in left if other is not node]
        kept = sum(other.node_type == node.node_type for other in rest) < (kind.min_workers if kind else 0)
        if node.status == "idle" and node.idle_s > limit_s and not kept and not _keeps(keeping, node):
            found.append(node.node)
            left = rest
    return tuple(found)


def describe(shape: Resources) -> str:
    """A resource shape as people write it."""
    return "{" + ", ".join(f"{name}: {amount:g}" for name, amount in sorted(shape.items())) + "}"


@dataclass
class _Keeping:
    """Bundles of one shape that keep no node yet: standing ones, or ones that wait."""

    shape: Resources
    count: int
    standing: bool
    not_on: tuple[str, ...]


@dataclass
class _Growth:
    """The new nodes a demand would start, with what is left on them."""

    cluster: ClusterSpec
    counts: Counter[str]
    started: int = 0
    totals: list[Resources] = field(default_factory=list)
    free: list[Resources] = field(default_factory=list)

    @property
    def room(self) -> int:
        """How many more nodes the limits allow."""
        of_types = sum(max(0, kind.max_workers - self.counts[n]) for n, kind in self.cluster.node_types.items())
        return max(0, min(self.cluster.max_workers - self.counts.total(), of_types))

    def fill_minimum(self) -> None:
        """Starts what is missing of each type's minimum."""
        for name, kind in self.cluster.node_types.items():
            while self.counts[name] < kind.min_workers and self._start(name):
                pass

    def hold(self, demand: Demand, count: int) -> int:
        """Places so many of its bundles on new nodes, started where needed; returns how many the limits leave out.

        Where they leave out any of a placement group's, none is placed.
        """
        before = Counter(self.counts), self.started, _copied(self.totals), _copied(self.free)
        rooms = self.totals if demand.source == "request_resources" else self.free
        left = _place(demand.shape, count, rooms, apart=demand.apart)
        while left and (name := self._best(demand.shape)) is not None and self._start(name):
            left = _place(demand.shape, left, rooms[-1:], apart=demand.apart)
        if left and demand.source == "placement_group":
            self.counts, self.started, self.totals, self.free = before
            return count
        return left

    def _best(self, shape: Resources) -> str | None:
        fitting = [
            (sum(kind.resources.get(r, 0.0) > 0 and shape.get(r, 0.0) <= 0 for r in kind.resources), -holds, name)
            for name, kind in self.cluster.node_types.items()
            if self.counts[name] < kind.max_workers and (holds := kind.holds(shape)) > 0
        ]
        return min(fitting)[2] if fitting else None

    def _start(self, name: str) -> bool:
        kind = self.cluster.node_types[name]
        if self.counts.total() >= self.cluster.max_workers or self.counts[name] >= kind.max_workers:
            return False
        self.counts[name] += 1
        self.started += 1
        self.totals.append(dict(kind.resources))
        self.free.append(dict(kind.resources))
        return True


def _keeps(keeping: list[_Keeping], node: NodeView) -> bool:
    """Whether a bundle not yet spoken for fits the node; it is spoken for then."""
    for bundles in keeping:
        room = node.total if bundles.standing else node.available
        if bundles.count and node.node not in bundles.not_on and not _place(bundles.shape, 1, [dict(room)]):
            bundles.count -= 1
            return True
    return False


def _in_turn(demand: Demand) -> tuple[int, bool, float]:
    """The order in which Ray's scheduler takes what waits; of one kind, what is harder to place comes first."""
    kinds = ("request_resources", "placement_group", "task")
    return kinds.index(demand.source), not demand.apart, -sum(demand.shape.values())


def _copied(rooms: list[Resources]) -> list[Resources]:
    return [dict(room) for room in rooms]


def _place(shape: Resources, count: int, bins: list[Resources], *, apart: bool = False) -> int:
    """Puts bundles into the bins, first fit, at most one into each if `apart`; returns how many are left over."""
    asked = {name: amount for name, amount in shape.items() if amount > 0}
    if not asked:
        return 0
    for room in bins:
        fits = min(math.floor(room.get(name, 0.0) / amount + _TINY) for name, amount in asked.items())
        placed = max(0, min(count, fits, 1 if apart else count))
        if placed:
            for name, amount in asked.items():
                room[name] -= placed * amount
            count -= placed
        if not count:
            break
    return count
