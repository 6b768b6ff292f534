"""A node of the model as it is, and what runs on it: time passes for it only while it moves."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from chaos.clock import monotonic_s
from chaos.events import Resources

_INSTANT_S = 1e-9
_TINY = 1e-9


@dataclass(kw_only=True)
class Motion:
    """Something that moves, stands still for a while, and ends; times are monotonic."""

    alive: bool = True
    frozen: bool = False
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _moved_s: float = 0.0
    _moves_since_s: float = field(default_factory=monotonic_s)

    def moved_s(self) -> float:
        """For how long it has moved since it began."""
        return self._moved_s + (0.0 if self.frozen or not self.alive else monotonic_s() - self._moves_since_s)

    def freeze(self) -> None:
        """It stands still."""
        self._moved_s, self.frozen = self.moved_s(), True

    def thaw(self) -> None:
        """It goes on."""
        self.frozen, self._moves_since_s = False, monotonic_s()
        self._changed.set()

    def end(self) -> None:
        """It is over."""
        self._moved_s, self.alive = self.moved_s(), False
        self._changed.set()

    async def moving(self, *, unless: asyncio.Future[None] | None = None) -> bool:
        """Returns once it moves, at once if it does; false when it has ended instead, or `unless` is done."""
        while self.frozen and self.alive and not _is_done(unless):
            self._changed.clear()
            await self._changed.wait()
        return self.alive and not _is_done(unless)

    async def move(self, duration_s: float, *, unless: asyncio.Future[None] | None = None) -> bool:
        """Returns when it has moved for so long; false when it has ended before, or `unless` is done."""
        until_s = self.moved_s() + duration_s
        while await self.moving(unless=unless):
            if (left_s := until_s - self.moved_s()) <= _INSTANT_S:
                return True
            await _sleep(left_s, unless)
        return False


def _is_done(unless: asyncio.Future[None] | None) -> bool:
    return unless is not None and unless.done()


async def _sleep(duration_s: float, unless: asyncio.Future[None] | None) -> None:
    """Returns when so much time has passed, or `unless` is done."""
    if unless is None:
        await asyncio.sleep(duration_s)
        return
    loop = asyncio.get_running_loop()
    over = loop.create_future()

    def wake(_: object) -> None:
        if not over.done():
            over.set_result(None)

    timer = loop.call_later(duration_s, wake, None)
    unless.add_done_callback(wake)
    try:
        await over
    finally:
        timer.cancel()
        unless.remove_done_callback(wake)


def has_room(available: Resources, bundle: Resources) -> bool:
    """Whether a bundle fits into what is available."""
    return all(available.get(name, 0.0) + _TINY >= amount for name, amount in bundle.items() if amount)


@dataclass(eq=False)
class Task:
    """Something that holds `bundle` on a node from when it is placed until it is released.

    `shape` is the number of what it asks for: the same for all that ask for the same.
    """

    bundle: Resources
    shape: int
    placed: asyncio.Future[RayNode]
    number: int
    lost: asyncio.Future[None]


@dataclass(kw_only=True, eq=False)
class RayNode(Motion):
    """One node as Ray knows it. `alive` is the truth, `believed` what the GCS believes; times are monotonic.

    `unanswered` is when the first of the health checks that fail does, in the GCS's own time, and how far apart they
    are.
    """

    ray_node_id: str
    instance: str
    node_type: str
    total: Resources
    available: Resources
    joined_s: float
    believed: bool = True
    draining: bool = False
    idle_since_s: float = 0.0
    warm: bool = False
    tasks: list[Task] = field(default_factory=list)
    missed: asyncio.Task[None] | None = None
    unanswered: tuple[float, float] | None = None
    buried: asyncio.Event = field(default_factory=asyncio.Event)
    leaving: asyncio.Task[None] | None = None
    _full_for: set[int] = field(default_factory=set)

    @property
    def answers(self) -> bool:
        """Whether health checks of it pass."""
        return self.alive and not self.frozen

    def fits(self, task: Task) -> bool:
        """Whether it has room for a task now; for a shape it has none for, nobody needs to look twice."""
        if task.shape in self._full_for:
            return False
        if has_room(self.available, task.bundle):
            return True
        self._full_for.add(task.shape)
        return False

    def take(self, task: Task) -> None:
        """The task holds its bundle."""
        for name, amount in task.bundle.items():
            self.available[name] = self.available.get(name, 0.0) - amount
        self.tasks.append(task)

    def lose(self, task: Task) -> None:
        """What the task did is lost, and its owner learns it."""
        if not task.lost.done():
            task.lost.set_result(None)
        self._changed.set()  # whoever waits for a node that stands still looks up

    def give_back(self, task: Task) -> None:
        """The task lets go of its bundle."""
        self.tasks.remove(task)
        self._full_for.clear()
        for name, amount in task.bundle.items():
            self.available[name] = self.available.get(name, 0.0) + amount
        if not self.tasks:
            self.idle_since_s = monotonic_s()
