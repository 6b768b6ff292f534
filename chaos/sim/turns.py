"""Code that waits where it stands, as Ray's does for the Kubernetes API, beside an event loop that it must not stop.

It runs on a stack of its own (a greenlet) in the loop's thread. While it waits, the loop goes on; while it runs, the
loop stands still, so that the order of things is the same each time.
"""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from greenlet import getcurrent, greenlet

T = TypeVar("T")

_LAST_WAITS = 100


async def run_in_turns(work: Callable[[], T]) -> T:
    """What `work` returns. What it raises, this raises.

    When this is cancelled, `work` ends where it waits; what it raises on its way out is lost, for nobody waits for it.
    """
    code = greenlet(lambda: [work()])  # in a list: of a tuple with one element greenlets hand on the element
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
        _end(code)
    return said[0]  # type: ignore[no-any-return]


def _end(code: Any) -> None:
    """Lets the code end where it waits, and wherever it would wait on its way out."""
    for _ in range(_LAST_WAITS):
        if not code.dead:
            with contextlib.suppress(Exception):
                code.throw()
    if not code.dead:
        raise RuntimeError(f"what runs in turns has not ended, though it was told to {_LAST_WAITS} times")


def waited_for(what: Callable[[], Awaitable[T]]) -> T:
    """Called by `work`: has something awaited in the event loop, and returns what comes of it, or raises that."""
    loop = getcurrent().parent
    assert loop is not None, "this is for code that runs in turns"
    return loop.switch(what)  # type: ignore[no-any-return]
