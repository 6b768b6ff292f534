"""Work that must come to its end: healing, closing, stopping; and what is done where the user does not wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from chaos.errors import ChaosError

LEAVE_LIMIT_S = 2.0

T = TypeVar("T")


async def to_the_end(work: Coroutine[Any, Any, T]) -> T:
    """Awaits the work to its end though cancelled meanwhile; the cancellation goes on afterwards."""
    task = asyncio.create_task(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        task.result()
        raise


class Departure:
    """The one act that is still carried out when the user leaves at once, within `LEAVE_LIMIT_S`."""

    def __init__(self) -> None:
        self._act: Callable[[], Awaitable[str]] | None = None

    def prepare(self, act: Callable[[], Awaitable[str]]) -> None:
        """Sets the act; it says what becomes of what was started."""
        self._act = act

    async def leave(self) -> str:
        """Carries the act out; says what becomes of what was started."""
        if self._act is None:
            return "what was started ends by itself within half a minute"
        try:
            return await asyncio.wait_for(self._act(), LEAVE_LIMIT_S)
        except (ChaosError, OSError, asyncio.TimeoutError) as error:
            return f"harm in force ends with its leases, or now by `raychaos heal` ({str(error) or repr(error)})"
