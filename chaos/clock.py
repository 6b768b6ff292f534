"""One clock for a whole run: seconds since the run began, monotonic."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """Time as the engine knows it; `sim` supplies a virtual one."""

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
    """This machine's monotonic clock, shared by all its processes and containers (CLOCK_MONOTONIC)."""

    def __init__(self) -> None:
        self.origin_monotonic_s = time.monotonic()

    def now_s(self) -> float:
        """Seconds since this clock was made."""
        return time.monotonic() - self.origin_monotonic_s

    def wall_s(self) -> float:
        """Seconds since the Unix epoch."""
        return time.time()

    async def sleep(self, duration_s: float) -> None:
        """Waits in real time."""
        await asyncio.sleep(max(0.0, duration_s))

    def at_monotonic(self, monotonic_s: float) -> float:
        """The run's time of a `time.monotonic()` reading of any process on this machine."""
        return monotonic_s - self.origin_monotonic_s
