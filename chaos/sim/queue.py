"""What waits for room on the model's nodes: tasks, first come, first served, for each shape, and placement groups."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable, Sequence

from chaos.events import Resources
from chaos.sim.gangs import Gang, placement
from chaos.sim.node import RayNode, Task
from chaos.workload import Strategy


class Queue:
    """The tasks that wait, and the placement groups there are, those with room for all of their bundles too."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._waiting: list[Task] = []
        self._submitted = 0
        self._shapes: dict[tuple[tuple[str, float], ...], int] = {}
        self.gangs: list[Gang] = []

    def submit(self, bundle: Resources) -> Task:
        """Another task that waits."""
        task = self._new(bundle)
        self._waiting.append(task)
        return task

    def gather(self, bundles: Sequence[Resources], strategy: Strategy) -> Gang:
        """Another placement group, all of whose bundles wait."""
        tasks = [self._new(bundle) for bundle in bundles]
        name = hashlib.sha256(f"{self._seed}/gang/{tasks[0].number}".encode()).hexdigest()[:36]
        gang = Gang(name, strategy, tasks)
        self.gangs.append(gang)
        return gang

    def renewed(self, lost: Task) -> Task | None:
        """The bundle of a placement group that waits in place of a lost one; None where that was none."""
        for gang in self.gangs:
            if lost in gang.bundles:
                again = gang.bundles[gang.bundles.index(lost)] = self._new(lost.bundle)
                return again
        return None

    def give_up(self, task: Task) -> bool:
        """Whether a task waited; it does not any more."""
        waited = task in self._waiting
        if waited:
            self._waiting.remove(task)
        return waited

    @property
    def waits(self) -> bool:
        """Whether anything waits, or may."""
        return bool(self._waiting or self.gangs)

    def place(self, nodes: list[RayNode]) -> None:
        """Gives room on these nodes to what waits: placement groups first, then tasks, on the first that will do."""
        for gang in self.gangs:
            if (bundles := gang.waiting) and (chosen := placement(gang, nodes)) is not None:
                for task, its in zip(bundles, chosen, strict=True):
                    its.take(task)
                    task.placed.set_result(its)
        left: list[Task] = []
        for task in self._waiting:
            if task.placed.cancelled():
                continue
            node = next((node for node in nodes if node.fits(task)), None)
            if node is None:
                left.append(task)
            else:
                node.take(task)
                task.placed.set_result(node)
        self._waiting = left

    def demands(self) -> list[tuple[Resources, int]]:
        """The tasks that wait, by shape."""
        return counted(task.bundle for task in self._waiting)

    def _new(self, bundle: Resources) -> Task:
        self._submitted += 1
        asked = {name: amount for name, amount in bundle.items() if amount}
        shape = self._shapes.setdefault(tuple(sorted(asked.items())), len(self._shapes))
        placed, lost = (asyncio.get_running_loop().create_future() for _ in range(2))
        return Task(bundle=asked, shape=shape, placed=placed, number=self._submitted, lost=lost)


def counted(bundles: Iterable[Resources]) -> list[tuple[Resources, int]]:
    """Each shape with how many bundles have it, in the order in which they come."""
    found: dict[tuple[tuple[str, float], ...], int] = {}
    for bundle in bundles:
        key = tuple(sorted(bundle.items()))
        found[key] = found.get(key, 0) + 1
    return [(dict(key), count) for key, count in found.items()]
