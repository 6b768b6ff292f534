"""A model of Ray: nodes that join, run, drain and die, a GCS that learns of it late, and tasks that wait for resources.

What is true of a node and what the GCS believes of it are kept apart: a node that was killed goes on in the GCS until
enough health checks were missed, and its tasks run on there for all that anybody knows.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from chaos.clock import monotonic_s
from chaos.cluster_spec import HealthCheck
from chaos.events import Resources
from chaos.sim.latency import Latencies

HEAD = "head"
_INTERNAL_HEAD = "node:__internal_head__"
_INSTANT_S = 1e-9


class NodeLost(Exception):
    """The node on which something ran is dead, as the GCS sees it."""


@dataclass
class Task:
    """Something that holds `bundle` on a node from when it is placed until it is released."""

    bundle: Resources
    placed: asyncio.Future[RayNode]
    lost: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass
class RayNode:
    """One node as Ray knows it. `alive` is the truth, `believed` what the GCS believes; times are monotonic."""

    ray_node_id: str
    instance: str
    node_type: str
    total: Resources
    available: Resources
    joined_s: float
    alive: bool = True
    believed: bool = True
    frozen: bool = False
    draining: bool = False
    idle_since_s: float = 0.0
    warm: bool = False
    tasks: list[Task] = field(default_factory=list)
    missed: asyncio.Task[None] | None = None
    thawed: asyncio.Event = field(default_factory=asyncio.Event)
    _moved_s: float = 0.0
    _moves_since_s: float = field(default_factory=monotonic_s)

    def moved_s(self) -> float:
        """For how long it has moved since it joined."""
        return self._moved_s + (0.0 if self.frozen or not self.alive else monotonic_s() - self._moves_since_s)

    def stop_moving(self, *, for_good: bool) -> None:
        """It is frozen, or ends."""
        self._moved_s = self.moved_s()
        self.frozen, self.alive = self.frozen or not for_good, self.alive and not for_good

    def go_on(self) -> None:
        """It is thawed."""
        self.frozen, self._moves_since_s = False, monotonic_s()
        self.thawed.set()

    @property
    def answers(self) -> bool:
        """Whether health checks of it pass."""
        return self.alive and not self.frozen

    def fits(self, bundle: Resources) -> bool:
        """Whether it has room for a bundle now."""
        return all(self.available.get(name, 0.0) + 1e-9 >= amount for name, amount in bundle.items() if amount)

    def take(self, task: Task) -> None:
        """The task holds its bundle."""
        for name, amount in task.bundle.items():
            self.available[name] = self.available.get(name, 0.0) - amount
        self.tasks.append(task)

    def give_back(self, task: Task) -> None:
        """The task lets go of its bundle."""
        self.tasks.remove(task)
        for name, amount in task.bundle.items():
            self.available[name] = self.available.get(name, 0.0) + amount
        if not self.tasks:
            self.idle_since_s = monotonic_s()


class RayModel:
    """All of Ray but its autoscaler."""

    def __init__(self, *, health_check: HealthCheck, latencies: Latencies, seed: int) -> None:
        self.latencies = latencies
        self._health_check = health_check
        self._seed = seed
        self._numbers: dict[str, int] = {}
        self._nodes: dict[str, RayNode] = {}
        self._starting: dict[str, asyncio.Task[None]] = {}
        self._pending: set[asyncio.Task[None]] = set()
        self._waiting: list[Task] = []
        self.version = 0

    # -- nodes ----------------------------------------------------------------------------------------------

    def stream(self, name: str) -> random.Random:
        """A source of chance for one thing: the next of that name, the same in every run of the same seed."""
        number = self._numbers[name] = self._numbers.get(name, 0) + 1
        digest = hashlib.sha256(f"{self._seed}/{name}/{number}".encode()).digest()
        return random.Random(int.from_bytes(digest[:8], "big"))

    def start(self, instance: str, node_type: str, resources: Resources, *, delay_s: float = 0.0) -> None:
        """Ray is started on an instance, and joins a little later."""
        join_s = delay_s + self.latencies.join.draw(self.stream(f"join/{instance}"))
        self._starting[instance] = asyncio.create_task(self._join(instance, node_type, resources, join_s))

    async def _join(self, instance: str, node_type: str, resources: Resources, join_s: float) -> None:
        await asyncio.sleep(join_s)
        del self._starting[instance]
        self._enter(instance, node_type, resources)

    def start_head(self, resources: Resources) -> None:
        """The head is there at once."""
        self._enter(HEAD, HEAD, {**resources, _INTERNAL_HEAD: 1.0})

    def _enter(self, instance: str, node_type: str, resources: Resources) -> None:
        number = self._numbers[f"node/{instance}"] = self._numbers.get(f"node/{instance}", 0) + 1
        ray_node_id = hashlib.sha256(f"{self._seed}/{instance}/{number}".encode()).hexdigest()[:56]
        now_s = monotonic_s()
        self._nodes[ray_node_id] = RayNode(
            ray_node_id=ray_node_id,
            instance=instance,
            node_type=node_type,
            total=dict(resources),
            available=dict(resources),
            joined_s=now_s,
            idle_since_s=now_s,
        )
        self._place_waiting()

    def runs(self, instance: str) -> bool:
        """Whether Ray on the instance is alive, or starting."""
        return instance in self._starting or any(node.alive for node in self._of(instance))

    def end(self, instance: str, *, politely: bool) -> None:
        """Ray on the instance ends. A polite end is told to the GCS; of another, health checks tell it."""
        starting = self._starting.pop(instance, None)
        if starting is not None:
            starting.cancel()
        for node in self._of(instance):
            if node.alive:
                node.stop_moving(for_good=True)
                if not node.believed:
                    del self._nodes[node.ray_node_id]
                elif politely and not node.frozen:
                    self._bury(node)
                else:
                    self._miss(node)

    def freeze(self, instance: str) -> None:
        """Nothing on the instance moves, and health checks of it time out."""
        for node in self._of(instance):
            if node.alive and not node.frozen:
                node.stop_moving(for_good=False)
                self._miss(node)

    def thaw(self, instance: str) -> None:
        """It moves again; what the GCS has declared dead ends itself."""
        for node in self._of(instance):
            if not node.alive or not node.frozen:
                continue
            node.go_on()
            if node.missed is not None:
                node.missed.cancel()
            if not node.believed:
                node.stop_moving(for_good=True)
                del self._nodes[node.ray_node_id]

    def frozen(self, instance: str) -> bool:
        """Whether nothing on the instance moves."""
        return any(node.alive and node.frozen for node in self._of(instance))

    def _miss(self, node: RayNode) -> None:
        """Health checks fail from now on: refused at once by a node that ended, unanswered by one that is frozen.

        Those that failed before, of a node that has moved since, do not count.
        """
        if node.missed is not None:
            node.missed.cancel()
        check = self._health_check
        each_ms = check.period_ms if not node.alive else check.period_ms + check.timeout_ms
        first_s = max(0.0, node.joined_s + check.initial_delay_ms / 1000.0 - monotonic_s())
        chance_s = self.stream(f"check/{node.ray_node_id}").uniform(0.0, check.period_ms / 1000.0)
        after_s = first_s + chance_s + each_ms * (check.failure_threshold - 1) / 1000.0

        async def missing() -> None:
            await asyncio.sleep(after_s)
            if node.believed and not node.answers:
                self._bury(node)

        node.missed = self._later(missing())

    def _later(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._pending.add(task)
        task.add_done_callback(self._pending.discard)
        return task

    def _bury(self, node: RayNode) -> None:
        """The GCS declares the node dead: what ran there is lost, and its owners learn it."""
        node.believed = False
        node.draining = False
        for task in list(node.tasks):
            node.give_back(task)
            task.lost.set()
        if node.alive and not node.frozen:  # it learns of it, and ends itself
            node.stop_moving(for_good=True)
        if not node.alive:
            del self._nodes[node.ray_node_id]
        self._place_waiting()

    def drain(self, ray_node_id: str, *, if_idle: bool) -> bool:
        """Ray's DrainNode: refused by a node that is not idle any more, where it is to be; else it ends soon."""
        node = self._nodes.get(ray_node_id)
        if node is None or not node.believed or not node.answers:
            return False
        if if_idle and node.tasks:
            return False
        node.draining = True
        self._leave(node)
        return True

    def _leave(self, node: RayNode) -> None:
        leave_s = self.latencies.leave.draw(self.stream(f"leave/{node.ray_node_id}"))

        async def leave() -> None:
            await asyncio.sleep(leave_s)
            if node.alive and not node.frozen:
                self._bury(node)

        self._later(leave())

    def drain_instance(self, instance: str) -> None:
        """Ray on an instance is told that it will be preempted: it takes nothing new, and ends when it is idle."""
        for node in self._of(instance):
            node.draining = True
            if not node.tasks:
                self._leave(node)

    def _of(self, instance: str) -> list[RayNode]:
        return [node for node in self._nodes.values() if node.instance == instance]

    # -- tasks ----------------------------------------------------------------------------------------------

    def submit(self, bundle: Resources) -> Task:
        """Something that waits for room on a node; first come, first served, for each shape."""
        task = Task(bundle={name: amount for name, amount in bundle.items() if amount}, placed=_future())
        self._waiting.append(task)
        self._place_waiting()
        return task

    def release(self, task: Task) -> None:
        """It is over, or is not wanted any more."""
        if task in self._waiting:
            self._waiting.remove(task)
        elif task.placed.done() and not task.placed.cancelled() and not task.lost.is_set():
            node = task.placed.result()
            node.give_back(task)
            if node.draining and not node.tasks:
                self._leave(node)
            self._place_waiting()

    def _place_waiting(self) -> None:
        left = []
        for task in self._waiting:
            if task.placed.cancelled():
                continue
            node = next((node for node in self._candidates() if node.fits(task.bundle)), None)
            if node is None:
                left.append(task)
            else:
                node.take(task)
                task.placed.set_result(node)
        self._waiting = left

    def _candidates(self) -> Iterator[RayNode]:
        """Where a task may be put, as the GCS sees it: those that are dead and not yet known to be, too."""
        for node in self._nodes.values():
            if node.believed and not node.draining:
                yield node

    async def work(self, task: Task, duration_s: float) -> None:
        """Time passes for a task that was placed, as long as its node moves.

        Raises:
            NodeLost: the GCS declared the node dead.
        """
        node = task.placed.result()
        ended = asyncio.create_task(_moving(node, duration_s))
        lost = asyncio.create_task(task.lost.wait())
        try:
            await asyncio.wait({ended, lost}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ended.cancel()
            lost.cancel()
        if task.lost.is_set():
            raise NodeLost(node.instance)

    # -- what the GCS shows ---------------------------------------------------------------------------------

    def nodes(self) -> list[RayNode]:
        """The nodes the GCS believes alive, the head first, by when they joined."""
        return [node for node in self._nodes.values() if node.believed]

    def status_of(self, node: RayNode) -> Literal["running", "idle", "draining"]:
        """As the autoscaler is told."""
        if node.draining:
            return "draining"
        return "running" if node.tasks else "idle"

    def idle_s(self, node: RayNode) -> float:
        """How long nothing has run there."""
        return 0.0 if node.tasks else monotonic_s() - node.idle_since_s

    def demands(self) -> list[tuple[Resources, int]]:
        """What waits, by shape."""
        counted: dict[tuple[tuple[str, float], ...], int] = {}
        for task in self._waiting:
            key = tuple(sorted(task.bundle.items()))
            counted[key] = counted.get(key, 0) + 1
        return [(dict(key), count) for key, count in counted.items()]

    def close(self) -> None:
        """Nothing happens any more."""
        for task in [*self._starting.values(), *self._pending]:
            task.cancel()


def _future() -> asyncio.Future[Any]:
    return asyncio.get_running_loop().create_future()


async def _moving(node: RayNode, duration_s: float) -> None:
    """Returns when a node has moved for so long; never, if it ends before."""
    until_s = node.moved_s() + duration_s
    while (left_s := until_s - node.moved_s()) > _INSTANT_S:
        if node.frozen or not node.alive:
            node.thawed.clear()
            await node.thawed.wait()
        else:
            await asyncio.sleep(left_s)
