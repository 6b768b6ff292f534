"""Code that waits where it stands, as Ray's does for the Kubernetes API, beside an event loop that it must not stop.

It runs on a stack of its own (a greenlet) in the loop's thread. While it waits, the loop goes on; while it runs, the
loop stands still, so that the order of things is the same each time.
"""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Awaitable, Callable
from typing import TypeVar

from greenlet import getcurrent, greenlet

T = TypeVar("T")


async def run_in_turns(work: Callable[[], T]) -> T:
    """What `work` returns. What it raises, this raises; when this is cancelled, `work` ends where it waits."""
    code = greenlet(work)
    code.gr_context = contextvars.copy_context()
    said = code.switch()
    try:
        while not code.dead:
            try:
                answer = await said()
            except Exception as error:  # noqa: BLE001 -- whoever asked gets it
                said = code.throw(error)
            else:
                said = code.switch(answer)
    finally:
        while not code.dead:  # on its way to its end it may ask again
            with contextlib.suppress(Exception):
                code.throw()
    return said  # type: ignore[no-any-return]


def waited_for(what: Callable[[], Awaitable[T]]) -> T:
    """Called by `work`: has something awaited in the event loop, and returns what comes of it, or raises that."""
    return getcurrent().parent.switch(what)  # type: ignore[no-any-return]
