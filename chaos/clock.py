"""One clock for a whole run: seconds since the run began, monotonic."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
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

    def at_monotonic(self, monotonic_s: float) -> float:
        """The run's time of a `time.monotonic()` reading of any process on this machine."""
        return monotonic_s - self.origin_monotonic_s
