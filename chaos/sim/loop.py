"""An event loop in virtual time: nothing is waited for; when all there is to do is to wait, it is that much later.

It makes no threads: what is handed to one is done at once, so that the order of things is the same each time.
"""

from __future__ import annotations

import asyncio
import heapq
import selectors
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from contextvars import Context
from typing import Any, TypeVar

from chaos.clock import time_from
from chaos.errors import ChaosError
from chaos.sim.pauses import Pauses, Timer

T = TypeVar("T")

# 2026-01-01T00:00:00Z: histories of the same schedule are the same, whenever it is run.
EPOCH_S = 1_767_225_600.0
_RESOLUTION_S = 1e-6
# Only signals come from outside: it is enough to look for them every so many turns, a few milliseconds.
_TURNS_BETWEEN_LOOKS = 64


class NothingHappens(ChaosError):
    """Everybody waits for something, and nothing will ever come."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """Its time moves from one timer to the next; those due at the same moment come in the order they were set in."""

    def __init__(self) -> None:
        self._virtual_s = 0.0
        self._number = 0
        super().__init__(_Jumping(self))
        self.pauses = Pauses(self, schedule=self._schedule, waiting=lambda: len(self._ready))  # type: ignore[attr-defined]
        # What is due within it is due. Of a nanosecond, as by default, nothing is left after some months.
        self._clock_resolution = _RESOLUTION_S

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._virtual_s

    def monotonic_s(self) -> float:
        """The same, as a time source."""
        return self._virtual_s

    def wall_s(self) -> float:
        """Seconds since the Unix epoch, as if the loop had been made at a fixed moment."""
        return EPOCH_S + self._virtual_s

    def jump(self) -> None:
        """The moment of the next timer comes.

        Raises:
            NothingHappens: there is none.
        """
        if not self._scheduled:  # type: ignore[attr-defined]
            raise NothingHappens("the model stands still: everybody waits, and there is no timer")
        self._virtual_s = max(self._virtual_s, self._scheduled[0].when())  # type: ignore[attr-defined]

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Calls it when that moment comes."""
        timer = Timer((when, self._virtual_s, self._next()), callback, args, self, context, self.pauses.reach)
        self._schedule(timer)
        return timer

    def _schedule(self, timer: Timer) -> None:
        heapq.heappush(self._scheduled, timer)  # type: ignore[attr-defined]
        timer._scheduled = True  # type: ignore[attr-defined]

    def _next(self) -> int:
        self._number += 1
        return self._number

    def pause(
        self, interval_s: float, *, within_s: float, changed: bool, of: Callable[[], object] | None
    ) -> Coroutine[None, None, None]:
        """Sleeps until the next tick at which there may be something to see."""
        return self.pauses.pause(interval_s, number=self._next, within_s=within_s, changed=changed, of=of)

    def run_in_executor(  # type: ignore[override]
        self,
        executor: Executor | None,  # noqa: ARG002 -- there are no threads
        func: Callable[..., T],
        *args: Any,
    ) -> asyncio.Future[T]:
        """Calls it at once."""
        future: asyncio.Future[T] = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 -- whatever it raises is the result
            future.set_exception(error)
        return future


class _Jumping(selectors.SelectSelector):
    """Waits for nothing but what is ready."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop
        self._turns = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """What is ready, as far as it is looked for; if that is nothing, the time of the next timer comes."""
        self._turns += 1
        look = timeout is None or self._turns % _TURNS_BETWEEN_LOOKS == 0
        ready = super().select(0) if look else []
        self._loop.pauses.turn()
        if not ready and timeout != 0:
            self._loop.jump()
        return ready


class VirtualTime:
    """Virtual time that stands still between calls; within one, no other event loop may run in this thread."""

    def __init__(self) -> None:
        self._loop = VirtualLoop()

    def call(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Runs a coroutine to its end; what was begun before goes on meanwhile."""
        with time_from(self._loop):
            try:
                asyncio.set_event_loop(self._loop)
                return self._loop.run_until_complete(work())
            finally:
                asyncio.set_event_loop(None)

    def close(self) -> None:
        """Gives up what was begun."""
        try:
            _cancel_all(self._loop)
        finally:
            self._loop.close()


def run_in_virtual_time(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Runs a coroutine to its end in virtual time; no other event loop may run in this thread."""
    time = VirtualTime()
    try:
        return time.call(main)
    finally:
        time.close()


def _cancel_all(loop: VirtualLoop) -> None:
    """Nothing that was begun is left to be found by the garbage collector."""

    async def cancel() -> None:
        left = asyncio.all_tasks(loop) - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await loop.shutdown_asyncgens()

    with time_from(loop):
        loop.run_until_complete(cancel())
