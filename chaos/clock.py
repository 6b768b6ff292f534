"""One clock for a whole run: seconds since the run began, monotonic."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol


class TimeSource(Protocol):
    """Where time comes from, if not from this machine."""

    def monotonic_s(self) -> float:
        """Seconds that never go back."""
        ...

    def wall_s(self) -> float:
        """Seconds since the Unix epoch."""
        ...

    async def pause(
        self, interval_s: float, *, within_s: float, changed: bool, of: Callable[[], object] | None
    ) -> None:
        """What `pause` does."""
        ...


_SOURCE: ContextVar[TimeSource | None] = ContextVar("time source", default=None)


@contextmanager
def time_from(source: TimeSource) -> Iterator[None]:
    """Within the block, and in tasks made there, time is of this source."""
    before = _SOURCE.set(source)
    try:
        yield
    finally:
        _SOURCE.reset(before)


def monotonic_s() -> float:
    """This machine's monotonic clock, or that of the time source in force."""
    source = _SOURCE.get()
    return time.monotonic() if source is None else source.monotonic_s()


def wall_s() -> float:
    """Seconds since the Unix epoch, by this machine or the time source in force."""
    source = _SOURCE.get()
    return time.time() if source is None else source.wall_s()


def is_virtual() -> bool:
    """Whether a time source is in force: then nobody waits for anything, and what happens can be had again."""
    return _SOURCE.get() is not None


async def pause(
    interval_s: float,
    *,
    within_s: float = math.inf,
    changed: bool = False,
    of: Callable[[], object] | None = None,
) -> None:
    """Sleeps between two looks at something. A time source that knows that there is nothing new makes it longer, by
    whole intervals, but not past the first tick after `within_s`.

    `changed`: the look before has changed something. What is looked at is new when `of` returns another object, or
    objects of which one is another; without `of`, when anything at all has happened.
    """
    source = _SOURCE.get()
    if source is None:
        await asyncio.sleep(interval_s)
    else:
        await source.pause(interval_s, within_s=within_s, changed=changed, of=of)


class Clock(Protocol):
    """Time as the engine knows it."""

    def now_s(self) -> float:
        """Seconds since the run began; never goes back."""
        ...

    def wall_s(self) -> float:
        """Seconds since the Unix epoch, for people; may jump."""
        ...

    async def sleep(self, duration_s: float) -> None:
        """Returns once `duration_s` seconds of this clock have passed."""
        ...

    async def pause(
        self, interval_s: float, *, within_s: float = math.inf, of: Callable[[], object] | None = None
    ) -> None:
        """Sleeps between two looks at something; longer, where it is known that there is nothing new (`pause`)."""
        ...


class RealClock:
    """This machine's monotonic clock, shared by all its processes and containers (CLOCK_MONOTONIC).

    Under a time source of `time_from` it is that one's, and sleeps are the event loop's.
    """

    def __init__(self) -> None:
        self.origin_monotonic_s = monotonic_s()

    def now_s(self) -> float:
        """Seconds since this clock was made."""
        return monotonic_s() - self.origin_monotonic_s

    def wall_s(self) -> float:
        """Seconds since the Unix epoch."""
        return wall_s()

    async def sleep(self, duration_s: float) -> None:
        """Waits as the event loop does."""
        await asyncio.sleep(max(0.0, duration_s))

    async def pause(
        self, interval_s: float, *, within_s: float = math.inf, of: Callable[[], object] | None = None
    ) -> None:
        """Sleeps as `pause` does."""
        await pause(interval_s, within_s=within_s, of=of)

    def at_monotonic(self, monotonic_s: float) -> float:
        """The run's time of a `time.monotonic()` reading of any process on this machine."""
        return monotonic_s - self.origin_monotonic_s
