"""Starts that share a machine: where several nodes start at once, each takes longer than one alone."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

_LOOK_S = 0.25


class Crowd:
    """Those who are starting: each takes `crowding` times its own time longer for each other one, while that lasts."""

    def __init__(self, crowding: float) -> None:
        self._crowding = crowding
        self._starting = 0

    async def takes(self, alone_s: float, move: Callable[[float], Awaitable[bool]]) -> bool:
        """Moves on for as long as a start takes that would take so long alone; False as soon as `move` says so."""
        if not self._crowding:
            return await move(alone_s)
        self._starting += 1
        try:
            left_s = alone_s
            while left_s > 0.0:
                slower = 1.0 + self._crowding * (self._starting - 1)
                step_s = min(_LOOK_S, left_s * slower)
                if not await move(step_s):
                    return False
                left_s -= step_s / slower
            return True
        finally:
            self._starting -= 1
