"""A model of Ray: nodes that join, run, drain and die, a GCS that learns of it late, and tasks that wait for resources.

What is true of a node and what the GCS believes of it are kept apart: a node that was killed goes on in the GCS until
enough health checks were missed, and its tasks run on there for all that anybody knows.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import random
from collections import deque
from collections.abc import Callable, Collection, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from chaos.clock import monotonic_s
from chaos.cluster_spec import HealthCheck
from chaos.events import Resources
from chaos.sim.crowd import Crowd
from chaos.sim.gangs import Gang
from chaos.sim.latency import Latencies, LogNormal
from chaos.sim.node import Motion, RayNode, Task
from chaos.sim.queue import Queue
from chaos.sim.requests import Coordinator
from chaos.workload import Strategy

T = TypeVar("T")

HEAD = "head"
_INTERNAL_HEAD = "node:__internal_head__"
DEAD_REMEMBERED = 1000
"""How many dead nodes the GCS remembers: Ray's `maximum_gcs_dead_node_cached_count`."""


class NodeLost(Exception):
    """The node on which something ran is dead, as the GCS sees it."""


@dataclass(frozen=True)
class DeadNode:
    """What the GCS remembers of a node it has declared dead."""

    ray_node_id: str
    instance: str
    node_type: str


class RayModel:
    """All of Ray but its autoscaler."""

    def __init__(self, *, health_check: HealthCheck, latencies: Latencies, seed: int) -> None:
        self.latencies = latencies
        self.crowd = Crowd(latencies.crowding)
        self._health_check = health_check
        self._seed = seed
        self._numbers: dict[str, int] = {}
        self._nodes: dict[str, RayNode] = {}
        self._starting: dict[str, Motion] = {}
        self._crashed: set[str] = set()
        self._dead: deque[DeadNode] = deque(maxlen=DEAD_REMEMBERED)
        self._pending: set[asyncio.Task[Any]] = set()
        self._returning: asyncio.Task[None] | None = None
        self._queue = Queue(seed)
        self.requested: tuple[Resources, ...] = ()
        self.coordinator = Coordinator(self.request)
        self.version = 0
        self.lives = object()
        """Another object after each change of what is alive of Ray, starts, or has crashed."""
        self.gcs = Motion()
        self.head_up = True

    # -- nodes ----------------------------------------------------------------------------------------------

    def next_stream(self, name: str) -> Callable[[], random.Random]:
        """Sources of chance for one thing: each the next of that name, the same in every run of the same seed."""

        def source() -> random.Random:
            number = self._numbers[name] = self._numbers.get(name, 0) + 1
            digest = hashlib.sha256(f"{self._seed}/{name}/{number}".encode()).digest()
            return random.Random(int.from_bytes(digest[:8], "big"))

        return source

    def start(self, instance: str, node_type: str, resources: Resources, *, delay_s: float = 0.0) -> None:
        """Ray is started on an instance, and joins a little later, once the instance has moved for so long."""
        self._crashed.discard(instance)
        starting = self._starting[instance] = Motion()
        self._changed()
        self._later(self._join(instance, node_type, resources, starting, delay_s))

    async def _join(
        self, instance: str, node_type: str, resources: Resources, starting: Motion, delay_s: float
    ) -> None:
        join_s = self.latencies.join.draw(self.next_stream(f"join/{instance}"))
        started = await starting.move(delay_s) and await self.crowd.takes(join_s, starting.move)
        if started and await self.gcs.moving() and await starting.moving():
            del self._starting[instance]
            self._enter(instance, node_type, resources)

    def start_head(self, resources: Resources) -> None:
        """The head is there at once."""
        self._enter(HEAD, HEAD, {**resources, _INTERNAL_HEAD: 1.0})

    def end_head(self) -> None:
        """The head is gone at once, and with it the GCS: until it is back nobody joins, and nobody is missed."""
        if self._returning is not None:
            self._returning.cancel()
        self.head_up = False
        if not self.gcs.frozen:
            self.gcs.freeze()

    def return_head(self, resources: Resources, *, answers: Callable[[], None]) -> None:
        """The head starts, and answers once it joins: its GCS knows what it had stored, which is all but requests."""

        async def return_() -> None:
            await asyncio.sleep(self.latencies.join.draw(self.next_stream(f"join/{HEAD}")))
            self.head_up = True
            self.requested = ()
            self.gcs.thaw()
            for node in self._of(HEAD):
                self._bury(node)
            self.start_head(resources)
            answers()

        self._returning = self._later(return_())

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
        self._changed()
        self._place_waiting()

    def runs(self, instance: str) -> bool:
        """Whether Ray on the instance is alive, or starting."""
        return instance in self._starting or any(node.alive for node in self._of(instance))

    def crashed(self, instance: str) -> bool:
        """Whether Ray on the instance has ended by itself, and not because nothing was left to do."""
        return instance in self._crashed and not self.runs(instance)

    def end(self, instance: str, *, politely: bool) -> None:
        """Ray on the instance ends. A polite end is told to the GCS; of another, health checks tell it."""
        starting = self._starting.pop(instance, None)
        if starting is not None:
            starting.end()
        self._crashed.discard(instance)
        self._changed()
        for node in self._of(instance):
            if node.alive:
                node.end()
                if not node.believed:
                    self._forget(node)
                elif not politely or node.frozen:
                    self._miss(node)
                elif self.gcs.frozen:
                    self._miss(node)  # whichever comes first, once the GCS moves: its checks, or what it was told
                    self._later(self._tell(node))
                else:
                    self._bury(node)

    async def _tell(self, node: RayNode) -> None:
        """The GCS hears that a node has ended, as soon as it moves."""
        await self.gcs.moving()
        if node.believed:
            self._bury(node)

    def crash(self, instance: str, *, politely: bool = False) -> None:
        """Ray on the instance ends by itself: without a word or, where it gives up, politely."""
        self.end(instance, politely=politely)
        self._crashed.add(instance)
        self._changed()

    def alive_on(self, instance: str) -> list[RayNode]:
        """What of Ray lives on an instance, whatever the GCS believes."""
        return [node for node in self._of(instance) if node.alive]

    def fail_task(self, instance: str, number: int) -> None:
        """The process that a task runs in is gone: its owner learns it at once, and its room is free."""
        for node in self.alive_on(instance):
            for task in [task for task in node.tasks if task.number == number]:
                node.give_back(task)
                node.lose(task)
                if (
                    again := self._queue.renewed(task)
                ) is not None:  # what is lost is the process, not the bundle's room
                    node.take(again)
                    again.placed.set_result(node)
                if node.draining and not node.tasks:
                    self._leave(node)
        self._place_waiting()

    def freeze(self, instance: str) -> None:
        """Nothing on the instance moves, and health checks of it time out."""
        if (starting := self._starting.get(instance)) is not None and not starting.frozen:
            starting.freeze()
        for node in self._of(instance):
            if node.alive and not node.frozen:
                node.freeze()
                self._miss(node)

    def thaw(self, instance: str) -> None:
        """It moves again; what the GCS has declared dead ends itself."""
        if (starting := self._starting.get(instance)) is not None and starting.frozen:
            starting.thaw()
        for node in self._of(instance):
            if not node.alive or not node.frozen:
                continue
            node.thaw()
            node.unanswered = None
            if node.missed is not None:
                node.missed.cancel()
            if not node.believed:
                node.end()
                self._crashed.add(instance)
                self._forget(node)
                self._changed()

    def frozen(self, instance: str) -> bool:
        """Whether nothing on the instance moves."""
        starting = self._starting.get(instance)
        return (starting is not None and starting.frozen) or any(
            node.alive and node.frozen for node in self._of(instance)
        )

    def _miss(self, node: RayNode) -> None:
        """Health checks fail from now on: refused at once by a node that ended, unanswered by one that is frozen.

        Of those that failed before only these count that were unanswered until now.
        """
        if node.missed is not None:
            node.missed.cancel()
        check = self._health_check
        failed = 0
        if node.unanswered is not None:
            since_s, every_s = node.unanswered
            failed = max(0, math.floor((self.gcs.moved_s() - since_s) / every_s) + 1)
        each_s = (check.period_ms if not node.alive else check.period_ms + check.timeout_ms) / 1000.0
        first_s = max(0.0, node.joined_s + check.initial_delay_ms / 1000.0 - monotonic_s())
        first_s += self.next_stream(f"check/{node.ray_node_id}")().uniform(0.0, check.period_ms / 1000.0)
        after_s = first_s + each_s * max(0, check.failure_threshold - failed - 1)
        node.unanswered = (self.gcs.moved_s() + first_s, each_s)
        if not node.alive and self.latencies.notice is not None:
            after_s = self.latencies.notice.draw(self.next_stream(f"notice/{node.ray_node_id}"))

        async def missing() -> None:
            await self.gcs.move(after_s)
            if node.believed and not node.answers:
                self._bury(node)

        node.missed = self._later(missing())

    async def takes(self, latency: LogNormal, stream: str) -> None:
        """Returns when so much time has passed; where it takes none, at once: nobody else gets to do anything."""
        if latency.median_s:
            await asyncio.sleep(latency.draw(self.next_stream(stream)))

    def _later(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._pending.add(task)
        task.add_done_callback(self._pending.discard)
        return task

    def _bury(self, node: RayNode) -> None:
        """The GCS declares the node dead: what ran there is lost, and its owners learn it."""
        node.believed = False
        node.draining = False
        node.buried.set()
        for task in list(node.tasks):
            node.give_back(task)
            node.lose(task)
            self._queue.renewed(task)
        self._dead.append(DeadNode(node.ray_node_id, node.instance, node.node_type))
        if node.alive and not node.frozen:  # it learns of it, and ends itself
            node.end()
            self._changed()
        if not node.alive:
            self._forget(node)
        self._place_waiting()

    def _forget(self, node: RayNode) -> None:
        """It is neither there nor believed to be."""
        del self._nodes[node.ray_node_id]

    def _changed(self) -> None:
        self.lives = object()

    def drain(self, ray_node_id: str, *, if_idle: bool) -> bool | asyncio.Task[bool | None]:
        """Ray's DrainNode: refused by a node that is not idle any more, where it is to be; else it ends soon.

        What is dead counts as drained. What is to end in any case need not answer. What is to end only if it is idle
        is waited for until it answers; None is what comes of it where the GCS declares it dead before.
        """
        node = self._nodes.get(ray_node_id)
        if node is None or not node.believed:
            return True
        if if_idle and not node.answers:
            return self._later(self._drain_later(node))
        return self._drained(node, if_idle=if_idle)

    def _drained(self, node: RayNode, *, if_idle: bool) -> bool:
        if if_idle and node.tasks:
            return False
        if node.answers:
            node.draining = True
            self._leave(node)
        return True

    async def _drain_later(self, node: RayNode) -> bool | None:
        moving, buried = asyncio.create_task(node.moving()), asyncio.create_task(node.buried.wait())
        try:
            await asyncio.wait({moving, buried}, return_when=asyncio.FIRST_COMPLETED)
            if not node.alive:
                await buried  # nobody answers any more
        finally:
            moving.cancel()
            buried.cancel()
        return self._drained(node, if_idle=True) if node.believed else None

    def _leave(self, node: RayNode) -> None:
        """It ends once it has moved for as long as that takes; how often it is told makes no difference."""
        if node.leaving is not None:
            return
        leave_s = self.latencies.leave.draw(self.next_stream(f"leave/{node.ray_node_id}"))

        async def leave() -> None:
            if await node.move(leave_s) and await self.gcs.moving() and node.believed:
                self._bury(node)

        node.leaving = self._later(leave())

    def drain_instance(self, instance: str) -> None:
        """Ray on an instance is told that it will be preempted: it takes nothing new, and ends when it is idle.

        It is told by the GCS, and hears it when both move.
        """
        for node in self._of(instance):
            if node.answers and not self.gcs.frozen:
                self._preempt(node)
            else:
                self._later(self._preempt_later(node))

    def _preempt(self, node: RayNode) -> None:
        if not node.believed:
            return
        node.draining = True
        if not node.tasks:
            self._leave(node)

    async def _preempt_later(self, node: RayNode) -> None:
        if await self.gcs.moving() and await node.moving():
            self._preempt(node)

    def _of(self, instance: str) -> list[RayNode]:
        return [node for node in self._nodes.values() if node.instance == instance]

    # -- tasks ----------------------------------------------------------------------------------------------

    def submit(self, bundle: Resources) -> Task:
        """Something that waits for room on a node; first come, first served, for each shape."""
        task = self._queue.submit(bundle)
        self._place_waiting()
        return task

    def release(self, task: Task) -> None:
        """It is over, or is not wanted any more."""
        if self._queue.give_up(task):
            return
        if task.placed.done() and not task.placed.cancelled() and not task.lost.done():
            node = task.placed.result()
            node.give_back(task)
            if node.draining and not node.tasks:
                self._leave(node)
            self._place_waiting()

    def gather(self, bundles: Sequence[Resources], strategy: Strategy) -> Gang:
        """A placement group that waits for room for all of its bundles."""
        gang = self._queue.gather(bundles, strategy)
        self._place_waiting()
        return gang

    def disband(self, gang: Gang) -> None:
        """It is over, or is not wanted any more."""
        self._queue.gangs.remove(gang)
        for task in gang.bundles:
            self.release(task)

    def request(self, bundles: Sequence[Resources]) -> None:
        """Ray's `request_resources`: these in place of what was requested before."""
        self.requested = tuple(bundles)

    def _place_waiting(self) -> None:
        """Where a task may be put, as the GCS sees it: on those that are dead and not yet known to be, too."""
        if self._queue.waits:
            self._queue.place([node for node in self._nodes.values() if node.believed and not node.draining])

    async def work(self, task: Task, duration_s: float) -> None:
        """Time passes for a task that was placed, as long as its node moves.

        Raises:
            NodeLost: the GCS declared the node dead.
        """
        node = task.placed.result()
        if not await node.move(duration_s, unless=task.lost):
            await asyncio.wait({task.lost})  # who is cancelled meanwhile loses nothing by it
        if task.lost.done():
            raise NodeLost(node.instance)

    # -- what the GCS shows ---------------------------------------------------------------------------------

    def nodes(self) -> list[RayNode]:
        """The nodes the GCS believes alive, the head first, by when they joined."""
        return [node for node in self._nodes.values() if node.believed]

    def dead(self) -> list[DeadNode]:
        """Those it has declared dead, as many as it remembers."""
        return list(self._dead)

    def status_of(self, node: RayNode) -> Literal["running", "idle", "draining"]:
        """As the autoscaler is told."""
        if node.draining:
            return "draining"
        return "running" if node.tasks else "idle"

    def idle_s(self, node: RayNode) -> float:
        """How long nothing has run there."""
        return 0.0 if node.tasks else monotonic_s() - node.idle_since_s

    def demands(self) -> list[tuple[Resources, int]]:
        """The tasks that wait, by shape."""
        return self._queue.demands()

    def gangs(self) -> list[Gang]:
        """The placement groups there are, those with room for all of their bundles too."""
        return list(self._queue.gangs)

    def forget(self, instances: Collection[str]) -> None:
        """Of what concerns instances and nodes, only what concerns these is needed any more."""
        kept = {*instances, *self._nodes, *self._starting}
        gone = [name for name in self._numbers if (parts := name.partition("/"))[1] and parts[2] not in kept]
        for name in gone:
            del self._numbers[name]

    def close(self) -> None:
        """Nothing happens any more."""
        self.coordinator.close()
        for task in self._pending:
            task.cancel()
