"""Code that waits where it stands, as Ray's does for the Kubernetes API, beside an event loop that it must not stop.

It runs in a thread of its own, and the two take turns: while one goes on the other stands still, so that the order of
things is the same each time.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

T = TypeVar("T")

_POLL_S = 0.01
# Code that waits nowhere comes to its end by itself, or to the next place where it would wait.
_END_LIMIT_S = 5.0


class _GivenUp(BaseException):
    """Whoever waited for the code waits no more: it ends where it stands."""


@dataclass(frozen=True)
class _Said(Generic[T]):
    """How something ended."""

    value: T | None = None
    error: BaseException | None = None

    def result(self) -> T:
        if self.error is not None:
            raise self.error
        return self.value  # type: ignore[return-value]


class Turns:
    """What runs in turns with one event loop; one piece of code at a time."""

    def __init__(self) -> None:
        self._asked: SimpleQueue[Callable[[], Awaitable[Any]] | _Said[Any]] = SimpleQueue()
        self._answered: SimpleQueue[_Said[Any]] = SimpleQueue()
        self._over = False

    async def run(self, work: Callable[[], T]) -> T:
        """What `work` returns. What it raises, this raises; when this is cancelled, it ends where it waits.

        When this thread is interrupted meanwhile, it ends at the next place where it would wait.
        """
        context = contextvars.copy_context()
        loop = asyncio.get_running_loop()
        thread = threading.Thread(target=context.run, args=(self._work, loop, work), daemon=True)
        try:
            thread.start()
            while not isinstance(asked := self._asked.get(), _Said):
                self._answered.put(await self._done(asked))
            thread.join()
        except BaseException:
            self._give_up(thread)
            raise
        return asked.result()  # type: ignore[no-any-return]

    def _give_up(self, thread: threading.Thread) -> None:
        """Lets the code end though whatever it asked last may have been lost; nothing is left in the queues then."""
        self._over = True
        limit_s = time.monotonic() + _END_LIMIT_S
        while thread.is_alive() and time.monotonic() < limit_s:
            if self._answered.empty():
                self._answered.put(_Said(error=_GivenUp()))
            thread.join(_POLL_S)
        if not thread.is_alive():
            self._asked, self._answered, self._over = SimpleQueue(), SimpleQueue(), False

    async def _done(self, asked: Callable[[], Awaitable[Any]]) -> _Said[Any]:
        try:
            return _Said(value=await asked())
        except Exception as error:  # noqa: BLE001 -- whoever asked gets it
            return _Said(error=error)
        except BaseException:
            said: object = None
            while not isinstance(said, _Said):  # on its way to its end it may ask again
                self._answered.put(_Said(error=_GivenUp()))
                said = self._asked.get()
            raise

    def ask(self, what: Callable[[], Awaitable[T]]) -> T:
        """Called by the code: has something awaited in the event loop, and returns what comes of it, or raises that."""
        if self._over:
            raise _GivenUp
        self._asked.put(what)
        return self._answered.get().result()  # type: ignore[no-any-return]

    def _work(self, loop: asyncio.AbstractEventLoop, work: Callable[[], Any]) -> None:
        asyncio._set_running_loop(loop)  # what it makes of tasks belongs there: the loop stands still meanwhile
        try:
            said: _Said[Any] = _Said(value=work())
        except BaseException as error:  # noqa: BLE001 -- whoever waits gets it
            said = _Said(error=error)
        finally:
            asyncio._set_running_loop(None)
        self._asked.put(said)
