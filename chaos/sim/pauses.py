"""Pauses between two looks at something, which go on as long as nothing happens that could be seen.

Whoever looks at the model again and again does so at fixed ticks. Patient pauses leave ticks out, never move them:
after something has happened, whoever pauses looks at the tick at which it would have seen it first.
"""

from __future__ import annotations

import asyncio
import math
import operator
import weakref
from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass
from typing import Any, cast

# Ticks are found by adding one interval after another, as those do that leave none out; so not too many at a time.
_MOST_TICKS = 1000

Place = tuple[float, float, int]
"""When a timer is due, when it was set, and how many had been set before: timers come in this order."""


class Timer(asyncio.TimerHandle):
    """One whose place among those due at the same moment does not depend on the others there are."""

    __slots__ = ("place", "reach")

    def __init__(
        self,
        place: Place,
        callback: Callable[..., Any],
        args: tuple[Any, ...],
        loop: asyncio.AbstractEventLoop,
        context: Context | None,
        reach: Callable[[Place], None],
    ) -> None:
        super().__init__(place[0], callback, args, loop, context)
        self.place = place
        self.reach = reach

    def __lt__(self, other: object) -> bool:
        return self.place < cast("Timer", other).place  # the loop has no others

    def _run(self) -> None:
        self.reach(self.place)
        super()._run()


@dataclass(eq=False)
class _Paused:
    """One who pauses: ticks lie `interval_s` apart, the next at `tick_s`; `seen` is all that had happened before."""

    over: asyncio.Future[None]
    interval_s: float
    before_s: float
    tick_s: float
    rank: int
    seen: int
    of: Callable[[], object] | None
    looked_at: object
    timer: Timer | None = None

    def after(self, now: Place) -> Place:
        """The first tick that comes after a place."""
        before_s, tick_s = self.before_s, self.tick_s
        while (tick_s, before_s, self.rank) <= now:
            before_s, tick_s = tick_s, tick_s + self.interval_s
        return tick_s, before_s, self.rank

    def at(self, moment_s: float) -> Place:
        """The first tick that is not before a moment."""
        before_s, tick_s = self.before_s, self.tick_s
        while tick_s < moment_s:
            before_s, tick_s = tick_s, tick_s + self.interval_s
        return tick_s, before_s, self.rank


class Pauses:
    """The pauses of one event loop.

    `happened` counts what could have changed anything: each timer of others that comes, and each turn of the loop in
    which others than those who pause had something to do.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, *, schedule: Callable[[Timer], None], waiting: Callable[[], int]
    ) -> None:
        self._loop = loop
        self._schedule = schedule
        self._waiting = waiting
        self._paused: set[_Paused] = set()
        self._ranks: weakref.WeakKeyDictionary[asyncio.Task[Any], int] = weakref.WeakKeyDictionary()
        self._happened = 0
        self._armed = 0
        self._woken = 0
        self._looked = -1
        self._now: Place = (0.0, 0.0, 0)
        self._busy = False

    async def pause(
        self,
        interval_s: float,
        *,
        number: Callable[[], int],
        within_s: float,
        changed: bool,
        of: Callable[[], object] | None,
    ) -> None:
        """Returns at the next tick at which something may have happened, or `within_s` has passed."""
        loop, now_s = self._loop, self._loop.time()
        task = asyncio.current_task(loop)
        assert task is not None
        if task not in self._ranks:
            self._ranks[task] = number()
        self._happened += changed
        paused = _Paused(
            over=loop.create_future(),
            interval_s=interval_s,
            before_s=now_s,
            tick_s=now_s + interval_s,
            rank=self._ranks[task],
            # What else is done in this turn may be done after this look.
            seen=self._happened - self._busy,
            of=of,
            looked_at=None if of is None else of(),
        )
        if within_s < math.inf:
            self._arm(paused, paused.at(now_s + min(within_s, _MOST_TICKS * interval_s)))
        self._paused.add(paused)
        self._looked = -1
        try:
            await paused.over
        finally:
            self._paused.discard(paused)
            if paused.timer is not None:
                paused.timer.cancel()

    def turn(self) -> None:
        """Before each turn of the loop: whoever pauses will look, if anything has happened."""
        rested = not self._busy
        self._busy = self._waiting() > self._woken
        self._woken = 0
        self._happened += self._busy
        happened = self._happened
        if rested and happened == self._looked:
            return
        self._looked = happened
        for paused in self._paused:
            if paused.seen >= happened:
                continue
            if paused.of is not None and not _is_new(paused.of(), paused.looked_at):
                paused.seen = happened - self._busy  # what is done in this turn may change it yet
                continue
            paused.seen = happened
            place = paused.after(self._now)
            if paused.timer is None or place < paused.timer.place:
                self._arm(paused, place)

    def reach(self, place: Place) -> None:
        """A timer of others comes."""
        self._now = place
        self._happened += 1
        self._busy = True

    def _arm(self, paused: _Paused, place: Place) -> None:
        if paused.timer is not None:
            paused.timer.cancel()
        paused.timer = Timer(place, self._wake, (paused,), self._loop, None, self._look)
        self._schedule(paused.timer)

    def _look(self, place: Place) -> None:
        self._now = place

    def _wake(self, paused: _Paused) -> None:
        self._paused.discard(paused)
        if not paused.over.done():
            paused.over.set_result(None)
            self._woken += 1


def _is_new(seen: object, before: object) -> bool:
    """Whether what is looked at is another object, or objects of which one is another."""
    if seen is before or not (isinstance(seen, tuple) and isinstance(before, tuple)):
        return seen is not before
    return len(seen) != len(before) or not all(map(operator.is_, seen, before))
