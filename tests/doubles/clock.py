"""A clock that moves only when told."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")
_TURNS = 60  # more turns of the event loop than any chain of callbacks between two waits takes


async def settle() -> None:
    """Lets everything run that can run without time passing."""
    for _ in range(_TURNS):
        await asyncio.sleep(0)


class VirtualClock:
    """Time that stands still until `run` or `advance_to` moves it from one sleeper to the next, in order."""

    def __init__(self) -> None:
        self._now_s = 0.0
        self._order = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def now_s(self) -> float:
        """Virtual seconds so far."""
        return self._now_s

    def wall_s(self) -> float:
        """The same, a million seconds after the epoch."""
        return 1e6 + self._now_s

    async def pause(self, interval_s: float, *, within_s: float = 0.0, of: Callable[[], object] | None = None) -> None:
        """There is always something new to see."""
        await self.sleep(interval_s)

    async def sleep(self, duration_s: float) -> None:
        """Returns when the clock has been moved that far."""
        if duration_s <= 0.0:
            await asyncio.sleep(0)
            return
        waking = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now_s + duration_s, next(self._order), waking))
        await waking

    async def advance_to(self, t_s: float) -> None:
        """Moves time to `t_s`, waking everyone on the way at their time."""
        await settle()
        while (next_s := self._next_s()) is not None and next_s <= t_s:
            await self._wake()
        self._now_s = max(self._now_s, t_s)
        await settle()

    async def run(self, work: Awaitable[T], *, limit_s: float = 1000.0) -> T:
        """Moves time until the work is done; fails when nothing can happen any more, or at `limit_s`."""
        task = asyncio.ensure_future(work)
        await settle()
        while not task.done():
            next_s = self._next_s()
            if next_s is None or next_s > limit_s:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                raise AssertionError(f"at {self._now_s:g} s it is not done, and nothing happens before {limit_s:g} s")
            await self._wake()
        return task.result()

    def _next_s(self) -> float | None:
        while self._sleepers and self._sleepers[0][2].done():
            heapq.heappop(self._sleepers)
        return self._sleepers[0][0] if self._sleepers else None

    async def _wake(self) -> None:
        at_s, _, waking = heapq.heappop(self._sleepers)
        self._now_s = max(self._now_s, at_s)
        waking.set_result(None)
        await settle()
