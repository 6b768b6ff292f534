"""An event loop in virtual time: nothing is waited for; when all there is to do is to wait, it is that much later.

It makes no threads: what is handed to one is done at once, so that the order of things is the same each time.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from typing import Any, TypeVar

from chaos.clock import time_from
from chaos.errors import ChaosError

T = TypeVar("T")

# 2026-01-01T00:00:00Z: histories of the same schedule are the same, whenever it is run.
EPOCH_S = 1_767_225_600.0
_RESOLUTION_S = 1e-6


class NothingHappens(ChaosError):
    """Everybody waits for something, and nothing will ever come."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """Its time moves from one timer to the next."""

    def __init__(self) -> None:
        self._virtual_s = 0.0
        super().__init__(_Jumping(self))
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

    def pass_time(self, seconds: float) -> None:
        """It is that much later."""
        self._virtual_s += seconds

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

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """What is ready now; if that is nothing, the time of the next timer comes."""
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise NothingHappens("the model stands still: everybody waits, and there is no timer")
            self._loop.pass_time(timeout)
        return ready


def run_in_virtual_time(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Runs a coroutine to its end in virtual time; no other event loop may run in this thread."""
    loop = VirtualLoop()
    with time_from(loop):
        try:
            asyncio.set_event_loop(loop)
            return loop.run_until_complete(main())
        finally:
            try:
                _cancel_all(loop)
            finally:
                asyncio.set_event_loop(None)
                loop.close()


def _cancel_all(loop: VirtualLoop) -> None:
    """Nothing that was begun is left to be found by the garbage collector."""

    async def cancel() -> None:
        left = asyncio.all_tasks(loop) - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await loop.shutdown_asyncgens()

    loop.run_until_complete(cancel())
