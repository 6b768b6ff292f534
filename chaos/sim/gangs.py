"""Placement groups of the model: bundles that get room together or not at all, and anew where a node is lost."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from chaos.events import Resources
from chaos.sim.node import RayNode, Task, has_room
from chaos.workload import Strategy


@dataclass
class Gang:
    """A placement group; each of its bundles is a task of the model that holds the bundle's room."""

    id: str
    strategy: Strategy
    bundles: list[Task]

    @property
    def waiting(self) -> list[Task]:
        """The bundles without room."""
        return [task for task in self.bundles if not task.placed.done()]

    @property
    def nodes(self) -> list[RayNode]:
        """Where the others are, one for each."""
        return [task.placed.result() for task in self.bundles if task.placed.done()]

    def requests(self) -> list[Resources]:
        """What waits, as many bundles as it has without room."""
        return [task.bundle for task in self.waiting]


def placement(gang: Gang, nodes: Sequence[RayNode]) -> list[RayNode] | None:
    """A node for each bundle that waits, in their order; None where not all have room as the strategy wants it."""
    free = {node.ray_node_id: dict(node.available) for node in nodes}
    if gang.strategy == "STRICT_PACK":
        whole = summed(gang.requests())
        return next(([node] * len(gang.waiting) for node in nodes if has_room(node.available, whole)), None)
    used, chosen = gang.nodes, list[RayNode]()
    for task in gang.waiting:
        there = [*used, *chosen]
        options = _preferred(gang.strategy, nodes, there)
        node = next((node for node in options if has_room(free[node.ray_node_id], task.bundle)), None)
        if node is None:
            return None
        room = free[node.ray_node_id]
        for name, amount in task.bundle.items():
            room[name] -= amount
        chosen.append(node)
    return chosen


def _preferred(strategy: Strategy, nodes: Sequence[RayNode], there: list[RayNode]) -> Iterable[RayNode]:
    """Nodes a bundle may go to, the best first, where others of its group are `there`."""
    others = [node for node in nodes if node not in there]
    if strategy == "STRICT_SPREAD":
        return others
    own = [node for node in nodes if node in there]
    return [*others, *own] if strategy == "SPREAD" else [*own, *others]


def summed(bundles: Iterable[Resources]) -> Resources:
    """All of them together."""
    whole: Resources = {}
    for bundle in bundles:
        for name, amount in bundle.items():
            whole[name] = whole.get(name, 0.0) + amount
    return whole
