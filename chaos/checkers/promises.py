"""Workers that joined with less than their node type promises: what the autoscaler counts on and does not get.

A node's resources are fixed when it joins, so no waiting mends this. Ray's autoscaler trusts its configuration: it
starts such nodes up to the maximum and takes the demand for served, while Ray's scheduler can place nothing on them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chaos.checkers.facts import Facts
from chaos.demand import describe, live_workers
from chaos.events import NodeJoined, NodeLaunching, Resources
from chaos.history import Record

# Samples leave these out: Ray measures them on each node.
_NOT_RECORDED = ("memory", "object_store_memory")


@dataclass(frozen=True)
class Broken:
    """A worker that lacks, of what its type promises, something that demand waited for while it was there."""

    node: str
    node_type: str
    promised: Resources
    held: Resources
    evidence: tuple[Record, ...]

    @property
    def text(self) -> str:
        """Which node, what it was to have, and what it has."""
        return f"{self.node} has {describe(self.held)}, its type {self.node_type} promises {describe(self.promised)}"


def broken_promises(facts: Facts) -> list[Broken]:
    """Every such worker of the run, in the order in which demand first waited for what it lacks."""
    found: dict[str, Broken] = {}
    asked = {event.node: record.t_s for record, event in facts.history.of(NodeLaunching)}
    joined = {event.node: record for record, event in facts.history.of(NodeJoined)}
    for record, sample in facts.load_samples():
        waiting = [demand.shape for demand in sample.demands if demand.count > 0]
        for view in live_workers(sample):
            kind = facts.cluster_at(asked.get(view.node, float("-inf"))).node_types.get(view.node_type)
            if view.node in found or kind is None:
                continue
            promised = {name: amount for name, amount in kind.resources.items() if name not in _NOT_RECORDED}
            held = {name: view.total.get(name, 0.0) for name in promised}
            if any(kind.holds(shape) and _lacks(promised, held, shape) for shape in waiting):
                evidence = (joined[view.node], record) if view.node in joined else (record,)
                found[view.node] = Broken(view.node, view.node_type, promised, held, evidence)
    return list(found.values())


def first_of(broken: Sequence[Broken]) -> str:
    """The first of them in words, and how many more there are."""
    more = f" (and {len(broken) - 1} more like it)" if len(broken) > 1 else ""
    return f"{broken[0].text}{more}"


def _lacks(promised: Resources, held: Resources, shape: Resources) -> bool:
    return any(shape.get(name, 0.0) > 0 and held[name] < amount for name, amount in promised.items())
